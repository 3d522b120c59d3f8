// LayerNorm: forward, with or without the residual addition, and backward. One warp a row; a row is read again from L1
// or L2 instead of being held in registers, so that any C works.
#include <algorithm>

#include "cuda.h"
#include "gpu.cuh"

namespace kernels::cuda {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr float kEps = 1e-5f;
// Rows of partial sums of dweight and dbias; depends on nothing of the GPU, so that the sums don't either.
constexpr int64_t kMaxPartials = 256;

// Calls body(column, SIZE) for the columns of this lane, packs first.
template <int SIZE, class Body>
__device__ inline void for_columns(int64_t C, const Body& body) {
    for (int64_t c = (threadIdx.x & 31) * SIZE; c < C; c += 32 * SIZE) body(c);
}
template <int SIZE, class T>
__device__ inline void load(float (&values)[SIZE], const T* p) {
    if constexpr (SIZE > 1) {
        const gpu::Pack<T> pack = gpu::load_pack(p);
#pragma unroll
        for (int k = 0; k < SIZE; k++) values[k] = gpu::to_float(pack.v[k]);
    } else {
        values[0] = gpu::to_float(*p);
    }
}
template <int SIZE, class T>
__device__ inline void store(T* p, const float (&values)[SIZE]) {
    if constexpr (SIZE > 1) {
        gpu::Pack<T> pack;
#pragma unroll
        for (int k = 0; k < SIZE; k++) pack.v[k] = gpu::from_float<T>(values[k]);
        gpu::store_pack(p, pack);
    } else {
        *p = gpu::from_float<T>(values[0]);
    }
}

template <int SIZE, class T>
__global__ void __launch_bounds__(THREADS) forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias,
                                                   const T* residual, T* sum, int64_t N, int64_t C) {
    const int64_t row = int64_t(blockIdx.x) * WARPS + (threadIdx.x >> 5);
    if (row >= N) return;  // whole warps leave together
    const T* from = x + row * C;
    float total = 0;
    if (residual) {
        T* to = sum + row * C;
        for_columns<SIZE>(C, [&](int64_t c) {
            float a[SIZE], b[SIZE];
            load<SIZE>(a, from + c);
            load<SIZE>(b, residual + row * C + c);
#pragma unroll
            for (int k = 0; k < SIZE; k++) {
                a[k] = gpu::to_float(gpu::from_float<T>(a[k] + b[k]));
                total += a[k];
            }
            store<SIZE>(to + c, a);
        });
        from = to;  // every lane reads back what it wrote itself
    } else {
        for_columns<SIZE>(C, [&](int64_t c) {
            float a[SIZE];
            load<SIZE>(a, from + c);
#pragma unroll
            for (int k = 0; k < SIZE; k++) total += a[k];
        });
    }
    const float m = gpu::warp_sum(total) / float(C);
    float squares = 0;
    for_columns<SIZE>(C, [&](int64_t c) {
        float a[SIZE];
        load<SIZE>(a, from + c);
#pragma unroll
        for (int k = 0; k < SIZE; k++) squares += (a[k] - m) * (a[k] - m);
    });
    const float r = 1.0f / sqrtf(gpu::warp_sum(squares) / float(C) + kEps);
    for_columns<SIZE>(C, [&](int64_t c) {
        float a[SIZE], w[SIZE], b[SIZE];
        load<SIZE>(a, from + c);
        load<SIZE>(w, weight + c);
        load<SIZE>(b, bias + c);
#pragma unroll
        for (int k = 0; k < SIZE; k++) a[k] = (a[k] - m) * r * w[k] + b[k];
        store<SIZE>(out + row * C + c, a);
    });
    if ((threadIdx.x & 31) == 0) {
        mean[row] = m;
        rstd[row] = r;
    }
}

template <int SIZE, class T>
__global__ void __launch_bounds__(THREADS) backward_input(T* dx, const T* dout, const T* x, const T* weight, const float* mean,
                                                          const float* rstd, int64_t N, int64_t C, bool accumulate) {
    const int64_t row = int64_t(blockIdx.x) * WARPS + (threadIdx.x >> 5);
    if (row >= N) return;
    const T *g = dout + row * C, *v = x + row * C;
    const float m = mean[row], r = rstd[row];
    float sum = 0, dot = 0;
    for_columns<SIZE>(C, [&](int64_t c) {
        float a[SIZE], b[SIZE], w[SIZE];
        load<SIZE>(a, g + c);
        load<SIZE>(b, v + c);
        load<SIZE>(w, weight + c);
#pragma unroll
        for (int k = 0; k < SIZE; k++) {
            sum += a[k] * w[k];
            dot += a[k] * w[k] * ((b[k] - m) * r);
        }
    });
    sum = gpu::warp_sum(sum) / float(C);
    dot = gpu::warp_sum(dot) / float(C);
    for_columns<SIZE>(C, [&](int64_t c) {
        float a[SIZE], b[SIZE], w[SIZE], old[SIZE];
        load<SIZE>(a, g + c);
        load<SIZE>(b, v + c);
        load<SIZE>(w, weight + c);
        if (accumulate) load<SIZE>(old, dx + row * C + c);
#pragma unroll
        for (int k = 0; k < SIZE; k++) {
            const float d = (a[k] * w[k] - sum - (b[k] - m) * r * dot) * r;
            a[k] = accumulate ? old[k] + d : d;
        }
        store<SIZE>(dx + row * C + c, a);
    });
}

// Sums over a block's share of the rows: partials[block] = {dweight (C), dbias (C)}.
template <class T>
__global__ void __launch_bounds__(THREADS) backward_parameters(float* partials, const T* dout, const T* x, const float* mean,
                                                               const float* rstd, int64_t N, int64_t C, int64_t rows) {
    const int64_t c = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (c >= C) return;
    const int64_t first = int64_t(blockIdx.y) * rows, last = first + rows < N ? first + rows : N;
    float dweight = 0, dbias = 0;
#pragma unroll 4
    for (int64_t n = first; n < last; n++) {
        const float g = gpu::to_float(dout[n * C + c]);
        dweight += g * ((gpu::to_float(x[n * C + c]) - mean[n]) * rstd[n]);
        dbias += g;
    }
    float* to = partials + int64_t(blockIdx.y) * 2 * C;
    to[c] = dweight;
    to[C + c] = dbias;
}
__global__ void __launch_bounds__(THREADS) add_partials(float* dweight, float* dbias, const float* partials, int64_t count,
                                                        int64_t C, bool accumulate) {
    const int64_t c = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (c >= 2 * C) return;
    float sum = 0;
    for (int64_t i = 0; i < count; i++) sum += partials[i * 2 * C + c];
    float* to = c < C ? dweight + c : dbias + (c - C);
    *to = accumulate ? *to + sum : sum;
}

template <class T, class... Pointers>
bool all_packable(int64_t C, const Pointers*... pointers) {
    return (gpu::packable(static_cast<const T*>(pointers), C) && ...);
}

}  // namespace

template <class T>
void layernorm_forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, const T* residual, T* sum,
                       int64_t N, int64_t C) {
    const bool packs = all_packable<T>(C, out, x, weight, bias, residual, sum);  // null is aligned
    gpu::run(packs ? forward<gpu::Pack<T>::kSize, T> : forward<1, T>, gpu::div_ceil(N, WARPS), THREADS, 0, out, mean, rstd, x,
             weight, bias, residual, sum, N, C);
}

template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, const T* dout, const T* x, const T* weight, const float* mean,
                        const float* rstd, int64_t N, int64_t C, bool accumulate_dx, bool accumulate) {
    // Before dx, which may take the place of dout.
    const int64_t most = std::min(kMaxPartials, kWorkspaceFloats / (2 * C));
    const int64_t rows = std::max<int64_t>(8, (N + most - 1) / most), count = (N + rows - 1) / rows;
    float* partials = workspace(count * 2 * C);
    gpu::run(backward_parameters<T>, dim3(gpu::div_ceil(C, THREADS), unsigned(count)), THREADS, 0, partials, dout, x, mean, rstd,
             N, C, rows);
    gpu::run(add_partials, gpu::div_ceil(2 * C, THREADS), THREADS, 0, dweight, dbias, partials, count, C, accumulate);
    const bool packs = all_packable<T>(C, dx, dout, x, weight);
    gpu::run(packs ? backward_input<gpu::Pack<T>::kSize, T> : backward_input<1, T>, gpu::div_ceil(N, WARPS), THREADS, 0, dx, dout,
             x, weight, mean, rstd, N, C, accumulate_dx);
}

#define INSTANTIATE(T)                                                                                                        \
    template void layernorm_forward(T*, float*, float*, const T*, const T*, const T*, const T*, T*, int64_t, int64_t);          \
    template void layernorm_backward(T*, float*, float*, const T*, const T*, const T*, const float*, const float*, int64_t,     \
                                     int64_t, bool, bool);
INSTANTIATE(float)
INSTANTIATE(bf16)

}  // namespace kernels::cuda
