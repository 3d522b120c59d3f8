// Launches: the limits of a GPU, and the spreading of a grid's blocks over OS threads.
#pragma once

#include <string>

#include "dev/cuda_on_cpu/executor/executor.h"

namespace executor {

inline constexpr size_t kStaticSharedBytes = 48 << 10;  // and of dynamic shared memory without allow_smem
inline constexpr size_t kMaxSharedBytes = 227 << 10;    // of both together, on compute capability 9.0

// Why CUDA would refuse the launch; empty if it would not.
std::string launch_fault(const Launch& launch);
void run_grid(const Launch& launch, const std::function<void()>& thread);
// The dynamic shared memory that allow_smem gave the kernel.
size_t dynamic_shared_limit(const void* kernel);
void set_dynamic_shared_limit(const void* kernel, size_t bytes);

}  // namespace executor
