// CUDA's runtime: allocation, copies, fills. Copies check both ends against the direction they were given and against
// the bounds of the allocations.
#include <cstring>
#include <memory>
#include <string>

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/capture.h"
#include "dev/cuda_on_cpu/runtime/errors.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"
#include "dev/cuda_on_cpu/runtime/streams.h"

using namespace executor;

namespace {

struct CopyArguments {
    void* to;
    const void* from;
    size_t bytes;
    cudaMemcpyKind kind;
    const char* call;
};

bool is_device(const void* p) { return kind_of(p) == Memory::device; }

void check(const CopyArguments& copy) {
    const bool guess = copy.kind == cudaMemcpyDefault;
    const bool to_device =
        guess ? is_device(copy.to) : copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice;
    const bool from_device =
        guess ? is_device(copy.from) : copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice;
    const auto fault = [&](const void* p, bool device) {
        return device ? device_range_fault(p, copy.bytes) : host_range_fault(p, copy.bytes);
    };
    if (const std::string text = fault(copy.to, to_device); !text.empty())
        die(std::string(copy.call) + ": the destination " + text);
    if (const std::string text = fault(copy.from, from_device); !text.empty())
        die(std::string(copy.call) + ": the source " + text);
    const char *to = static_cast<char*>(copy.to), *from = static_cast<const char*>(copy.from);
    if (to < from + copy.bytes && from < to + copy.bytes) die(std::string(copy.call) + ": the ranges overlap");
}

// Puts a copy on a stream. Pageable memory is read now, as CUDA does into a buffer of its own; except in a
// capture, where nothing is read until the graph runs.
cudaError_t submit_copy(const CopyArguments& copy, CUstream_st* stream) {
    const bool staged = kind_of(copy.from) == Memory::pageable && !stream->recording.capture;
    if (!staged) return enqueue(stream, [copy] { memcpy(copy.to, copy.from, copy.bytes); });
    const std::shared_ptr<char[]> buffer(new char[copy.bytes]);
    memcpy(buffer.get(), copy.from, copy.bytes);
    return enqueue(stream, [copy, buffer] { memcpy(copy.to, buffer.get(), copy.bytes); });
}

cudaError_t allocated(void** pointer, void* memory) {
    *pointer = memory;
    return memory ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}

cudaError_t fill(void* to, int value, size_t bytes, cudaStream_t stream, const char* call) {
    if (bytes == 0) return cudaSuccess;
    if (const std::string fault = device_range_fault(to, bytes); !fault.empty())
        die(std::string(call) + ": the destination " + fault);
    return remember(enqueue(stream, [=] { memset(to, value, bytes); }));
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
    if (const cudaError_t error = forbidden_in_capture("cudaMalloc"); error != cudaSuccess) return remember(error);
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    return allocated(pointer, allocate_device(bytes));
}
// cudaFree waits for all work, which may still use the memory.
cudaError_t cudaFree(void* pointer) {
    if (const cudaError_t error = forbidden_in_capture("cudaFree"); error != cudaSuccess) return remember(error);
    run_everything();
    free_device(pointer);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
    if (const cudaError_t error = forbidden_in_capture("cudaHostAlloc"); error != cudaSuccess) return remember(error);
    return allocated(pointer, allocate_pinned(bytes));
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault); }
cudaError_t cudaFreeHost(void* pointer) {
    if (const cudaError_t error = forbidden_in_capture("cudaFreeHost"); error != cudaSuccess) return remember(error);
    run_everything();
    free_pinned(pointer);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
    *total = device_bytes_total();
    *free_bytes = *total - device_bytes_used();
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    const Memory kind = kind_of(pointer);
    *attributes = {};
    attributes->type = kind == Memory::device   ? cudaMemoryTypeDevice
                       : kind == Memory::pinned ? cudaMemoryTypeHost
                                                : cudaMemoryTypeUnregistered;
    attributes->devicePointer = kind == Memory::pageable ? nullptr : const_cast<void*>(pointer);
    attributes->hostPointer = kind == Memory::pinned ? const_cast<void*>(pointer) : nullptr;
    return cudaSuccess;
}

// A copy into host memory, or from pinned memory, is over when cudaMemcpy returns. Pageable memory has only been read
// by then.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return cudaSuccess;
    const CopyArguments copy{to, from, bytes, kind, "cudaMemcpy"};
    check(copy);
    const cudaError_t error = submit_copy(copy, legacy_stream());
    if (error == cudaSuccess && (!is_device(to) || kind_of(from) == Memory::pinned)) run_stream(legacy_stream());
    return remember(error);
}
// cudaMemcpyAsync lets the host wait for a copy into pageable memory, too.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaMemcpyAsync");
    if (bytes == 0) return cudaSuccess;
    const CopyArguments copy{to, from, bytes, kind, "cudaMemcpyAsync"};
    check(copy);
    const cudaError_t error = submit_copy(copy, stream);
    const bool waits = kind_of(to) == Memory::pageable || (!is_device(to) && !is_device(from));
    if (error == cudaSuccess && waits && !stream->recording.capture) run_stream(stream);
    return remember(error);
}
// This stand-in's cudaMemcpy2DAsync copies between device addresses only.
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaMemcpy2DAsync");
    if (width > to_pitch || width > from_pitch) return remember(cudaErrorInvalidPitchValue);
    if (width == 0 || rows == 0) return cudaSuccess;
    if (kind != cudaMemcpyDeviceToDevice && !(kind == cudaMemcpyDefault && is_device(to) && is_device(from)))
        return remember(cudaErrorNotSupported);
    const auto row_of = [=](size_t row) {
        return CopyArguments{static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                             width, kind, "cudaMemcpy2DAsync"};
    };
    for (const size_t row : {size_t(0), rows - 1}) check(row_of(row));
    return remember(enqueue(stream, [=] {
        for (size_t row = 0; row < rows; row++) memcpy(row_of(row).to, row_of(row).from, width);
    }));
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return fill(to, value, bytes, nullptr, "cudaMemset"); }
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    return fill(to, value, bytes, stream, "cudaMemsetAsync");
}

}  // extern "C"
