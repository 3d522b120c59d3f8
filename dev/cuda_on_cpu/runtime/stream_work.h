// The runtime's services to stand-ins of libraries that put work of their own on a stream (cuBLASLt, NCCL).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace executor {

// Puts host code on a stream as a kernel would be: in the stream's order, deferred or recorded where the stream is, and
// with device memory open while it runs. An error of capture is returned, as the library would.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);

// Do all `bytes` at `pointer` lie in one live device allocation?
bool is_device_pointer(const void* pointer, size_t bytes);

}  // namespace executor
