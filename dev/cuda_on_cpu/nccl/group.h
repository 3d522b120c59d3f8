// Calls between ncclGroupStart and ncclGroupEnd, which become one piece of work; a call by itself is a group of one.
#pragma once

#include <nccl.h>

#include "dev/cuda_on_cpu/nccl/call.h"

namespace nccl {

void begin_group();
ncclResult_t end_group();
// Checks a call and adds it to the group, or makes it at once outside of one.
ncclResult_t add_to_group(const Call& call, ncclComm_t handle, cudaStream_t stream);

}  // namespace nccl
