#include "dev/cuda_on_cpu/nccl/sum.h"

#include <bit>
#include <cstdint>
#include <iterator>

namespace nccl {

namespace {

struct Bf16 {
    uint16_t bits;
    float value() const { return std::bit_cast<float>(uint32_t(bits) << 16); }
    // Rounds to the nearest, ties to even.
    static Bf16 of(float value) {
        const uint32_t bits = std::bit_cast<uint32_t>(value);
        if (value != value) return {uint16_t(bits >> 16 | 0x40)};
        return {uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
    }
    Bf16 operator+(Bf16 other) const { return of(value() + other.value()); }
};

// As in a ring, each part of the elements starts at another rank, and what goes on to the next rank is rounded.
template <class T>
void add(void* to, const std::vector<const void*>& from, size_t count, size_t first) {
    constexpr size_t kPart = 1000;
    const size_t ranks = from.size();
    for (size_t i = 0; i < count; i++) {
        const size_t start = ((first + i) / kPart + 1) % ranks;
        T total = static_cast<const T*>(from[start])[i];
        for (size_t r = 1; r < ranks; r++) total = total + static_cast<const T*>(from[(start + r) % ranks])[i];
        static_cast<T*>(to)[i] = total;
    }
}

}  // namespace

size_t type_bytes(ncclDataType_t type) {
    switch (type) {
        case ncclInt8:
        case ncclUint8: return 1;
        case ncclFloat16:
        case ncclBfloat16: return 2;
        case ncclInt32:
        case ncclUint32:
        case ncclFloat32: return 4;
        case ncclInt64:
        case ncclUint64:
        case ncclFloat64: return 8;
        default: return 0;
    }
}
const char* type_name(ncclDataType_t type) {
    constexpr const char* kNames[] = {"int8",   "uint8",   "int32",   "uint32",  "int64",
                                      "uint64", "float16", "float32", "float64", "bfloat16"};
    return type >= 0 && size_t(type) < std::size(kNames) ? kNames[type] : "no type";
}
bool can_sum(ncclDataType_t type) {
    return type == ncclInt32 || type == ncclFloat32 || type == ncclBfloat16 || type == ncclInt64 || type == ncclFloat64;
}

void sum(void* to, const std::vector<const void*>& from, size_t count, size_t first, ncclDataType_t type) {
    switch (type) {
        case ncclInt32: return add<uint32_t>(to, from, count, first);  // wraps
        case ncclInt64: return add<uint64_t>(to, from, count, first);
        case ncclFloat32: return add<float>(to, from, count, first);
        case ncclFloat64: return add<double>(to, from, count, first);
        case ncclBfloat16: return add<Bf16>(to, from, count, first);
        default: return;
    }
}

}  // namespace nccl
