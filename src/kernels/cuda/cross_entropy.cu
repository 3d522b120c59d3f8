// Softmax cross-entropy and its gradient, a row a block. The second pass over a row goes backwards: what the first read
// last is the likeliest to be in L2 still.
#include <algorithm>
#include <cfloat>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

constexpr int kMaxThreads = 1024;  // few blocks a multiprocessor: more rows at a time would not fit into L2
constexpr int kStepColumns = 16;   // a thread loads them before it uses any

// The columns [c, c + SIZE) of a row of logits, -Inf from column V on.
template <int SIZE, class T>
__device__ Slice<T, SIZE> load_logits(const T* x, int c, int V) {
    if (c + SIZE <= V) return load_slice<SIZE>(x + c);
    Slice<T, SIZE> logits = {};
#pragma unroll
    for (int k = 0; k < SIZE; k++) logits.set(k, c + k < V ? x[c + k] : gpu::from_float<T>(-INFINITY));
    return logits;
}

// losses, targets (N); logits, dlogits (N, Vp), where dlogits may be null or the logits themselves.
template <class T, int SIZE>
__global__ void __launch_bounds__(kMaxThreads)
    softmax_loss(float* losses, const T* logits, T* dlogits, const int32_t* targets, int V, int Vp, float scale) {
    constexpr int SLICES = kStepColumns / SIZE;
    const T* x = logits + int64_t(blockIdx.x) * Vp;
    const int32_t target = targets[blockIdx.x];
    const float target_logit = gpu::to_float(x[target]);  // the gradient may overwrite it
    const int threads = blockDim.x, step = threads * kStepColumns;
    // Where slice i of the thread's share of a step lies; `first` is the step's first column.
    const auto column = [=](int first, int i) { return first + (i * threads + int(threadIdx.x)) * SIZE; };

    // A finite start keeps -Inf from becoming -Inf - -Inf.
    float max = -FLT_MAX, sum = 0;
    for (int first = 0; first < V; first += step) {
        Slice<T, SIZE> v[SLICES];
        const float max_before = max;
#pragma unroll
        for (int i = 0; i < SLICES; i++) v[i] = load_logits<SIZE>(x, column(first, i), V);
#pragma unroll
        for (int i = 0; i < SLICES; i++)
#pragma unroll
            for (int k = 0; k < SIZE; k++) max = fmaxf(max, v[i][k]);
        sum *= expf(max_before - max);
#pragma unroll
        for (int i = 0; i < SLICES; i++) {
            if (column(first, i) >= V) continue;
#pragma unroll
            for (int k = 0; k < SIZE; k++) sum += expf(v[i][k] - max);
        }
    }
    const float row_max = gpu::block_max(max);
    const float row_sum = gpu::block_sum(sum * expf(max - row_max));
    if (threadIdx.x == 0) losses[blockIdx.x] = row_max - target_logit + logf(row_sum);
    if (!dlogits) return;

    T* d = dlogits + int64_t(blockIdx.x) * Vp;
    const float factor = scale / row_sum;
    for (int first = (Vp - 1) / step * step; first >= 0; first -= step) {
        Slice<T, SIZE> v[SLICES];
#pragma unroll
        for (int i = 0; i < SLICES; i++) v[i] = load_logits<SIZE>(x, column(first, i), V);
#pragma unroll
        for (int i = 0; i < SLICES; i++) {
            const int c = column(first, i);
            if (c >= Vp) continue;
            Floats<SIZE> gradients;
#pragma unroll
            for (int k = 0; k < SIZE; k++) gradients.v[k] = expf(v[i][k] - row_max) * factor;
            if (c + SIZE > V)
#pragma unroll
                for (int k = 0; k < SIZE; k++) gradients.v[k] = c + k < V ? gradients.v[k] : 0.0f;
            store_floats(d + c, gradients);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) d[target] = gpu::from_float<T>((expf(target_logit - row_max) / row_sum - 1.0f) * scale);
}

}  // namespace

template <class T>
void cross_entropy(float* losses, const T* logits, T* dlogits, const int32_t* targets, int64_t N, int64_t V, int64_t Vp,
                   float scale) {
    constexpr int SIZE = kSliceSize<T>;
    const auto kernel = sliceable<SIZE>(Vp, logits, dlogits) ? softmax_loss<T, SIZE> : softmax_loss<T, 1>;
    const unsigned threads = std::min<unsigned>(gpu::div_ceil(Vp, kStepColumns * 32) * 32, kMaxThreads);
    gpu::run(kernel, unsigned(N), threads, 0, losses, logits, dlogits, targets, int(V), int(Vp), scale);
}

template void cross_entropy(float*, const float*, float*, const int32_t*, int64_t, int64_t, int64_t, float);
template void cross_entropy(float*, const bf16*, bf16*, const int32_t*, int64_t, int64_t, int64_t, float);

}  // namespace kernels::cuda
