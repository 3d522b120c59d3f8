// What products choose by time is kept, and taken again where it is recalled.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <map>

#include "dev/kernels/registry.h"
#include "runtime/cuda/gpu.h"

namespace {

// A product whose sum is long enough for the library to offer more than one algorithm.
void multiply() {
    constexpr int64_t M = 64, N = 96, K = 256;
    registry::CheckedMemory memory(Device::cuda, registry::Placement::aligned);
    const Tensor a = memory.random(M, K, DType::bf16), b = memory.random(N, K, DType::bf16);
    const Tensor c = memory.output(M, N, DType::bf16);
    void* workspace = nullptr;
    const int64_t floats = kernels::workspace_floats(Device::cuda, DType::bf16, 0);
    CUDA_CHECK(cudaMalloc(&workspace, size_t(floats) * 4));
    const Tensor before =
        kernels::set_workspace(Device::cuda, make_tensor(workspace, DType::f32, 1, floats, Device::cuda));
    kernels::matmul({.a = a, .b = b, .c = c, .transpose_b = true});
    CUDA_CHECK(cudaDeviceSynchronize());
    kernels::set_workspace(Device::cuda, before);
    cudaFree(workspace);
}

TEST(Autotune, TakesTheAlgorithmThatItRecalls) {
    std::map<std::string, std::string> kept;
    int offered = -1;
    kernels::AlgorithmMemory memory{
        .recall = [&](const std::string& product) { return kept.contains(product) ? kept[product] : ""; },
        .keep = [&](const std::string& product, const std::string& algorithm) { kept[product] = algorithm; },
        .agree = [](int) { return 1; }};
    kernels::set_autotune(true, memory);  // which forgets all choices, as `agree` is given
    multiply();
    ASSERT_EQ(kept.size(), 1u);
    const std::string product = kept.begin()->first, second = kept.begin()->second;

    memory.agree = [&](int own) { return offered = own; };
    kernels::set_autotune(true, memory);
    multiply();
    EXPECT_EQ(offered, 1);
    EXPECT_EQ(kept[product], second);

    // What the library does not offer is timed anew.
    kept[product] = "an algorithm of another version";
    kernels::set_autotune(true, memory);
    multiply();
    EXPECT_EQ(kept[product] == second, offered == 1);
    EXPECT_NE(kept[product], "an algorithm of another version");
    kernels::set_autotune(false);
}

}  // namespace
