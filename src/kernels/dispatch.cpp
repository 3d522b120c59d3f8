// The checks of the public ops, and what concerns a device's ops as a whole.
#include "kernels/dispatch.h"

#include "runtime/device.h"

namespace kernels {

DType check(const char* op, std::initializer_list<Operand> operands) {
    CHECK(kBuiltWithCuda || on_cpu(operands.begin()->tensor), op,
          ": a tensor is on a CUDA device, but this binary was built without CUDA");
    DType compute = kComputeType;
    for (const auto& [name, t, rows, cols, dtype] : operands) {
        CHECK(t.data, op, ": ", name, " has no memory");
        CHECK(t.rows == rows && t.cols == cols, op, ": ", name, " is (", t.rows, ", ", t.cols, ") and should be (",
              rows, ", ", cols, ")");
        CHECK(t.contiguous(), op, ": the rows of ", name, " are ", t.ld, " apart and should be contiguous (", cols,
              ")");
        CHECK(t.device == operands.begin()->tensor.device, op, ": ", name, " is on another device than ",
              operands.begin()->name);
        if (dtype != kComputeType) {
            CHECK(t.dtype == dtype, op, ": ", name, " is ", dtype_name(t.dtype), " and should be ", dtype_name(dtype));
        } else {
            CHECK(t.dtype != DType::i32, op, ": ", name, " is int32 and should be fp32 or bf16");
            if (compute == kComputeType) compute = t.dtype;
            CHECK(t.dtype == compute, op, ": ", name, " is ", dtype_name(t.dtype), " and should be ",
                  dtype_name(compute), " like the rest");
        }
    }
    return compute == kComputeType ? DType::f32 : compute;
}

void check_probability(const char* op, double p, bool one_allowed) {
    CHECK(p >= 0 && (p < 1 || (one_allowed && p == 1)), op, ": p is ", p, " and should be in [0, 1",
          one_allowed ? "]" : ")");
}

std::string device_problem(Device device) {
    if (device == Device::cpu) return "";
    const std::string problem = device::cuda_problem();
    if constexpr (kBuiltWithCuda)
        if (problem.empty())
            return cuda::has_kernels()
                       ? cuda::matmul_problem()
                       : "this binary has no kernels for the GPU's architecture: build it where the GPU is, "
                         "or with `make release`";
    return problem;
}

void set_autotune(bool on, AlgorithmMemory memory) {
    if constexpr (kBuiltWithCuda) cuda::set_autotune(on, std::move(memory));
}

int set_threads(int threads) { return cpu::set_threads(threads); }

}  // namespace kernels
