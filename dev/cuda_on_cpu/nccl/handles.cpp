#include "dev/cuda_on_cpu/nccl/handles.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "dev/cuda_on_cpu/executor/report.h"

namespace nccl {

namespace {

// The handles that were ever made; the set outlives static objects, which destroy what they own.
struct Handles {
    std::mutex mutex;
    std::vector<ncclComm_t> all;
};
Handles& handles() {
    static auto& handles = *new Handles;
    return handles;
}

__attribute__((destructor)) void report_live_communicators() {
    const auto count =
        std::count_if(handles().all.begin(), handles().all.end(), [](ncclComm_t h) { return !h->ended; });
    if (count > 0) executor::leaked(std::to_string(count) + " communicators were neither destroyed nor aborted");
}

}  // namespace

ncclComm_t new_handle(std::shared_ptr<Communicator> communicator) {
    std::lock_guard lock(handles().mutex);
    return handles().all.emplace_back(new ncclComm{std::move(communicator)});
}

namespace {

ncclComm_t find(ncclComm_t handle, const char* function) {
    const auto& all = handles().all;
    if (std::find(all.begin(), all.end(), handle) == all.end())
        executor::die(std::string(function) + " of what is not a communicator");
    if (handle->ended) executor::die(std::string(function) + " of a communicator after " + handle->ended);
    return handle;
}

}  // namespace

std::shared_ptr<Communicator> open(ncclComm_t handle, const char* function) {
    std::lock_guard lock(handles().mutex);
    return find(handle, function)->communicator;
}
std::shared_ptr<Communicator> end(ncclComm_t handle, const char* function) {
    std::lock_guard lock(handles().mutex);
    find(handle, function)->ended = function;
    return handle->communicator;
}
std::vector<std::shared_ptr<Communicator>> live_communicators() {
    std::lock_guard lock(handles().mutex);
    std::vector<std::shared_ptr<Communicator>> live;
    for (ncclComm_t handle : handles().all)
        if (!handle->ended) live.push_back(handle->communicator);
    return live;
}

}  // namespace nccl
