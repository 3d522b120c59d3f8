// Slices: a few neighbours that a thread loads and stores together, as packs of 16 bytes where they fill them. SIZE is
// 1 where addresses or row lengths allow no packs.
#pragma once

#include "gpu.cuh"

namespace kernels::cuda {

template <class T, int SIZE>
struct alignas(SIZE * sizeof(T) < 16 ? SIZE * sizeof(T) : 16) Slice {
    T v[SIZE];
};

template <int SIZE, class T>
__device__ Slice<T, SIZE> load_slice(const T* p) {
    return *reinterpret_cast<const Slice<T, SIZE>*>(p);
}
template <int SIZE, class T>
__device__ void store_slice(T* p, const Slice<T, SIZE>& slice) {
    *reinterpret_cast<Slice<T, SIZE>*>(p) = slice;
}

template <int SIZE, class T>
__device__ Slice<float, SIZE> to_floats(const Slice<T, SIZE>& slice) {
    Slice<float, SIZE> floats;
#pragma unroll
    for (int k = 0; k < SIZE; k++) floats.v[k] = gpu::to_float(slice.v[k]);
    return floats;
}
template <class T, int SIZE>
__device__ Slice<T, SIZE> from_floats(const Slice<float, SIZE>& floats) {
    Slice<T, SIZE> slice;
#pragma unroll
    for (int k = 0; k < SIZE; k++) slice.v[k] = gpu::from_float<T>(floats.v[k]);
    return slice;
}

template <int SIZE, class T>
__device__ Slice<float, SIZE> load_floats(const T* p) {
    return to_floats(load_slice<SIZE>(p));
}
template <int SIZE, class T>
__device__ void store_floats(T* p, const Slice<float, SIZE>& floats) {
    store_slice(p, from_floats<T>(floats));
}

template <int SIZE>
__device__ void add_to(Slice<float, SIZE>& sum, const Slice<float, SIZE>& terms) {
#pragma unroll
    for (int k = 0; k < SIZE; k++) sum.v[k] += terms.v[k];
}

}  // namespace kernels::cuda
