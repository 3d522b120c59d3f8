#include "gpu.h"

namespace gpu {

cudaStream_t stream() {
    static cudaStream_t stream = [] {
        cudaStream_t created;
        CUDA_CHECK(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
        return created;
    }();
    return stream;
}

}  // namespace gpu
