// Slices: a few neighbours that a thread loads and stores together, in accesses of up to 16 bytes. SIZE is 1 where
// addresses or row lengths allow no wider ones.
#pragma once

#include "kernels/cuda/gpu.cuh"

namespace kernels::cuda {

// Elements of a slice that one access of 16 bytes moves.
template <class T>
inline constexpr int kSliceSize = 16 / sizeof(T);

template <class T, int SIZE>
struct alignas(SIZE * sizeof(T) < 16 ? SIZE * sizeof(T) : 16) Slice {
    T v[SIZE];
    __device__ float operator[](int k) const { return gpu::to_float(v[k]); }
    __device__ T element(int k) const { return v[k]; }
    __device__ void set(int k, T x) { v[k] = x; }
};
// bf16 stays in pairs until it is used: as elements of their own, each would take a register.
template <int SIZE>
requires(SIZE % 2 == 0) struct alignas(SIZE < 8 ? SIZE * 2 : 16) Slice<bf16, SIZE> {
    uint32_t pairs[SIZE / 2];
    __device__ float operator[](int k) const {
        return __uint_as_float(k % 2 ? pairs[k / 2] & 0xFFFF0000u : pairs[k / 2] << 16);
    }
    __device__ bf16 element(int k) const {
        bf16 x;
        x.bits = uint16_t(pairs[k / 2] >> k % 2 * 16);
        return x;
    }
    __device__ void set(int k, bf16 x) {
        const uint32_t other = pairs[k / 2] & (k % 2 ? 0x0000FFFFu : 0xFFFF0000u);
        pairs[k / 2] = other | uint32_t(x.bits) << k % 2 * 16;
    }
};
template <int SIZE>
using Floats = Slice<float, SIZE>;

// May rows of `cols` elements that start at these addresses be read as slices? Decided on the host, once per launch.
template <int SIZE, class... T>
bool sliceable(int64_t cols, const T*... rows) {
    return cols % SIZE == 0 && ((reinterpret_cast<uintptr_t>(rows) % alignof(Slice<T, SIZE>) == 0) && ...);
}

// ---- memory ------------------------------------------------------------------------------------------------------

template <int SIZE, class T>
__device__ Slice<T, SIZE> load_slice(const T* p) {
    return *reinterpret_cast<const Slice<T, SIZE>*>(p);
}
template <int SIZE, class T>
__device__ void store_slice(T* p, const Slice<T, SIZE>& slice) {
    *reinterpret_cast<Slice<T, SIZE>*>(p) = slice;
}

// Load and store a slice that the end of a tensor may cut off after `count` elements; what is missing is zero. `sliced`
// tells whether the address allows slices.
template <int SIZE, class T>
__device__ Slice<T, SIZE> load_part(const T* p, bool sliced, int count) {
    if (sliced && count == SIZE) return load_slice<SIZE>(p);
    Slice<T, SIZE> slice = {};
#pragma unroll
    for (int k = 0; k < SIZE; k++)
        if (k < count) slice.set(k, p[k]);
    return slice;
}
template <int SIZE, class T>
__device__ void store_part(T* p, const Slice<T, SIZE>& slice, bool sliced, int count) {
    if (sliced && count == SIZE) {
        store_slice(p, slice);
        return;
    }
#pragma unroll
    for (int k = 0; k < SIZE; k++)
        if (k < count) p[k] = slice.element(k);
}

// ---- as floats ---------------------------------------------------------------------------------------------------

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
