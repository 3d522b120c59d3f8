// What the files share that define the functions of CUDA's runtime.
#pragma once

#include <cuda_runtime_api.h>

namespace executor {

// Keeps an error for cudaGetLastError, and returns it.
cudaError_t remember(cudaError_t error);

}  // namespace executor
