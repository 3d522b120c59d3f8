// Slices: a few neighbours that a thread loads and stores together, as packs of 16 bytes where they fill them. SIZE is
// 1 where addresses or row lengths allow no packs.
#pragma once

#include "kernels/cuda/gpu.cuh"

namespace kernels::cuda {

template <class T, int SIZE>
struct alignas(SIZE * sizeof(T) < 16 ? SIZE * sizeof(T) : 16) Slice {
    T v[SIZE];
    __device__ float operator[](int k) const { return gpu::to_float(v[k]); }
};
// bf16 stays in pairs until it is used: as elements of their own, each would take a register.
template <int SIZE>
requires(SIZE % 2 == 0) struct alignas(SIZE < 8 ? SIZE * 2 : 16) Slice<bf16, SIZE> {
    uint32_t pairs[SIZE / 2];
    __device__ float operator[](int k) const {
        return __uint_as_float(k % 2 ? pairs[k / 2] & 0xFFFF0000u : pairs[k / 2] << 16);
    }
};
template <int SIZE>
using Floats = Slice<float, SIZE>;

template <int SIZE, class T>
__device__ Slice<T, SIZE> load_slice(const T* p) {
    return *reinterpret_cast<const Slice<T, SIZE>*>(p);
}
template <int SIZE, class T>
__device__ void store_slice(T* p, const Slice<T, SIZE>& slice) {
    *reinterpret_cast<Slice<T, SIZE>*>(p) = slice;
}

template <class T, int SIZE>
__device__ Floats<SIZE> to_floats(const Slice<T, SIZE>& slice) {
    Floats<SIZE> floats;
#pragma unroll
    for (int k = 0; k < SIZE; k++) floats.v[k] = slice[k];
    return floats;
}
template <class T, int SIZE>
__device__ Slice<T, SIZE> from_floats(const Floats<SIZE>& floats) {
    Slice<T, SIZE> slice;
    if constexpr (sizeof(T) == 2 && SIZE % 2 == 0) {
#pragma unroll
        for (int k = 0; k < SIZE; k += 2) slice.pairs[k / 2] = gpu::pack_bf16(floats.v[k], floats.v[k + 1]);
    } else {
#pragma unroll
        for (int k = 0; k < SIZE; k++) slice.v[k] = gpu::from_float<T>(floats.v[k]);
    }
    return slice;
}

template <int SIZE, class T>
__device__ Floats<SIZE> load_floats(const T* p) {
    return to_floats(load_slice<SIZE>(p));
}
template <int SIZE, class T>
__device__ void store_floats(T* p, const Floats<SIZE>& floats) {
    store_slice(p, from_floats<T>(floats));
}

template <class T, int SIZE>
__device__ void add_to(Floats<SIZE>& sum, const Slice<T, SIZE>& terms) {
#pragma unroll
    for (int k = 0; k < SIZE; k++) sum.v[k] += terms[k];
}

}  // namespace kernels::cuda
