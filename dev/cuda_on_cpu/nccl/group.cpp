#include "dev/cuda_on_cpu/nccl/group.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "dev/cuda_on_cpu/nccl/handles.h"
#include "dev/cuda_on_cpu/nccl/sum.h"

namespace nccl {

namespace {

// The calls of a group that one communicator makes.
struct Part {
    std::shared_ptr<Communicator> communicator;
    cudaStream_t stream;
    std::vector<Call> calls;
};
struct Group {
    int depth = 0;
    ncclResult_t error = ncclSuccess;
    std::vector<Part> parts;
};
thread_local Group group;

ncclResult_t check(const Call& call, Communicator& communicator) {
    const std::string name = function_of(call.kind);
    if (const ncclResult_t result = communicator.ready(name.c_str()); result != ncclSuccess) return result;
    if (type_bytes(call.type) == 0)
        return refuse(ncclInvalidArgument, name + ": " + std::to_string(call.type) + " is no type");
    const bool names_a_rank = !call.is_collective() || call.kind == Call::Kind::broadcast;
    if (names_a_rank && (call.peer < 0 || call.peer >= communicator.ranks))
        return refuse(ncclInvalidArgument, name + ": there is no rank " + std::to_string(call.peer) + ", but " +
                                               std::to_string(communicator.ranks) + " ranks");
    if (const std::string fault = memory_fault(call, communicator.ranks, communicator.rank); !fault.empty())
        executor::die(fault);
    return ncclSuccess;
}

ncclResult_t add(Call call, ncclComm_t handle, cudaStream_t stream) {
    const std::shared_ptr<Communicator> communicator = open(handle, function_of(call.kind));
    if (const ncclResult_t result = check(call, *communicator); result != ncclSuccess) return result;
    if (call.is_collective() && call.count == 0) return ncclSuccess;  // NCCL leaves it out
    call.made = executor::CallStack::here();
    auto part = std::find_if(group.parts.begin(), group.parts.end(),
                             [&](const Part& p) { return p.communicator == communicator; });
    if (part == group.parts.end()) part = group.parts.insert(part, {communicator, stream, {}});
    if (part->stream != stream)
        return refuse(ncclInvalidUsage,
                      "a group with two streams for one communicator, which the stand-in does not know");
    part->calls.push_back(call);
    return ncclSuccess;
}

// Several communicators get their work in the same order on all ranks.
ncclResult_t submit(std::vector<Part> parts) {
    std::sort(parts.begin(), parts.end(),
              [](const Part& a, const Part& b) { return a.communicator->name < b.communicator->name; });
    ncclResult_t result = ncclSuccess;
    for (Part& part : parts)
        if (const ncclResult_t one = part.communicator->submit(std::move(part.calls), part.stream); one != ncclSuccess)
            result = one;
    return result;
}

}  // namespace

void begin_group() { group.depth++; }

ncclResult_t end_group() {
    if (group.depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--group.depth > 0) return ncclSuccess;
    const ncclResult_t error = std::exchange(group.error, ncclSuccess);
    std::vector<Part> parts = std::exchange(group.parts, {});
    return error == ncclSuccess ? submit(std::move(parts)) : error;
}

ncclResult_t add_to_group(const Call& call, ncclComm_t handle, cudaStream_t stream) {
    begin_group();
    const ncclResult_t result = add(call, handle, stream);
    if (result != ncclSuccess) group.error = result;
    const ncclResult_t end = end_group();
    return result != ncclSuccess ? result : end;
}

}  // namespace nccl
