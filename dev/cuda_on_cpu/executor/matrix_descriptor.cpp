// Matrix descriptors of wgmma, with the layouts of the PTX ISA ("Shared memory matrix layout"). In pieces of 16 bytes,
// a K-major operand is ((8, n), 2) : ((w, stride), leading), where w is 1, 2, 4 or 8 by swizzle and a swizzled operand
// has 1 in place of `leading`. One that is transposed (MN-major) is ((w, n), (8, 2)) : ((1, leading), (w, stride)), and
// without a swizzle ((1, n), (8, 2)) : ((-, stride), (1, leading)). The swizzle changes the bits of the whole address.
#include <bit>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/warpgroup.h"

namespace executor {

namespace {

constexpr uint64_t kUnusedBits = 0x3FF1C000C000C000, kBaseOffset = uint64_t(7) << 49;

struct Descriptor {
    uint32_t start, leading, stride;  // in bytes
    int swizzle;                      // 0: none; 1 to 3: 32, 64 or 128 bytes
};

Descriptor decode(uint64_t bits, Place place) {
    const auto bytes = [&](int shift) { return uint32_t(bits >> shift & 0x3FFF) << 4; };
    const int mode = int(bits >> 62);  // 1: 128 bytes, 2: 64, 3: 32
    const Descriptor d{bytes(0), bytes(16), bytes(32), mode ? 4 - mode : 0};
    if (bits & kUnusedBits)
        kernel_error("wgmma at %s:%d: the descriptor %016llx has unused bits set", place.file, place.line,
                     static_cast<unsigned long long>(bits));
    if (bits & kBaseOffset)
        kernel_error("wgmma at %s:%d: a descriptor's base offset is not emulated", place.file, place.line);
    if (d.swizzle && d.start >> 7 & ((1u << d.swizzle) - 1))
        kernel_error(
            "wgmma at %s:%d: an operand swizzled by %d bytes begins at %u, and its rows must at a multiple of %d",
            place.file, place.line, 16 << d.swizzle, d.start, 128 << d.swizzle);
    return d;
}

// Where a piece of eight numbers begins: they are neighbours in k, or in the other dimension if it is transposed.
uint32_t piece_offset(const Descriptor& d, bool transposed, int major, int minor) {
    const uint32_t wide = 16u << d.swizzle;  // a row of the pattern, in bytes
    const uint32_t row = uint32_t(minor) % 8 * wide, block = uint32_t(minor) / 8;
    if (!transposed) return row + block * d.stride + uint32_t(major) * (d.swizzle ? 16 : d.leading);
    if (!d.swizzle) return row + block * d.leading + uint32_t(major) * d.stride;
    const uint32_t pieces = wide / 16;
    return row + block * d.stride + uint32_t(major) % pieces * 16 + uint32_t(major) / pieces * d.leading;
}

// Calls f(address, i, k, di, dk) for each piece; number j of it is that of row i + j di and column k + j dk.
template <class F>
void for_each_piece(uint64_t bits, int size, bool transposed, Place place, const F& f) {
    AsyncProxy& proxy = Multiprocessor::mine().hopper.proxy;
    const Descriptor d = decode(bits, place);
    const int majors = transposed ? size / 8 : 2, minors = transposed ? 16 : size;
    for (int major = 0; major < majors; major++)
        for (int minor = 0; minor < minors; minor++) {
            const uint32_t address = d.start + piece_offset(d, transposed, major, minor);
            const char* at = proxy.at_window_address(uint32_t(swizzled(address, d.swizzle)), 16);
            if (!at)
                kernel_error("wgmma at %s:%d: an operand reaches to %u, where no shared memory is", place.file,
                             place.line, address);
            if (proxy.differs(at, 16))
                kernel_error(
                    "wgmma at %s:%d reads what a thread has written without a fence.proxy.async, or after the "
                    "product was issued",
                    place.file, place.line);
            if (transposed)
                f(at, 8 * major, minor, 1, 0);
            else
                f(at, minor, 8 * major, 0, 1);
        }
}

}  // namespace

void read_operand(float* values, uint64_t descriptor, int size, bool transposed, Place place) {
    for_each_piece(descriptor, size, transposed, place, [&](const char* at, int i, int k, int di, int dk) {
        uint16_t piece[8];
        copy_as_thread(piece, at, sizeof piece);
        for (int j = 0; j < 8; j++)
            values[(i + j * di) * 16 + k + j * dk] = std::bit_cast<float>(uint32_t(piece[j]) << 16);
    });
}

void check_operand(uint64_t descriptor, int size, bool transposed, Place place) {
    for_each_piece(descriptor, size, transposed, place, [](const char*, int, int, int, int) {});
}

}  // namespace executor
