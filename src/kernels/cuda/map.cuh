// Element-wise kernels in one form: out[i] = op(i-th elements of one or two inputs), 16 bytes at a time where every
// pointer allows it.
#pragma once

#include "gpu.cuh"

namespace kernels::cuda {

inline constexpr int MAP_THREADS = 256;

template <class Out, class In, class Op>
__global__ void __launch_bounds__(MAP_THREADS) map_packs(Out* out, const In* a, const In* b, int64_t packs, Op op) {
    constexpr int SIZE = gpu::Pack<Out>::kSize;
    const int64_t i = (int64_t(blockIdx.x) * MAP_THREADS + threadIdx.x);
    if (i >= packs) return;
    const gpu::Pack<In> x = gpu::load_pack(a + i * SIZE), y = gpu::load_pack(b + i * SIZE);
    gpu::Pack<Out> result;
#pragma unroll
    for (int k = 0; k < SIZE; k++) result.v[k] = gpu::from_float<Out>(op(gpu::to_float(x.v[k]), gpu::to_float(y.v[k])));
    gpu::store_pack(out + i * SIZE, result);
}

template <class Out, class In, class Op>
__global__ void __launch_bounds__(MAP_THREADS) map_elements(Out* out, const In* a, const In* b, int64_t first, int64_t n, Op op) {
    const int64_t i = first + int64_t(blockIdx.x) * MAP_THREADS + threadIdx.x;
    if (i < n) out[i] = gpu::from_float<Out>(op(gpu::to_float(a[i]), gpu::to_float(b[i])));
}

// out = op(a, b) over n elements; for an op of one input give it twice, the second load costs nothing.
template <class Out, class In, class Op>
void map(Out* out, const In* a, const In* b, int64_t n, Op op) {
    int64_t done = 0;
    if constexpr (sizeof(Out) == sizeof(In)) {
        constexpr int64_t SIZE = gpu::Pack<Out>::kSize;
        if (gpu::packable(out, 0) && gpu::packable(a, 0) && gpu::packable(b, 0) && n >= SIZE) {
            const int64_t packs = n / SIZE;
            gpu::run(map_packs<Out, In, Op>, gpu::div_ceil(packs, MAP_THREADS), MAP_THREADS, 0, out, a, b, packs, op);
            done = packs * SIZE;
        }
    }
    if (done < n)
        gpu::run(map_elements<Out, In, Op>, gpu::div_ceil(n - done, MAP_THREADS), MAP_THREADS, 0, out, a, b, done, n, op);
}

}  // namespace kernels::cuda
