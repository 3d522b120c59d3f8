// CUDA's runtime: streams and events.
#include <string>

#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/capture.h"
#include "dev/cuda_on_cpu/runtime/errors.h"
#include "dev/cuda_on_cpu/runtime/streams.h"

using namespace executor;

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// The mark an event stands for: nothing if it was never recorded.
Mark mark_of(cudaEvent_t event) { return event->record ? event->record->mark : Mark{}; }

cudaError_t forbidden_for_event(const char* call, cudaEvent_t event) {
    if (event->record && event->record->recording.capture) {
        complain(std::string(call) + " of an event that was recorded in a capture");
        event->record->recording.capture->invalid = true;
        return cudaErrorCapturedEvent;
    }
    return forbidden_in_capture(call);
}

// A poll of deferred work says no, but lets one piece of it run: a host that polls in a loop must get there.
cudaError_t poll(const Mark& mark) {
    return advance(mark) == Advance::reached ? cudaSuccess : remember(cudaErrorNotReady);
}

}  // namespace

extern "C" {

// ---- streams -----------------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
    Lock lock(stream_mutex());
    auto* const stream = new CUstream_st;
    stream->blocking = !(flags & cudaStreamNonBlocking);
    stream->flags = flags;
    stream->priority = priority;
    streams().push_back(stream);
    *handle = stream;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
    return cudaStreamCreateWithPriority(handle, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* handle) { return cudaStreamCreateWithFlags(handle, cudaStreamDefault); }
// The work of a destroyed stream still runs, so the stream stays in the list.
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
    if (handle == nullptr) return remember(cudaErrorInvalidResourceHandle);
    resolve(handle, "cudaStreamDestroy")->destroyed = true;
    return cudaSuccess;
}
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
    *flags = resolve(handle, "cudaStreamGetFlags")->flags;
    return cudaSuccess;
}
cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
    *priority = resolve(handle, "cudaStreamGetPriority")->priority;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaStreamSynchronize");
    if (const cudaError_t error = forbidden_in_capture("cudaStreamSynchronize", stream); error != cudaSuccess)
        return remember(error);
    // To wait for the default stream is to wait for whatever its next operation would wait for.
    if (stream == legacy_stream() && submit_work(stream, [] {}) != cudaSuccess) return cudaPeekAtLastError();
    run_stream(stream);
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaStreamQuery");
    if (const cudaError_t error = forbidden_in_capture("cudaStreamQuery", stream); error != cudaSuccess)
        return remember(error);
    return poll({stream, stream->submitted});
}
cudaError_t cudaDeviceSynchronize() {
    if (const cudaError_t error = forbidden_in_capture("cudaDeviceSynchronize"); error != cudaSuccess)
        return remember(error);
    run_everything();
    return cudaSuccess;
}
// A host function may not touch device memory.
cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* argument) {
    return remember(submit_work(resolve(handle, "cudaLaunchHostFunc"), [=] { function(argument); }));
}

// ---- events ------------------------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    *event = new CUevent_st{nullptr, flags};
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaEventRecord");
    const auto record = std::make_shared<EventRecord>();
    {
        Lock lock(stream_mutex());
        event->record = record;
        record->recording = stream->recording;
        if (stream->recording.capture) return cudaSuccess;
        record->mark = {stream, stream->submitted + 1};
    }
    return remember(submit_work(stream, [record] { record->happen(); }));
}
// An external event in a capture is no place in it, but is recorded by each launch of the graph.
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned flags) {
    CUstream_st* const stream = resolve(handle, "cudaEventRecordWithFlags");
    {
        Lock lock(stream_mutex());
        if (flags & cudaEventRecordExternal && stream->recording.capture)
            return remember(record_event_node(stream, event));
    }
    return cudaEventRecord(event, handle);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
    CUstream_st* const stream = resolve(handle, "cudaStreamWaitEvent");
    Lock lock(stream_mutex());
    if (!event->record) return cudaSuccess;  // never recorded: nothing to wait for, as in CUDA
    if (event->record->recording.capture || stream->recording.capture)
        return remember(wait_in_capture(stream, event->record->recording));
    stream->waits.push_back(event->record->mark);
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (const cudaError_t error = forbidden_for_event("cudaEventSynchronize", event); error != cudaSuccess)
        return remember(error);
    run_until(mark_of(event));
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (const cudaError_t error = forbidden_for_event("cudaEventQuery", event); error != cudaSuccess)
        return remember(error);
    return poll(mark_of(event));
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
    if (!start->record || !end->record) return remember(cudaErrorInvalidResourceHandle);
    if (!start->record->done || !end->record->done) return remember(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(end->record->time - start->record->time).count();
    return cudaSuccess;
}

}  // extern "C"
