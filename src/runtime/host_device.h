// Functions that kernels on the GPU and the host share: `__host__ __device__` under nvcc, nothing elsewhere.
#pragma once

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif
