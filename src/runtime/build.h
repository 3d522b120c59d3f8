// What this binary was built with. The one place that asks the preprocessor: all else branches on these constants, and
// the compiler drops the branches that the build can't take, so that nothing of them needs to be linked.
#pragma once

// Each object file has its own: the executor's programs link objects that were built with CUDA to a library without.
constexpr bool kBuiltWithCuda = RELORA_CUDA;

// What ranks need to exchange tensors on CPUs, and on GPUs.
#ifdef RELORA_MPI
constexpr bool kBuiltWithMpi = RELORA_MPI;
#else
constexpr bool kBuiltWithMpi = false;
#endif
#ifdef RELORA_NCCL
constexpr bool kBuiltWithNccl = kBuiltWithCuda && RELORA_NCCL;
#else
constexpr bool kBuiltWithNccl = false;
#endif

// `make DEBUG=1`: every op on the GPU is waited for and checked before the next one starts.
#ifdef RELORA_DEBUG
constexpr bool kDebugBuild = true;
#else
constexpr bool kDebugBuild = false;
#endif
