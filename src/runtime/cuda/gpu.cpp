#include "runtime/cuda/gpu.h"

namespace gpu {
namespace {

cudaStream_t create_stream() {
    cudaStream_t created;
    CUDA_CHECK(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
}

}  // namespace

int current_device() {
    int device = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    return device;
}

cudaStream_t stream() {
    static const cudaStream_t stream = create_stream();
    return stream;
}

cudaStream_t copy_stream() {
    static const cudaStream_t stream = create_stream();
    return stream;
}

}  // namespace gpu
