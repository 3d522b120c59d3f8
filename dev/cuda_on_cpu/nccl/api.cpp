// A stand-in for the part of NCCL that the program uses, for processes that execute the CUDA half on the CPU. It is
// stricter than the library, which hangs or corrupts memory where ranks do not agree:
//   - each message carries the call that sent it, and one that does not match the receiver's ends the program;
//   - a send is over only when the other side has received it, however small it is;
//   - operands must lie in device memory, are read when the work runs, and what is received is NaN before;
//   - sums have another order of the ranks from place to place;
//   - a communicator that doesn't block puts a call on its stream only when it is asked for asynchronous errors;
//   - a handle that was destroyed or aborted ends the program, and one that never is gets reported at exit.
#include <nccl.h>
#include <sys/random.h>

#include <cstring>
#include <string>
#include <thread>

#include "dev/cuda_on_cpu/nccl/group.h"
#include "dev/cuda_on_cpu/nccl/handles.h"
#include "dev/cuda_on_cpu/nccl/progress.h"
#include "dev/cuda_on_cpu/nccl/sum.h"

using namespace nccl;

namespace {

// What a unique id holds.
struct Id {
    static constexpr char kMark[16] = "CUDA on CPU id.";
    char mark[16];
    uint64_t random[2];
    Process maker;

    std::string name() const {
        char text[64];
        snprintf(text, sizeof text, "%s%016lx%016lx", kNamePrefix, (unsigned long)random[0], (unsigned long)random[1]);
        return text;
    }
};
static_assert(sizeof(Id) <= sizeof(ncclUniqueId));

ncclResult_t init(ncclComm_t* comm, int ranks, const ncclUniqueId& unique_id, int rank, bool blocking) {
    if (!comm) return refuse(ncclInvalidArgument, "ncclCommInitRank without a place for the communicator");
    *comm = nullptr;
    if (ranks < 1 || rank < 0 || rank >= ranks)
        return refuse(ncclInvalidArgument,
                      "ncclCommInitRank: rank " + std::to_string(rank) + " of " + std::to_string(ranks));
    if (ranks > kMostRanks)
        return refuse(ncclInvalidArgument, "the stand-in has no more than " + std::to_string(kMostRanks) + " ranks");
    Id id;
    memcpy(static_cast<void*>(&id), &unique_id, sizeof id);
    if (memcmp(id.mark, Id::kMark, sizeof id.mark) != 0)
        return refuse(ncclInvalidArgument, "ncclCommInitRank: the unique id is not from ncclGetUniqueId");
    int device = 0;
    cudaGetDevice(&device);
    const auto communicator = std::make_shared<Communicator>(ranks, rank, device, id.name(), blocking);
    if (!blocking) {
        *comm = new_handle(communicator);
        serve_other_ranks();
        std::thread([communicator, maker = id.maker] { communicator->connect(maker); }).detach();
        return ncclInProgress;
    }
    if (const ncclResult_t result = communicator->connect(id.maker); result != ncclSuccess) return result;
    *comm = new_handle(communicator);
    serve_other_ranks();
    return ncclSuccess;
}

ncclResult_t reduction(const Call& call, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    if (op == ncclSum && (can_sum(call.type) || type_bytes(call.type) == 0)) return add_to_group(call, comm, stream);
    return refuse(ncclInvalidArgument,
                  call.text() + ": the stand-in knows sums of int32, int64, float32, float64 and bfloat16");
}

}  // namespace

extern "C" {

// ---- errors ------------------------------------------------------------------------------------------------------

ncclResult_t ncclGetVersion(int* version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
    switch (result) {
        case ncclSuccess: return "no error";
        case ncclUnhandledCudaError: return "a call of CUDA failed";
        case ncclSystemError: return "a call of the system failed";
        case ncclInternalError: return "internal error";
        case ncclInvalidArgument: return "invalid argument";
        case ncclInvalidUsage: return "invalid usage";
        case ncclRemoteError: return "another process has ended or failed";
        case ncclInProgress: return "operation in progress";
        default: return "unknown result code";
    }
}
const char* ncclGetLastError(ncclComm_t) { return last_error(); }
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
    *error = open(comm, "ncclCommGetAsyncError")->state();
    return ncclSuccess;
}

// ---- communicators -----------------------------------------------------------------------------------------------

ncclResult_t ncclGetUniqueId(ncclUniqueId* unique_id) {
    remove_leftovers();
    Id id{};
    memcpy(id.mark, Id::kMark, sizeof id.mark);
    id.maker = Process::mine();
    if (getrandom(id.random, sizeof id.random, 0) != ssize_t(sizeof id.random))
        return refuse(ncclSystemError, "no random numbers for a unique id");
    *unique_id = {};
    memcpy(unique_id, &id, sizeof id);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
    return init(comm, ranks, id, rank, true);
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
    constexpr ncclConfig_t kInitial = NCCL_CONFIG_INITIALIZER;
    if (!config) return init(comm, ranks, id, rank, true);
    if (config->size != kInitial.size || config->magic != kInitial.magic)
        return refuse(ncclInvalidArgument,
                      "ncclCommInitRankConfig: the configuration does not begin as NCCL_CONFIG_INITIALIZER");
    if (config->blocking != NCCL_CONFIG_UNDEF_INT && config->blocking != 0 && config->blocking != 1)
        return refuse(ncclInvalidArgument, "ncclCommInitRankConfig: blocking is " + std::to_string(config->blocking));
    return init(comm, ranks, id, rank, config->blocking != 0);
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) { return open(comm, "ncclCommFinalize")->finalize(); }
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm) return ncclSuccess;
    const std::shared_ptr<Communicator> communicator = open(comm, "ncclCommDestroy");
    communicator->destroy();
    if (!communicator->aborted()) end(comm, "ncclCommDestroy");
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    if (!comm) return ncclSuccess;
    end(comm, "ncclCommAbort")->abort();
    return ncclSuccess;
}
ncclResult_t ncclCommCount(ncclComm_t comm, int* count) {
    *count = open(comm, "ncclCommCount")->ranks;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(ncclComm_t comm, int* rank) {
    *rank = open(comm, "ncclCommUserRank")->rank;
    return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(ncclComm_t comm, int* device) {
    *device = open(comm, "ncclCommCuDevice")->device;
    return ncclSuccess;
}

// ---- communication -----------------------------------------------------------------------------------------------

ncclResult_t ncclGroupStart() {
    begin_group();
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() { return end_group(); }

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add_to_group({.kind = Call::Kind::send, .from = from, .count = count, .type = type, .peer = peer}, comm,
                        stream);
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    return add_to_group({.kind = Call::Kind::receive, .to = to, .count = count, .type = type, .peer = peer}, comm,
                        stream);
}
ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    return add_to_group({.kind = Call::Kind::all_gather, .from = from, .to = to, .count = count, .type = type}, comm,
                        stream);
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
    return reduction({.kind = Call::Kind::all_reduce, .from = from, .to = to, .count = count, .type = type}, op, comm,
                     stream);
}
ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    return reduction({.kind = Call::Kind::reduce_scatter, .from = from, .to = to, .count = count, .type = type}, op,
                     comm, stream);
}
// Only the root's `from` is read.
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
    const bool reads = open(comm, "ncclBroadcast")->rank == root;
    return add_to_group({.kind = Call::Kind::broadcast,
                         .from = reads ? from : nullptr,
                         .to = to,
                         .count = count,
                         .type = type,
                         .peer = root},
                        comm, stream);
}

}  // extern "C"
