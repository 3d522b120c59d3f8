// What the dispatch_*.cpp files share. They define the public ops of kernels.h: each checks its shapes and types, then
// hands raw pointers to the implementation for the device and the type. Ops other than matmul and attention demand
// contiguous tensors.
#pragma once

#include <initializer_list>
#include <string_view>
#include <type_traits>

#include "kernels/by_type.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/op_timer.h"
#include "runtime/build.h"

namespace kernels {

// Calls the implementation of an op for the device that `tensor` is on; both take the same arguments. In a binary
// without CUDA the first branch is discarded, so that nothing of the CUDA half needs to be linked.
#define ON_DEVICE_OF(tensor, call)                                                                 \
    [&] {                                                                                          \
        if constexpr (kBuiltWithCuda)                                                              \
            if ((tensor).device == Device::cuda) return on_gpu(#call, [&] { return cuda::call; }); \
        return cpu::call;                                                                          \
    }()

// Launches an op on the GPU. A debug build waits for it, so that what goes wrong is reported under the op's name;
// `call` starts with that.
template <class Launch>
auto on_gpu(std::string_view call, const Launch& launch) {
    if constexpr (!kDebugBuild) {
        return launch();
    } else {
        const std::string_view op = call.substr(0, call.find('('));
        if constexpr (std::is_void_v<decltype(launch())>) {
            launch();
            cuda::check_launched(op);
        } else {
            const auto result = launch();
            cuda::check_launched(op);
            return result;
        }
    }
}

// The type to give to a check that takes fp32 or bf16.
inline constexpr DType kComputeType = DType(-1);

// What a check knows of an operand: its name for messages, and what it has to be.
struct Operand {
    const char* name;
    const Tensor& tensor;
    int64_t rows, cols;
    DType dtype = kComputeType;
};

// Throws unless every operand has memory, the given shape, its type and contiguous rows, all are on one device, and
// those without a type of their own are of one compute type, which is returned (fp32 if there is none).
DType check(const char* op, std::initializer_list<Operand> operands);
// Throws unless p is in [0, 1), or in [0, 1].
void check_probability(const char* op, double p, bool one_allowed);

// Whether a tensor is in the CPU's memory.
inline bool on_cpu(const Tensor& t) { return t.device == Device::cpu; }

// The elements of a tensor that may be left out, or null.
template <class T>
T* optional(const Tensor& t) {
    return t.empty() ? nullptr : t.get<T>();
}

}  // namespace kernels
