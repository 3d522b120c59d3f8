// Ops that treat every element alike: add, convert, zero, fill.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/elementwise.cuh"

namespace kernels::cuda {
namespace {

struct Add {
    __device__ float operator()(float a, float b) const { return a + b; }
};
struct Identity {
    __device__ float operator()(float x) const { return x; }
};
struct Constant {
    float value;
    __device__ float operator()() const { return value; }
};

}  // namespace

template <class Out, class A, class B>
void add(Out* out, const A* a, const B* b, int64_t n) {
    map(out, n, Add(), a, b);
}

template <class Out, class In>
void convert(Out* out, const In* in, int64_t n) {
    map(out, n, Identity(), in);
}

void zero(void* out, int64_t bytes) { CUDA_CHECK(cudaMemsetAsync(out, 0, size_t(bytes), gpu::stream())); }

template <class T>
void fill(T* out, int64_t n, float value) {
    map(out, n, Constant{value});
}

bool has_kernels() {
    cudaFuncAttributes attributes;
    void (*const any)(float*, int64_t, Constant) = map_slices<1, Constant, float>;
    const bool found = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(any)) == cudaSuccess;
    if (!found) cudaGetLastError();  // forgets the failure
    return found;
}

template void fill(float*, int64_t, float);
template void fill(bf16*, int64_t, float);
template void add(float*, const float*, const float*, int64_t);
template void add(float*, const float*, const bf16*, int64_t);
template void add(bf16*, const bf16*, const bf16*, int64_t);
template void add(bf16*, const float*, const float*, int64_t);
template void add(bf16*, const bf16*, const float*, int64_t);
template void convert(float*, const float*, int64_t);
template void convert(float*, const bf16*, int64_t);
template void convert(bf16*, const float*, int64_t);
template void convert(bf16*, const bf16*, int64_t);

}  // namespace kernels::cuda
