// CUDA's runtime: the device, which poses as an H100 by default, functions' attributes, and errors. Where there are
// several devices, they differ in compute capability alone: all have the same memory and run the same work.
#include <algorithm>
#include <cstring>

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/executor/grid.h"
#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/runtime/errors.h"

using namespace executor;

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

bool is_device(int device) { return device >= 0 && size_t(device) < options().devices.size(); }

constexpr int kMultiprocessors = 132, kThreadsPerMultiprocessor = 2048, kRegisters = 65536;
constexpr int kSharedBytesPerMultiprocessor = 228 << 10;

struct ErrorText {
    cudaError_t error;
    const char *name, *text;
};
#define EXECUTOR_ERROR_TEXT(error, text) \
    { error, #error, text }
constexpr ErrorText kErrorTexts[] = {
    EXECUTOR_ERROR_TEXT(cudaSuccess, "no error"),
    EXECUTOR_ERROR_TEXT(cudaErrorInvalidValue, "invalid argument"),
    EXECUTOR_ERROR_TEXT(cudaErrorMemoryAllocation, "out of memory"),
    EXECUTOR_ERROR_TEXT(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    EXECUTOR_ERROR_TEXT(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    EXECUTOR_ERROR_TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
    EXECUTOR_ERROR_TEXT(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    EXECUTOR_ERROR_TEXT(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    EXECUTOR_ERROR_TEXT(cudaErrorNotReady, "device not ready"),
    EXECUTOR_ERROR_TEXT(cudaErrorNotSupported, "operation not supported"),
    EXECUTOR_ERROR_TEXT(cudaErrorLaunchFailure, "unspecified launch failure"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    EXECUTOR_ERROR_TEXT(cudaErrorStreamCaptureImplicit,
                        "operation would make the legacy stream depend on a capturing blocking stream"),
    EXECUTOR_ERROR_TEXT(cudaErrorCapturedEvent,
                        "operation not permitted on an event last recorded in a capturing stream"),
    EXECUTOR_ERROR_TEXT(cudaErrorGraphExecUpdateFailure, "the graph update was not performed"),
};
#undef EXECUTOR_ERROR_TEXT

const ErrorText* find(cudaError_t error) {
    const auto* const found = std::find_if(std::begin(kErrorTexts), std::end(kErrorTexts),
                                           [&](const ErrorText& known) { return known.error == error; });
    return found == std::end(kErrorTexts) ? nullptr : found;
}

}  // namespace

namespace executor {

cudaError_t remember(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

}  // namespace executor

extern "C" {

// ---- the device --------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
    *count = int(options().devices.size());
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    if (!is_device(device)) return remember(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}
// A toolkit's header that renames this to cudaGetDeviceProperties_v2, as CUDA 12's does, renames this definition too.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (!is_device(device)) return remember(cudaErrorInvalidDevice);
    *properties = {};
    strcpy(properties->name, "CUDA on CPU");
    properties->major = options().devices[size_t(device)].major;
    properties->minor = options().devices[size_t(device)].minor;
    properties->multiProcessorCount = kMultiprocessors;
    properties->totalGlobalMem = device_bytes_total();
    properties->sharedMemPerBlock = kStaticSharedBytes;
    properties->sharedMemPerBlockOptin = kMaxSharedBytes;
    properties->sharedMemPerMultiprocessor = kSharedBytesPerMultiprocessor;
    properties->regsPerBlock = properties->regsPerMultiprocessor = kRegisters;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
    properties->maxBlocksPerMultiProcessor = 32;
    properties->l2CacheSize = 50 << 20;
    properties->memoryBusWidth = 5120;
    properties->concurrentKernels = 1;
    properties->asyncEngineCount = 3;
    properties->unifiedAddressing = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (!is_device(device)) return remember(cudaErrorInvalidDevice);
    const Options::Capability& capability = options().devices[size_t(device)];
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: *value = capability.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = capability.minor; break;
        case cudaDevAttrMultiProcessorCount: *value = kMultiprocessors; break;
        case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = kThreadsPerMultiprocessor; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = int(kStaticSharedBytes); break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = int(kMaxSharedBytes); break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = kSharedBytesPerMultiprocessor; break;
        case cudaDevAttrWarpSize: *value = 32; break;
        case cudaDevAttrL2CacheSize: *value = 50 << 20; break;
        case cudaDevAttrClockRate: *value = 1980000; break;        // kHz
        case cudaDevAttrMemoryClockRate: *value = 2619000; break;  // kHz
        case cudaDevAttrGlobalMemoryBusWidth: *value = 5120; break;
        default: return remember(cudaErrorNotSupported);
    }
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

// ---- functions ---------------------------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;  // hints of the cache's division
    if (value < 0 || size_t(value) > kMaxSharedBytes) return remember(cudaErrorInvalidValue);
    set_dynamic_shared_limit(function, size_t(value));
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
    *attributes = {};
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->maxDynamicSharedSizeBytes = int(dynamic_shared_limit(function));
    attributes->binaryVersion = attributes->ptxVersion = 90;
    return cudaSuccess;
}

// ---- errors ------------------------------------------------------------------------------------------------------

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorName(cudaError_t error) {
    const ErrorText* const known = find(error);
    return known ? known->name : "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
    const ErrorText* const known = find(error);
    return known ? known->text : "unrecognized error code";
}

}  // extern "C"
