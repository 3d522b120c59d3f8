// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
// A value depends only on (seed, stream, index): the same on every thread, rank and device, and after a resume.
#pragma once

#include <cstdint>

#include "runtime/host_device.h"

namespace rng {

struct Block {
    uint32_t x[4];
};

// One Philox4x32-10 block of four 32-bit words for a 128-bit counter and a 64-bit key.
HOST_DEVICE inline Block philox(uint64_t counter_low, uint64_t counter_high, uint64_t key) {
    uint32_t c0 = uint32_t(counter_low), c1 = uint32_t(counter_low >> 32);
    uint32_t c2 = uint32_t(counter_high), c3 = uint32_t(counter_high >> 32);
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
        const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
        c1 = uint32_t(p1);
        c3 = uint32_t(p0);
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// What a stream of numbers is for; the number is part of the key, so it must never change.
enum class Purpose : uint32_t {
    init = 1,
    lora_init = 2,
    prune = 3,
    dropout = 4,
    shuffle = 5,
    sample = 6,
    rounding = 7,
    dither = 8
};

// A named sequence of random numbers, e.g. {seed, Purpose::lora_init, tensor id, restart number}.
struct Stream {
    uint64_t seed = 0;
    Purpose purpose = Purpose::init;
    uint32_t id = 0;
    uint64_t epoch = 0;  // below 2^24: restart number, update number, ...

    // Block `i` holds elements 4i … 4i+3 of the sequence.
    HOST_DEVICE Block block(uint64_t i) const {
        return philox(i, (uint64_t(purpose) << 56) | ((epoch & 0xFFFFFFu) << 32) | id, seed);
    }
    HOST_DEVICE uint32_t bits(uint64_t element) const { return block(element / 4).x[element % 4]; }
};

// Uniform on [0, 1) with 24 bits.
HOST_DEVICE inline float to_uniform(uint32_t bits) { return float(bits >> 8) * (1.0f / 16777216.0f); }

// A float, given by its bits, as one of the two bf16 next to it: the farther from zero with the probability that makes
// the mean the float, to the 16 bits of `random` that decide. Returns the bf16's bits. What is a bf16 already stays.
HOST_DEVICE inline uint16_t round_to_bf16(uint32_t value, uint32_t random) {
    const bool nan = (value & 0x7FFFFFFFu) > 0x7F800000u;
    return uint16_t(nan ? (value >> 16) | 0x40u : (value + (random >> 16)) >> 16);
}

}  // namespace rng
