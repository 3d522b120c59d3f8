// What ranks need of a device besides products: sums in their order, fingerprints, and a clock. These use no workspace,
// since they run beside the backward pass.
#include <algorithm>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"
#include "kernels/fingerprint.h"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;

// out (n), rows (R, n), a row every ld elements; in slices unless an address or ld allows none.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_rows(float* out, const T* rows, int R, int64_t n, int64_t ld, int own, bool sliced) {
    constexpr int SIZE = 4;
    const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * SIZE;
    if (i >= n) return;
    const int count = n - i < SIZE ? int(n - i) : SIZE;
    Floats<SIZE> sum = {};
    for (int r = 0; r < R; r++) {
        const Floats<SIZE> row = r == own ? load_part<SIZE>(out + i, sliced, count)
                                          : to_floats(load_part<SIZE>(rows + r * ld + i, sliced, count));
        if (r == 0)
            sum = row;  // a sum from 0 would lose the sign of a zero
        else
            add_to(sum, row);
    }
    store_part(out + i, sum, sliced, count);
}

__device__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ uint32_t bits_of(bf16 x) { return x.bits; }

// out (1), t (n). The sum of integers is the same in any order.
template <class T>
__global__ void __launch_bounds__(kThreads) mix(unsigned long long* out, const T* t, int64_t n) {
    unsigned long long sum = 0;
#pragma unroll 4
    for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kThreads)
        sum += mixed(uint64_t(i), bits_of(t[i]));
    sum = gpu::block_sum(sum);
    if (threadIdx.x == 0) atomicAdd(out, sum);
}

__global__ void start(int64_t* clock) { *clock = gpu::nanoseconds(); }
__global__ void stop(const int64_t* clock, float* seconds) {
    *seconds += float(double(gpu::nanoseconds() - *clock) * 1e-9);
}

}  // namespace

template <class T>
void sum_in_order(float* out, const T* rows, int64_t R, int64_t n, int64_t ld, int own) {
    const bool sliced = sliceable<4>(ld, out, rows);
    gpu::run(add_rows<T>, gpu::div_ceil(n, 4 * kThreads), kThreads, 0, out, rows, int(R), n, ld, own, sliced);
}

template <class T>
void fingerprint(uint64_t* out, const T* t, int64_t n) {
    CUDA_CHECK(cudaMemsetAsync(out, 0, sizeof(uint64_t), gpu::stream()));
    const unsigned blocks = std::min(gpu::div_ceil(n, 4 * kThreads), unsigned(kMaxBlocks));
    gpu::run(mix<T>, blocks, kThreads, 0, reinterpret_cast<unsigned long long*>(out), t, n);
}

void clock_start(int64_t* clock) { gpu::run(start, 1, 1, 0, clock); }
void clock_stop(const int64_t* clock, float* seconds) { gpu::run(stop, 1, 1, 0, clock, seconds); }

template void sum_in_order(float*, const float*, int64_t, int64_t, int64_t, int);
template void sum_in_order(float*, const bf16*, int64_t, int64_t, int64_t, int);
template void fingerprint(uint64_t*, const float*, int64_t);
template void fingerprint(uint64_t*, const bf16*, int64_t);

}  // namespace kernels::cuda
