#include "runtime/cuda/gpu.h"

namespace gpu {
namespace {

cudaStream_t create_stream(int priority = 0) {
    cudaStream_t created;
    CUDA_CHECK(cudaStreamCreateWithPriority(&created, cudaStreamNonBlocking, priority));
    return created;
}

cudaStream_t main_stream() {
    static const cudaStream_t stream = create_stream();
    return stream;
}

thread_local cudaStream_t other_stream = nullptr;

}  // namespace

int current_device() {
    int device = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    return device;
}

cudaStream_t stream() { return other_stream ? other_stream : main_stream(); }

OnStream::OnStream(cudaStream_t other) : before_(other_stream) { other_stream = other; }
OnStream::~OnStream() { other_stream = before_; }

cudaStream_t copy_stream() {
    static const cudaStream_t stream = create_stream();
    return stream;
}

// Its kernels come first: they are short, and the other ranks wait for them.
cudaStream_t side_stream() {
    static const cudaStream_t stream = [] {
        int least = 0, greatest = 0;
        CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
        return create_stream(greatest);
    }();
    return stream;
}

}  // namespace gpu
