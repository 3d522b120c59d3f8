// Ops that draw from a random stream element by element: initial values, dropout, dithered sums, random pruning.
// Element i depends on (stream, i) only and is the CPU's.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/dither.cuh"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread's run of elements: a slice and whole Philox blocks. `sliced` tells whether the tensor is aligned; its end
// may hold less than a run.
template <class T>
struct Run {
    static constexpr int kSize = kSliceSize<T>;
    static_assert(kSize % 4 == 0);
    int64_t first;
    int count;
    bool sliced;

    __device__ Run(int64_t n, bool sliced) : sliced(sliced) {
        first = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * kSize;
        count = n - first < kSize ? int(n - first) : kSize;
    }
    __device__ void uniforms(float (&u)[kSize], const rng::Stream& stream) const {
#pragma unroll
        for (int b = 0; b < kSize / 4; b++) {
            const rng::Block block = stream.block(uint64_t(first / 4 + b));
#pragma unroll
            for (int k = 0; k < 4; k++) u[4 * b + k] = rng::to_uniform(block.x[k]);
        }
    }
    __device__ Slice<T, kSize> load(const T* p) const { return load_part<kSize>(p + first, sliced, count); }
    __device__ void store(T* p, const Slice<T, kSize>& slice) const { store_part(p + first, slice, sliced, count); }
};

// ---- fill --------------------------------------------------------------------------------------------------------

// out (n)
template <class T>
__global__ void __launch_bounds__(kThreads) uniform(T* out, int64_t n, bool sliced, float bound, rng::Stream stream) {
    const Run<T> run(n, sliced);
    float u[run.kSize];
    run.uniforms(u, stream);
    Floats<run.kSize> values;
#pragma unroll
    for (int k = 0; k < run.kSize; k++) values.v[k] = bound * (2.0f * u[k] - 1.0f);
    run.store(out, from_floats<T>(values));
}

// cos(2 pi u) and sin(2 pi u) for u in [0, 1], by the CPU's series; the nearest quarter turn is split off exactly.
__device__ void cos_sin(float u, float& cosine, float& sine) {
    const int quarter = int(u * 4.0f + 0.5f);
    const float t = (u - float(quarter) * 0.25f) * 6.28318531f, z = t * t;
    float c = -1.0f / 3628800.0f;
    c = c * z + 1.0f / 40320.0f;
    c = c * z - 1.0f / 720.0f;
    c = c * z + 1.0f / 24.0f;
    c = c * z - 0.5f;
    c = c * z + 1.0f;
    float s = 1.0f / 362880.0f;
    s = s * z - 1.0f / 5040.0f;
    s = s * z + 1.0f / 120.0f;
    s = s * z - 1.0f / 6.0f;
    s = t + t * z * s;
    const bool swap = quarter & 1;
    cosine = ((quarter + 1) & 2 ? -1.0f : 1.0f) * (swap ? s : c);
    sine = (quarter & 2 ? -1.0f : 1.0f) * (swap ? c : s);
}

// Box-Muller: uniforms 2i and 2i+1 make elements 2i and 2i+1 of out (n).
template <class T>
__global__ void __launch_bounds__(kThreads) normal(T* out, int64_t n, bool sliced, float stddev, rng::Stream stream) {
    const Run<T> run(n, sliced);
    float u[run.kSize];
    run.uniforms(u, stream);
    Floats<run.kSize> values;
#pragma unroll
    for (int k = 0; k < run.kSize; k += 2) {
        const float radius = stddev * sqrtf(-2.0f * logf(1.0f - u[k]));  // the logarithm of (0, 1] stays finite
        float cosine, sine;
        cos_sin(u[k + 1], cosine, sine);
        values.v[k] = radius * cosine;
        values.v[k + 1] = radius * sine;
    }
    run.store(out, from_floats<T>(values));
}

// ---- dropout -----------------------------------------------------------------------------------------------------

// out, x (n)
template <class T>
__global__ void __launch_bounds__(kThreads)
    drop(T* out, const T* x, int64_t n, bool sliced, float p, float scale, rng::Stream stream, bool accumulate) {
    const Run<T> run(n, sliced);
    const Slice<T, run.kSize> from = run.load(x), before = accumulate ? run.load(out) : Slice<T, run.kSize>{};
    float u[run.kSize];
    run.uniforms(u, stream);
    Floats<run.kSize> values;
#pragma unroll
    for (int k = 0; k < run.kSize; k++) {
        const float kept = u[k] >= p ? from[k] * scale : 0.0f;
        values.v[k] = accumulate ? before[k] + kept : kept;
    }
    run.store(out, from_floats<T>(values));
}

// ---- dithered sum ------------------------------------------------------------------------------------------------

// out, a, b (n)
__global__ void __launch_bounds__(kThreads)
    dither(bf16* out, const bf16* a, const float* b, int64_t n, bool sliced, rng::Stream stream) {
    const Run<bf16> run(n, sliced);
    const Slice<bf16, run.kSize> x = run.load(a);
    const Floats<run.kSize> y = load_part<run.kSize>(b + run.first, sliced, run.count);
    run.store(out, dithered_sum(x, y, stream, run.first));
}

// ---- prune -------------------------------------------------------------------------------------------------------

// t (n), selected (1)
template <class T>
__global__ void __launch_bounds__(kThreads)
    prune(T* t, int64_t n, bool sliced, float p, rng::Stream stream, unsigned long long* selected) {
    const Run<T> run(n, sliced);
    Slice<T, run.kSize> values = run.load(t);
    float u[run.kSize];
    run.uniforms(u, stream);
    int in_run = 0;
#pragma unroll
    for (int k = 0; k < run.kSize; k++) {
        if (u[k] > p) continue;
        values.set(k, gpu::from_float<T>(0.0f));
        if (k < run.count) in_run++;
    }
    run.store(t, values);
    const int in_block = gpu::block_sum(in_run);
    if (threadIdx.x == 0) atomicAdd(selected, static_cast<unsigned long long>(in_block));  // exact in any order
}

template <class T>
unsigned blocks(int64_t n) {
    return gpu::div_ceil(n, int64_t(kThreads) * Run<T>::kSize);
}
template <class T>
bool aligned(const T* p) {
    return sliceable<kSliceSize<T>>(0, p);
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

template <class T>
void fill_uniform(T* out, int64_t n, float bound, const rng::Stream& stream) {
    gpu::run(uniform<T>, blocks<T>(n), kThreads, 0, out, n, aligned(out), bound, stream);
}

template <class T>
void fill_normal(T* out, int64_t n, float stddev, const rng::Stream& stream) {
    gpu::run(normal<T>, blocks<T>(n), kThreads, 0, out, n, aligned(out), stddev, stream);
}

template <class T>
void dropout(T* out, const T* x, int64_t n, float p, const rng::Stream& stream, bool accumulate) {
    gpu::run(drop<T>, blocks<T>(n), kThreads, 0, out, x, n, aligned(out) && aligned(x), p, 1.0f / (1.0f - p), stream,
             accumulate);
}

void add_dithered(bf16* out, const bf16* a, const float* b, int64_t n, const rng::Stream& stream) {
    const bool sliced = aligned(out) && aligned(a) && aligned(b);
    gpu::run(dither, blocks<bf16>(n), kThreads, 0, out, a, b, n, sliced, stream);
}

template <class T>
int64_t prune_random(T* t, int64_t n, float p, const rng::Stream& stream) {
    unsigned long long selected = 0;
    auto* counter = reinterpret_cast<unsigned long long*>(workspace(sizeof selected / sizeof(float)));
    CUDA_CHECK(cudaMemsetAsync(counter, 0, sizeof selected, gpu::stream()));
    gpu::run(prune<T>, blocks<T>(n), kThreads, 0, t, n, aligned(t), p, stream, counter);
    CUDA_CHECK(cudaMemcpyAsync(&selected, counter, sizeof selected, cudaMemcpyDeviceToHost, gpu::stream()));
    CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
    return int64_t(selected);
}

template void fill_uniform(float*, int64_t, float, const rng::Stream&);
template void fill_uniform(bf16*, int64_t, float, const rng::Stream&);
template void fill_normal(float*, int64_t, float, const rng::Stream&);
template void fill_normal(bf16*, int64_t, float, const rng::Stream&);
template void dropout(float*, const float*, int64_t, float, const rng::Stream&, bool);
template void dropout(bf16*, const bf16*, int64_t, float, const rng::Stream&, bool);
template int64_t prune_random(float*, int64_t, float, const rng::Stream&);
template int64_t prune_random(bf16*, int64_t, float, const rng::Stream&);

}  // namespace kernels::cuda
