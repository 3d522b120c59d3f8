// Where a product takes the GELU in: the results betray it, because a fused GELU sees the product before it is rounded.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "dev/kernels/registry.h"
#include "runtime/cuda/gpu.h"

namespace {

// How many elements of c = gelu(a b^T) are not the GELU op of the stored product.
int fused_elements(DType type, registry::Placement placement) {
    constexpr int64_t M = 64, N = 96, K = 32;
    registry::CheckedMemory memory(Device::cuda, placement);
    const Tensor a = memory.random(M, K, type), b = memory.random(N, K, type), bias = memory.random(1, N, type);
    const Tensor c = memory.output(M, N, type), aux = memory.output(M, N, type), apart = memory.output(M, N, type);
    void* workspace = nullptr;
    const int64_t floats = kernels::workspace_floats(Device::cuda, type, 0);
    CUDA_CHECK(cudaMalloc(&workspace, size_t(floats) * 4));
    const Tensor before =
        kernels::set_workspace(Device::cuda, make_tensor(workspace, DType::f32, 1, floats, Device::cuda));
    kernels::matmul(
        {.a = a, .b = b, .c = c, .bias = bias, .transpose_b = true, .epilogue = kernels::Epilogue::gelu, .aux = aux});
    kernels::gelu_forward(apart, aux);
    const std::vector<std::vector<double>> contents = memory.contents();
    kernels::set_workspace(Device::cuda, before);
    cudaFree(workspace);
    int fused = 0;
    for (size_t i = 0; i < contents[3].size(); i++) fused += contents[3][i] != contents[5][i];
    return fused;
}

TEST(MatmulGelu, IsFusedInBf16FromCapability9OnAndWhereAligned) {
    int major = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
    EXPECT_EQ(fused_elements(DType::bf16, registry::Placement::aligned) > 100, major >= 9);
    EXPECT_EQ(fused_elements(DType::bf16, registry::Placement::misaligned), 0);
    EXPECT_EQ(fused_elements(DType::f32, registry::Placement::aligned), 0);
}

}  // namespace
