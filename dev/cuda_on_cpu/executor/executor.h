// A kernel file sees this when a C++ compiler takes the place of nvcc: CUDA's keywords and variables, shared memory and
// launches. Kernels then run on the CPU, each CUDA thread as a fiber (see ../README.md). CUDA's own headers give dim3,
// float4, bf16 and the runtime's declarations, and the runtime's folder defines what they declare.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <array>
#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "dev/cuda_on_cpu/executor/collectives.h"
#include "dev/cuda_on_cpu/executor/hopper.h"
#include "dev/cuda_on_cpu/executor/intrinsics.h"

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __launch_bounds__(...)
// Raw __shared__ variables would work as static thread_local ones, but without red zones, poison or race checks.
#define __shared__ EXECUTOR_ERROR_use_GPU_SHARED_instead_of___shared__
#define __constant__ EXECUTOR_ERROR_use_a_kernel_argument_instead_of___constant__

inline constinit thread_local uint3 threadIdx{0, 0, 0}, blockIdx{0, 0, 0};
inline constinit thread_local dim3 blockDim{1, 1, 1}, gridDim{1, 1, 1};
inline constexpr int warpSize = 32;

namespace executor {

// ---- shared memory -----------------------------------------------------------------------------------------------

void* shared_variable(const void* key, size_t bytes, size_t alignment);  // the block's instance of the variable `key`
void* shared_dynamic(size_t alignment);

#define GPU_SHARED(T, name, ...)                                                              \
    using name##_shared_type = T __VA_ARGS__;                                                 \
    name##_shared_type& name = *static_cast<name##_shared_type*>(::executor::shared_variable( \
        [] {                                                                                  \
            static const char key = 0;                                                        \
            return &key;                                                                      \
        }(),                                                                                  \
        sizeof(name##_shared_type), std::max<size_t>(16, alignof(name##_shared_type))))
#define GPU_SHARED_DYNAMIC(T, name) T* name = static_cast<T*>(::executor::shared_dynamic(128))
#define GPU_SHARED_TILES(T, name) T* name = static_cast<T*>(::executor::shared_dynamic(1024))

// ---- launches ----------------------------------------------------------------------------------------------------

struct Launch {
    const void* kernel;
    dim3 grid, block;
    size_t shared_bytes;
};
struct PointerArgument {
    int index;  // among the kernel's arguments, from 1
    const void* pointer;
};
// Checks the launch and puts it on the stream; each CUDA thread runs `thread`. The runtime defines this, as streams are
// its own: the one thing that the executor asks of it.
void submit(const Launch& launch, cudaStream_t stream, const PointerArgument* pointers, size_t num_pointers,
            std::function<void()> thread);

template <class T>
inline void note_pointer(const T& argument, int index, PointerArgument* pointers, size_t& num_pointers) {
    if constexpr (std::is_pointer_v<T>) pointers[num_pointers++] = {index, argument};
}

}  // namespace executor

template <class... Params, class... Args>
inline void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Args&&... args) {
    static_assert(sizeof...(Params) == sizeof...(Args), "a launch with too few or too many arguments");
    std::tuple<std::decay_t<Params>...> values(static_cast<Params>(std::forward<Args>(args))...);
    std::array<executor::PointerArgument, sizeof...(Params) + 1> pointers;
    size_t num_pointers = 0;
    std::apply(
        [&](const auto&... value) {
            int index = 0;
            (executor::note_pointer(value, ++index, pointers.data(), num_pointers), ...);
        },
        values);
    executor::submit({reinterpret_cast<const void*>(kernel), grid, block, shared_bytes}, stream, pointers.data(),
                     num_pointers, [kernel, values] { std::apply(kernel, values); });
}

namespace gpu {

template <class... Params>
inline void allow_smem(void (*kernel)(Params...), size_t bytes) {
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         int(bytes));
}

}  // namespace gpu
