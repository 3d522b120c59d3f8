// map: out[i] = op(a[i], b[i], …) for ops that treat every element alike.
#pragma once

#include <algorithm>

#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {

inline constexpr int kMapThreads = 256;

// Applies op to each place of some slices.
template <int SIZE, class Op, class... In>
__device__ Floats<SIZE> apply(const Op& op, const In&... in) {
    Floats<SIZE> result;
#pragma unroll
    for (int k = 0; k < SIZE; k++) result.v[k] = op(in.v[k]...);
    return result;
}

// out and in (n). One slice a thread: with full occupancy that is enough in flight. `out` may be one of the inputs.
template <int SIZE, class Op, class Out, class... In>
__global__ void __launch_bounds__(kMapThreads) map_slices(Out* out, int64_t n, Op op, const In*... in) {
    const int64_t i = (int64_t(blockIdx.x) * kMapThreads + threadIdx.x) * SIZE;
    if (i < n) store_floats(out + i, apply<SIZE>(op, load_floats<SIZE>(in + i)...));
}

// Launches map_slices; n is a multiple of SIZE.
template <int SIZE, class Op, class Out, class... In>
void run_map(Out* out, int64_t n, const Op& op, const In*... in) {
    if (n == 0) return;
    void (*const kernel)(Out*, int64_t, Op, const In*...) = map_slices<SIZE, Op, Out, In...>;
    gpu::run(kernel, gpu::div_ceil(n, int64_t(kMapThreads) * SIZE), kMapThreads, 0, out, n, op, in...);
}

// The end that fills no slice, or everything if an address allows no slices, goes element by element.
template <class Op, class Out, class... In>
void map(Out* out, int64_t n, const Op& op, const In*... in) {
    constexpr int SIZE = std::max({kSliceSize<Out>, kSliceSize<In>...});
    const int64_t in_slices = sliceable<SIZE>(0, out, in...) ? n / SIZE * SIZE : 0;
    run_map<SIZE>(out, in_slices, op, in...);
    run_map<1>(out + in_slices, n - in_slices, op, (in + in_slices)...);
}

}  // namespace kernels::cuda
