// Fragments of mma.sync: where a lane's numbers are, and how lanes exchange them for wide accesses to memory.
#pragma once

#include "kernels/cuda/gpu.cuh"

namespace kernels::cuda {
namespace {

// Where the four numbers of a fragment are: two neighbours in this row, and two in the row 8 below.
__device__ inline int fragment_row() { return (threadIdx.x & 31) >> 2; }
__device__ inline int fragment_column() { return 2 * (threadIdx.x & 3); }

// Four neighbouring lanes hold two neighbours each of 8 numbers, four times: afterwards the first lane holds all of the
// first 8, and so on. Each register has one of the four times, and one or both of the neighbours.
__device__ inline void transpose_quad(uint32_t (&r)[4]) {
#pragma unroll
    for (int distance = 1; distance <= 2; distance *= 2) {
        const bool upper = threadIdx.x & distance;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & distance) continue;
            const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, upper ? r[i] : r[i + distance], distance);
            (upper ? r[i] : r[i + distance]) = other;
        }
    }
}

}  // namespace
}  // namespace kernels::cuda
