// The GPU as the host sees it: the stream that all kernels run on, the one for copies, and the check around every
// CUDA call. Included only by files of the CUDA half.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/error.h"

#define CUDA_CHECK(call)                                                                                 \
    do {                                                                                                 \
        const cudaError_t cuda_status = (call);                                                          \
        if (cuda_status != cudaSuccess) FAIL(#call, ": CUDA reports ", cudaGetErrorString(cuda_status)); \
    } while (0)

namespace gpu {

// The device that CUDA has chosen for this thread.
int current_device();
// The stream that everything but uploads runs on, in order.
cudaStream_t stream();
// The stream for uploads, which go on beside the other one's work.
cudaStream_t copy_stream();

}  // namespace gpu
