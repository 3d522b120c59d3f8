// Magnitude pruning: zeroes an exact number of the entries that are smallest in magnitude, by a radix selection whose
// keys are (magnitude, index). No two are equal, so the k-th smallest key settles the ties too.
#include <algorithm>
#include <bit>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu.cuh"
#include "kernels/selection.h"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;
// A pass settles this many bits of the key, from the top.
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;

// The state of a selection; it starts as zeros.
struct Selection {
    uint64_t key;          // the bits of the k-th smallest key that are settled
    uint64_t below;        // entries whose key is smaller in these bits
    uint32_t bins[kBins];  // counts by the next digit, of the entries whose key agrees so far
};

// The bits of |x| order as the magnitudes do, with NaN as the largest.
template <class T>
inline constexpr int kMagnitudeBits = 8 * sizeof(T) - 1;
__device__ inline uint32_t magnitude(float x) { return __float_as_uint(x) & 0x7FFFFFFFu; }
__device__ inline uint32_t magnitude(bf16 x) { return x.bits & 0x7FFFu; }

template <class T>
__device__ uint64_t key_of(T x, int64_t index, int index_bits) {
    return uint64_t(magnitude(x)) << index_bits | uint64_t(index);
}

// Counts the entries of t (n) by the digit of `width` bits at `shift`.
template <class T>
__global__ void __launch_bounds__(kThreads)
    count_digits(Selection* selection, const T* t, int64_t n, int index_bits, int shift, int width) {
    GPU_SHARED(uint32_t, bins, [kBins]);
    for (int b = threadIdx.x; b < kBins; b += kThreads) bins[b] = 0;
    __syncthreads();
    const uint64_t settled = selection->key;
    const uint32_t mask = (1u << width) - 1;
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kThreads) {
        const uint64_t key = key_of(t[i], i, index_bits);
        if (key >> (shift + width) == settled) atomicAdd(&bins[uint32_t(key >> shift) & mask], 1u);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < kBins; b += kThreads)
        if (bins[b] > 0) atomicAdd(&selection->bins[b], bins[b]);
}

// Finds the digit of the k-th smallest key. One block; leaves the bins empty for the next digit.
__global__ void __launch_bounds__(kThreads) settle_digit(Selection* selection, int64_t k, int width) {
    constexpr int OWN = kBins / kThreads;
    const uint64_t settled = selection->key, before = selection->below;
    uint32_t* own = selection->bins + threadIdx.x * OWN;
    uint32_t counts[OWN], sum = 0;
#pragma unroll
    for (int b = 0; b < OWN; b++) {
        counts[b] = own[b];
        own[b] = 0;
        sum += counts[b];
    }
    uint64_t below = before + gpu::block_sum_before(sum);
#pragma unroll
    for (int b = 0; b < OWN; b++) {
        if (below < uint64_t(k) && uint64_t(k) <= below + counts[b]) {  // one bin of all threads
            selection->key = settled << width | (threadIdx.x * OWN + b);
            selection->below = below;
        }
        below += counts[b];
    }
}

// t (n)
template <class T>
__global__ void __launch_bounds__(kThreads) zero_smallest(T* t, int64_t n, const Selection* selection, int index_bits) {
    const uint64_t last = selection->key;
    if (last >> index_bits == 0) return;  // the threshold is 0: what should go is zero already
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kThreads)
        if (key_of(t[i], i, index_bits) <= last) t[i] = gpu::from_float<T>(0.0f);
}

}  // namespace

template <class T>
int64_t prune_magnitude(T* t, int64_t n, double p, float* /*scratch*/) {
    const int64_t k = entries_to_prune(n, p);
    if (k == 0) return 0;
    auto* selection = reinterpret_cast<Selection*>(workspace(sizeof(Selection) / sizeof(float)));
    CUDA_CHECK(cudaMemsetAsync(selection, 0, sizeof(Selection), gpu::stream()));
    const unsigned blocks = std::min(gpu::div_ceil(n, 4 * kThreads), unsigned(kMaxBlocks));
    const int index_bits = int(std::bit_width(uint64_t(n - 1)));
    for (int shift = kMagnitudeBits<T> + index_bits; shift > 0;) {
        const int width = std::min(shift, kDigitBits);
        shift -= width;
        gpu::run(count_digits<T>, blocks, kThreads, 0, selection, t, n, index_bits, shift, width);
        gpu::run(settle_digit, 1, kThreads, 0, selection, k, width);
    }
    gpu::run(zero_smallest<T>, blocks, kThreads, 0, t, n, selection, index_bits);
    return k;
}

template int64_t prune_magnitude(float*, int64_t, double, float*);
template int64_t prune_magnitude(bf16*, int64_t, double, float*);

}  // namespace kernels::cuda
