// Attention by wgmma beside that by mma.sync, on the device. Both round p and ds to bf16, take sums in fp32 and round
// what they store, so they are nearer to each other than to the CPU op: what differs is the order of sums and which
// reference p is relative to when it is rounded.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>

#include "dev/kernels/registry.h"
#include "runtime/cuda/gpu.h"

namespace {

using Contents = std::vector<std::vector<double>>;

struct Size {
    int64_t B, T, NH, HS;
};

// Operands in this order: qkv, out, lse, dqkv, dout.
Contents run(kernels::AttentionKernel kernel, const Size& size) {
    const auto [B, T, NH, HS] = size;
    const int64_t N = B * T, C = NH * HS, floats = kernels::attention_scratch_floats(Device::cuda, B, T, NH, HS);
    registry::CheckedMemory memory(Device::cuda, registry::Placement::aligned);
    const kernels::Attention a{.B = B,
                               .T = T,
                               .NH = NH,
                               .kernel = kernel,
                               .qkv = memory.random(N, 3 * C, DType::bf16, 2),
                               .out = memory.output(N, C, DType::bf16),
                               .lse = memory.output(1, N * NH, DType::f32),
                               .scratch = memory.scratch(1, floats, DType::f32)};
    const Tensor dqkv = memory.output(N, 3 * C, DType::bf16), dout = memory.random(N, C, DType::bf16);
    kernels::attention_forward(a);
    kernels::attention_backward(a, dqkv, dout);
    return memory.contents();
}

// The root mean square of the difference, as a fraction of that of the values.
double apart(const std::vector<double>& a, const std::vector<double>& b) {
    double squares = 0, differences = 0;
    for (size_t i = 0; i < a.size(); i++) {
        squares += a[i] * a[i];
        differences += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return std::sqrt(differences / squares);
}

TEST(Attention, WgmmaNeedsCapability9) {
    int major = 0, minor = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu::current_device()));
    EXPECT_EQ(registry::has_wgmma(), major == 9 && minor == 0);
}

// Results are half a unit in the last place of bf16 apart in the mean, gradients one: they follow from out as well.
TEST(Attention, WgmmaGivesWhatMmaGives) {
    if (!registry::has_wgmma()) GTEST_SKIP() << "wgmma needs compute capability 9.0";
    for (const Size& size : {Size{2, 200, 1, 64}, Size{1, 300, 1, 128}}) {
        const Contents mma = run(kernels::AttentionKernel::mma, size),
                       wgmma = run(kernels::AttentionKernel::wgmma, size);
        EXPECT_LT(apart(mma[1], wgmma[1]), 0x1p-9) << "out, heads of " << size.HS;
        EXPECT_LT(apart(mma[2], wgmma[2]), 0x1p-20) << "lse, heads of " << size.HS;
        EXPECT_LT(apart(mma[3], wgmma[3]), 0x1p-8) << "dqkv, heads of " << size.HS;
        EXPECT_NE(mma[1], wgmma[1]) << "the same kernel has run twice";
        EXPECT_NE(mma[3], wgmma[3]) << "the same kernel has run twice";
    }
}

}  // namespace
