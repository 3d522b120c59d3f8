// The only way of a kernel file to what is not plain C++: launches, shared memory, inline PTX. Compiled by nvcc it is
// CUDA; compiled by a C++ compiler the same names run on the CPU, by the executor whose header that build finds on its
// include path.
//
// Rules, so that one source serves both: no <<<>>>, no raw __shared__, no __CUDA_ARCH__, no __constant__, no
// cooperative groups; full and true lane masks; __syncwarp between a write to shared memory and another lane's read; no
// thread leaves before a later barrier; sums over blocks by a second kernel, in a fixed order.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/cuda/gpu.h"
#include "runtime/rng.h"
#include "runtime/tensor.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>

// A static array in shared memory, e.g. GPU_SHARED(float, partial, [32]), and the dynamic part as T*.
#define GPU_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#define GPU_SHARED_DYNAMIC(T, name)                                \
    extern __shared__ __align__(128) unsigned char gpu_dynamic_[]; \
    T* name = reinterpret_cast<T*>(gpu_dynamic_)

template <class... Params, class... Args>
inline void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Args&&... args) {
    kernel<<<grid, block, shared_bytes, stream>>>(std::forward<Args>(args)...);
}

namespace gpu {

// Lets a kernel use more than 48 KiB of dynamic shared memory; once before its first launch.
template <class... Params>
inline void allow_smem(void (*kernel)(Params...), size_t bytes) {
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    int(bytes)));
}

// The GPU's clock.
__device__ inline int64_t nanoseconds() {
    int64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)::"memory");
    return now;
}

// 2^x in one instruction, where exp2f takes four: results below 2^-126 are 0.
__device__ inline float exp2_approx(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

__device__ inline uint32_t smem_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// d = a (16x16, row) * b (16x8, column) + c of one warp: mma.m16n8k16, fragments as in the PTX ISA.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
// Loads N matrices of 8x8 bf16 from shared memory: lane 8 i + j gives the address of row j of matrix i.
template <int N>
__device__ inline void ldmatrix(uint32_t (&r)[N], const void* row) {
    static_assert(N == 4 || N == 2);
    if constexpr (N == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(smem_address(row))
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(smem_address(row))
                     : "memory");
}
// Loads them likewise, each matrix transposed.
template <int N>
__device__ inline void ldmatrix_trans(uint32_t (&r)[N], const void* row) {
    static_assert(N == 4 || N == 2);
    if constexpr (N == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(smem_address(row))
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(smem_address(row))
                     : "memory");
}
// Copies 16 bytes from global to shared memory in the background; with _zfill zeros if not `ok`, where the address must
// be valid all the same.
__device__ inline void cp_async16(void* shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_address(shared)), "l"(global) : "memory");
}
__device__ inline void cp_async16_zfill(void* shared, const void* global, bool ok) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(shared)), "l"(global),
                 "r"(ok ? 16 : 0)
                 : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of this thread's newest groups are under way.
template <int N>
__device__ inline void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

}  // namespace gpu
#else
#include "executor.h"
#endif

namespace gpu {

// ---- launches ----------------------------------------------------------------------------------------------------

// Launches a kernel on the project's stream, and throws if the launch is refused.
template <class... Params, class... Args>
inline void run(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args&&... args) {
    ::launch(kernel, grid, block, shared_bytes, stream(), std::forward<Args>(args)...);
    CUDA_CHECK(cudaGetLastError());
}
// n / d, rounded up.
inline unsigned div_ceil(int64_t n, int64_t d) { return unsigned((n + d - 1) / d); }

// ---- storage types -----------------------------------------------------------------------------------------------

// Conversions between a stored number and the fp32 that arithmetic takes.
__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }
template <class T>
__device__ inline T from_float(float x) {  // to nearest even
    if constexpr (sizeof(T) == 4) {
        return x;
    } else {
        T result;
        result.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
        return result;
    }
}
// Two neighbours as a register of an mma fragment, the first in the low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
    return uint32_t(from_float<bf16>(low).bits) | uint32_t(from_float<bf16>(high).bits) << 16;
}

// ---- reductions --------------------------------------------------------------------------------------------------

// The sum over the warp, in every lane.
template <class T>
__device__ inline T warp_sum(T v) {
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xFFFFFFFFu, v, offset);
    return v;
}
// The largest value of the warp. It passes over a NaN; the sum of exponentials that a maximum is taken for carries it
// on.
__device__ inline float warp_max(float v) {
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, offset));
    return v;
}
// The sum over the whole block, whose size is a multiple of 32; every thread gets the result, in the same bits on every
// run.
template <class T>
__device__ inline T block_sum(T v) {
    GPU_SHARED(T, partial, [32]);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_sum(v);
    __syncthreads();  // a previous call's values may still be read
    if (lane == 0) partial[warp] = v;
    __syncthreads();
    return warp_sum(lane < warps ? partial[lane] : T(0));
}
// The sum of v over the threads of the block before this one.
template <class T>
__device__ inline T block_sum_before(T v) {
    GPU_SHARED(T, totals, [32]);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    T sum = v;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
        const T other = __shfl_up_sync(0xFFFFFFFFu, sum, offset);
        if (lane >= offset) sum += other;
    }
    __syncthreads();  // a previous call's values may still be read
    if (lane == 31) totals[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++) sum += totals[w];
    return sum - v;
}
// The largest value of the block, in every thread. It passes over a NaN, as warp_max() does.
__device__ inline float block_max(float v) {
    GPU_SHARED(float, partial, [32]);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_max(v);
    __syncthreads();
    if (lane == 0) partial[warp] = v;
    __syncthreads();
    return warp_max(lane < warps ? partial[lane] : -INFINITY);
}

}  // namespace gpu
