// What both halves mix into a fingerprint.
#pragma once

#include <cstdint>

#include "runtime/host_device.h"

namespace kernels {

// Mixes an element's bits with its index: the finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014).
HOST_DEVICE inline uint64_t mixed(uint64_t index, uint32_t bits) {
    uint64_t x = (index << 32 ^ bits) + 0x9E3779B97F4A7C15u * (index + 1);
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

}  // namespace kernels
