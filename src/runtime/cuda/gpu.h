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
// Every kernel, product and device-side copy of a step runs on this stream, in order.
cudaStream_t stream();
// Copies to the device go beside it.
cudaStream_t copy_stream();

}  // namespace gpu
