// The memory that ops on the GPU use for themselves: one block, in two parts, shared by all ops of the one stream.
#include "kernels/cuda/cuda.h"

namespace kernels::cuda {
namespace {

// cudaMalloc aligns memory to this; the second part starts on a multiple of it as well.
constexpr uintptr_t kAlignment = 256;
static_assert(kWorkspaceFloats * sizeof(float) % kAlignment == 0);

float* memory = nullptr;

}  // namespace

void set_workspace(const Tensor& workspace) {
    memory = nullptr;
    if (workspace.empty()) return;
    CHECK(workspace.contiguous() && workspace.size() >= kTotalWorkspaceFloats, "the workspace of the CUDA ops is (",
          workspace.rows, ", ", workspace.cols, ") and should be (1, ", kTotalWorkspaceFloats, ")");
    float* data = workspace.get<float>();
    CHECK(reinterpret_cast<uintptr_t>(data) % kAlignment == 0, "the workspace of the CUDA ops is not aligned to ",
          kAlignment, " bytes");
    memory = data;
}

float* workspace(int64_t floats) {
    CHECK(memory, "an op on the GPU needs a workspace, and none was set");
    CHECK(floats >= 0 && floats <= kWorkspaceFloats, "an op asked for a workspace of ", floats, " floats, there are ",
          kWorkspaceFloats);
    return memory;
}

void* matmul_workspace() {
    CHECK(memory, "a matrix product on the GPU needs a workspace, and none was set");
    return memory + kWorkspaceFloats;
}

}  // namespace kernels::cuda
