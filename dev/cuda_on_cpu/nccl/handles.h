// What callers hold of communicators.
#pragma once

#include <nccl.h>

#include <memory>
#include <vector>

#include "dev/cuda_on_cpu/nccl/communicator.h"

// It is kept, so that no later one has its address, and so is the communicator, which several threads use.
struct ncclComm {
    std::shared_ptr<nccl::Communicator> communicator;
    const char* ended = nullptr;  // the function that ended it
};

namespace nccl {

ncclComm_t new_handle(std::shared_ptr<Communicator> communicator);
// The communicator behind a handle. What is none, or is no more, ends the program.
std::shared_ptr<Communicator> open(ncclComm_t handle, const char* function);
// The same, and the handle is good for nothing from now on.
std::shared_ptr<Communicator> end(ncclComm_t handle, const char* function);
std::vector<std::shared_ptr<Communicator>> live_communicators();

}  // namespace nccl
