// The check that a debug build makes after every op.
#include "kernels/cuda/cuda.h"
#include "runtime/cuda/gpu.h"

namespace kernels::cuda {

void check_launched(std::string_view op) {
    const cudaError_t status = cudaStreamSynchronize(gpu::stream());
    CHECK(status == cudaSuccess, op, ": CUDA reports: ", cudaGetErrorString(status));
}

}  // namespace kernels::cuda
