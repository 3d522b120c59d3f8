// What all attention kernels share: which head a block takes, and what the backward needs to know of each query.
#pragma once

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

// Exponents are in base 2, for which the GPU has an instruction: exp(x) = exp2(x log2(e)).
constexpr float kLog2e = 1.44269504f, kLn2 = 0.69314718f;

// A head: where it starts in (B*T, 3C) and in (B*T, C).
struct Head {
    int index, C;
    int64_t input, output;
    __device__ Head(int index, int NH, int T, int HS) : index(index), C(NH * HS) {
        const int64_t first_row = int64_t(index / NH) * T;
        input = first_row * (3 * C) + index % NH * HS;
        output = first_row * C + index % NH * HS;
    }
    // The head of a block of the grid (row blocks, NH, B).
    __device__ Head(int T, int HS) : Head(int(blockIdx.z * gridDim.y + blockIdx.y), int(gridDim.y), T, HS) {}
};

// What the backward needs of a query: log-sum-exp in base 2, and minus the sum over the head of dout * out.
struct alignas(8) QueryStats {
    float lse, minus_dot;
};
// Each head's stats are padded to whole blocks of every kernel, such that padding has probability 0 everywhere.
constexpr int kPadding = kAttentionPadding;
inline int64_t padded_length(int64_t T) { return (T + kPadding - 1) / kPadding * kPadding; }

// stats (B, NH, padded), dout and out (B*seq_len, NH*HS), lse (B, NH, seq_len); counters (num_counters) become 0.
// kStatsLanes threads side by side share a query, of which each takes SIZE numbers at a time.
constexpr int kStatsThreads = 256, kStatsLanes = 8;
template <class T, int SIZE>
__global__ void __launch_bounds__(kStatsThreads)
    query_stats(QueryStats* stats, uint32_t* counters, int num_counters, const T* dout, const T* out, const float* lse,
                int64_t B, int seq_len, int padded, int NH, int HS) {
    const int lane = threadIdx.x % kStatsLanes;
    const int64_t thread = int64_t(blockIdx.x) * kStatsThreads + threadIdx.x;
    if (thread < num_counters) counters[thread] = 0;
    const int64_t i = thread / kStatsLanes;  // (b, t, h): neighbours in memory
    const int h = int(i % NH), t = int(i / NH % padded);
    const int64_t b = i / NH / padded;
    const bool exists = b < B && t < seq_len;
    float dot = 0;
    for (int c = lane * SIZE; exists && c < HS; c += kStatsLanes * SIZE) {
        const int64_t at = ((b * seq_len + t) * NH + h) * HS + c;
        const Slice<T, SIZE> x = load_slice<SIZE>(dout + at), y = load_slice<SIZE>(out + at);
#pragma unroll
        for (int k = 0; k < SIZE; k++) dot += x[k] * y[k];
    }
#pragma unroll
    for (int offset = kStatsLanes / 2; offset > 0; offset /= 2) dot += __shfl_xor_sync(0xFFFFFFFFu, dot, offset);
    if (lane == 0 && b < B)
        stats[(b * NH + h) * padded + t] = {exists ? lse[(b * NH + h) * seq_len + t] * kLog2e : INFINITY, -dot};
}

// What a backward kernel of tensor cores keeps in the scratch behind the stats of `heads` heads of `padded` queries:
// sums of dq, in which the fragments of a tile lie in the order of threads, and counters, 0 at first: how many key
// blocks have added to each 4096 of them, and how much work was drawn.
struct QuerySums {
    float* sums = nullptr;
    uint32_t* counters = nullptr;
    int num_counters = 0;
    QuerySums() = default;
    QuerySums(float* scratch, int64_t heads, int64_t padded, int64_t HS)
        : sums(scratch + 2 * heads * padded),
          counters(reinterpret_cast<uint32_t*>(sums + heads * padded * HS)),
          num_counters(int(heads * padded * HS / 4096) + 1) {}
};

// Work is a block of rows of a head. Blocks of the same number of several heads follow each other, of as many heads as
// L2 has room for: so all blocks of a head find it there, and a key block's predecessor began long before it.
constexpr int kHeadsAtOnce = 64;
struct Work {
    int head, block;
};
__device__ inline Work work_of(int drawn, int heads, int blocks) {
    const int first = drawn / (kHeadsAtOnce * blocks) * kHeadsAtOnce;
    const int together = heads - first < kHeadsAtOnce ? heads - first : kHeadsAtOnce;
    const int rest = drawn - first * blocks;
    return {first + rest % together, rest / together};
}

}  // namespace
}  // namespace kernels::cuda
