// Drawing a token from a row of logits, in one block: a radix selection of the likeliest, then a sum in order of ids.
#include <bit>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu.cuh"
#include "kernels/selection.h"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 512;
// A pass of the selection settles this many bits of the key, from the top.
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;

// Keys ascend from the likeliest id to the least likely, and no two are equal. The two zeros are one value.
__device__ uint64_t key_of(float logit, int id, int id_bits) {
    const uint32_t bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
    const uint32_t descending = bits >> 31 ? bits : ~bits & 0x7FFFFFFFu;
    return uint64_t(descending) << id_bits | uint32_t(id);
}

// The k-th smallest key of logits (V).
__device__ uint64_t kth_key(const float* logits, int V, int k, int id_bits) {
    constexpr int OWN = kBins / kThreads;
    GPU_SHARED(uint32_t, bins, [kBins]);
    GPU_SHARED(uint64_t, found, [2]);  // `settled` and `below` with the next digit
    uint64_t settled = 0;              // the bits of the key that are known
    int below = 0;                     // ids whose key is smaller in these bits
    for (int shift = 32 + id_bits; shift > 0;) {
        const int width = min(shift, kDigitBits);
        shift -= width;
        for (int b = threadIdx.x; b < kBins; b += kThreads) bins[b] = 0;
        __syncthreads();
#pragma unroll 4
        for (int id = threadIdx.x; id < V; id += kThreads) {
            const uint64_t key = key_of(logits[id], id, id_bits);
            if (key >> (shift + width) == settled) atomicAdd(&bins[uint32_t(key >> shift) & ((1u << width) - 1)], 1u);
        }
        __syncthreads();
        int counts[OWN], sum = 0;
#pragma unroll
        for (int b = 0; b < OWN; b++) sum += counts[b] = int(bins[threadIdx.x * OWN + b]);
        int before = below + gpu::block_sum_before(sum);
#pragma unroll
        for (int b = 0; b < OWN; b++) {
            if (before < k && k <= before + counts[b]) {  // one bin of all threads
                found[0] = settled << width | (threadIdx.x * OWN + b);
                found[1] = uint64_t(before);
            }
            before += counts[b];
        }
        __syncthreads();
        settled = found[0];
        below = int(found[1]);
    }
    return settled;
}

// token (1), logits (V)
__global__ void __launch_bounds__(kThreads)
    draw(int32_t* token, const float* logits, int V, int candidates, int id_bits, double temperature, double uniform) {
    GPU_SHARED(double, before, [kThreads + 1]);  // the sum over the ids before those of a thread
    const uint64_t last = candidates < V ? kth_key(logits, V, candidates, id_bits) : ~uint64_t(0);
    float largest = -INFINITY;
    for (int id = threadIdx.x; id < V; id += kThreads) largest = fmaxf(largest, logits[id]);
    const double max = gpu::block_max(largest);
    const auto weight = [&](int id) {
        return key_of(logits[id], id, id_bits) <= last ? exp((double(logits[id]) - max) / temperature) : 0.0;
    };

    // A thread sums up neighbouring ids, and one thread these sums.
    const int share = (V + kThreads - 1) / kThreads;
    const int first = min(V, int(threadIdx.x) * share), end = min(V, first + share);
    double sum = 0;
    for (int id = first; id < end; id++) sum += weight(id);
    before[threadIdx.x + 1] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        before[0] = 0;
        for (int t = 1; t <= kThreads; t++) before[t] += before[t - 1];
        *token = V - 1;  // stays if a logit is NaN
    }
    __syncthreads();
    const double target = uniform * before[kThreads];
    if (before[threadIdx.x] <= target && target < before[threadIdx.x + 1]) {  // one thread
        double reached = before[threadIdx.x];
        int chosen = first;
        for (int id = first; id < end && reached <= target; id++) {
            const double w = weight(id);
            if (w > 0) chosen = id;
            reached += w;
        }
        *token = chosen;
    }
}

// The likeliest id. token (1), logits (V).
__global__ void __launch_bounds__(kThreads) pick(int32_t* token, const float* logits, int V, int id_bits) {
    const uint64_t key = kth_key(logits, V, 1, id_bits);
    if (threadIdx.x == 0) *token = int32_t(key & ((uint64_t(1) << id_bits) - 1));
}

}  // namespace

void sample_token(int32_t* token, const float* logits, int64_t V, int64_t top_k, double temperature, float uniform) {
    const int64_t candidates = sampling_candidates(V, top_k, temperature);
    const int id_bits = int(std::bit_width(uint64_t(V - 1)));
    if (candidates == 1)
        gpu::run(pick, 1, kThreads, 0, token, logits, int(V), id_bits);
    else
        gpu::run(draw, 1, kThreads, 0, token, logits, int(V), int(candidates), id_bits, temperature, double(uniform));
}

}  // namespace kernels::cuda
