// NCCL, loaded at its first use, so that a binary with the CUDA half runs on one GPU where NCCL is missing.
#include <nccl.h>

#include "runtime/cuda_library.h"
#include "runtime/error.h"

namespace {

const CudaLibrary& library() {
    static const CudaLibrary library = [] {
        constexpr int kCudaMajor = CUDART_VERSION / 1000;
        CudaLibrary opened = open_cuda_library({str("libnccl.so.", NCCL_MAJOR), "nccl", kCudaMajor});
        if (!opened.handle)
            opened.problem += str("; pip install nvidia-nccl-cu", kCudaMajor, ", or install the package libnccl",
                                  NCCL_MAJOR, " of NVIDIA's or the distribution's archive");
        return opened;
    }();
    return library;
}

}  // namespace

#define FORWARD(name, parameters, arguments)                                 \
    ncclResult_t name parameters {                                           \
        static const auto function = library().find<decltype(&name)>(#name); \
        return function ? function arguments : ncclSystemError;              \
    }

extern "C" {

const char* ncclGetErrorString(ncclResult_t result) {
    if (!library().handle) return library().problem.c_str();
    static const auto function = library().find<decltype(&ncclGetErrorString)>("ncclGetErrorString");
    return function ? function(result) : "a library without ncclGetErrorString";
}
const char* ncclGetLastError(ncclComm_t comm) {
    if (!library().handle) return library().problem.c_str();
    static const auto function = library().find<decltype(&ncclGetLastError)>("ncclGetLastError");
    return function ? function(comm) : "a library without ncclGetLastError";
}
FORWARD(ncclGetVersion, (int* version), (version))
FORWARD(ncclGetUniqueId, (ncclUniqueId * id), (id))
FORWARD(ncclCommInitRank, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank), (comm, ranks, id, rank))
FORWARD(ncclCommInitRankConfig, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config),
        (comm, ranks, id, rank, config))
FORWARD(ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* error), (comm, error))
FORWARD(ncclCommFinalize, (ncclComm_t comm), (comm))
FORWARD(ncclCommDestroy, (ncclComm_t comm), (comm))
FORWARD(ncclCommAbort, (ncclComm_t comm), (comm))
FORWARD(ncclCommCount, (ncclComm_t comm, int* count), (comm, count))
FORWARD(ncclCommUserRank, (ncclComm_t comm, int* rank), (comm, rank))
FORWARD(ncclGroupStart, (), ())
FORWARD(ncclGroupEnd, (), ())
FORWARD(ncclSend, (const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream),
        (from, count, type, peer, comm, stream))
FORWARD(ncclRecv, (void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream),
        (to, count, type, peer, comm, stream))
FORWARD(ncclAllGather,
        (const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream),
        (from, to, count, type, comm, stream))
FORWARD(ncclAllReduce,
        (const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
         cudaStream_t stream),
        (from, to, count, type, op, comm, stream))
FORWARD(ncclReduceScatter,
        (const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
         cudaStream_t stream),
        (from, to, count, type, op, comm, stream))
FORWARD(ncclBroadcast,
        (const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream),
        (from, to, count, type, root, comm, stream))

}  // extern "C"
