#include "dev/cuda_on_cpu/runtime/streams.h"

#include <algorithm>
#include <random>
#include <utility>

#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

std::recursive_mutex& stream_mutex() {
    static auto* const mutex = new std::recursive_mutex;
    return *mutex;
}

// Never destroyed, as work may be submitted by destructors of static objects.
std::vector<CUstream_st*>& streams() {
    static auto* const streams = new std::vector<CUstream_st*>{new CUstream_st};
    return *streams;
}
CUstream_st* legacy_stream() { return streams().front(); }

CUstream_st* resolve(cudaStream_t stream, const char* call) {
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    if (stream == nullptr || stream == cudaStreamLegacy) return legacy_stream();
    if (stream == cudaStreamPerThread) die(std::string(call) + ": the per-thread default stream does not exist here");
    const auto found = std::find(streams().begin(), streams().end(), stream);
    if (found == streams().end()) die(std::string(call) + " of what is not a stream");
    if (stream->destroyed) die(std::string(call) + " of a stream that has been destroyed");
    return stream;
}

namespace {

std::mt19937& draw() {
    static std::mt19937 generator(options().seed);
    return generator;
}

bool idle(const CUstream_st* stream) { return stream->done == stream->submitted; }
Mark tail(CUstream_st* stream) { return {stream, stream->submitted}; }

std::vector<CUstream_st*> busy_streams() {
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    std::vector<CUstream_st*> busy;
    for (CUstream_st* stream : streams())
        if (!idle(stream)) busy.push_back(stream);
    return busy;
}

// The legacy stream waits for all blocking streams, and they wait for it.
void wait_for_legacy_rules(CUstream_st* stream) {
    if (stream == legacy_stream()) {
        for (CUstream_st* other : streams())
            if (other != stream && other->blocking && !idle(other)) stream->waits.push_back(tail(other));
    } else if (stream->blocking && !idle(legacy_stream())) {
        stream->waits.push_back(tail(legacy_stream()));
    }
}

void run_some_of_anything() {
    const std::vector<CUstream_st*> busy = busy_streams();
    if (busy.empty()) return;
    CUstream_st* const stream = busy[draw()() % busy.size()];
    run_until({stream, stream->done + 1});
}

}  // namespace

cudaError_t submit_work(CUstream_st* stream, std::function<void()> work) {
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        if (stream->recording.capture) return record_node(stream, std::move(work));
        if (const cudaError_t error = outside_capture(stream); error != cudaSuccess) return error;
        wait_for_legacy_rules(stream);
        stream->queue.push_back({std::move(work), std::exchange(stream->waits, {})});
        stream->submitted++;
    }
    if (!options().deferred)
        run_stream(stream);
    else if (options().order == Options::Order::random && draw()() % 2)
        run_some_of_anything();
    return cudaSuccess;
}

bool advance(const Mark& mark) {
    if (!mark.stream || mark.stream->done >= mark.position) return false;
    CUstream_st& stream = *mark.stream;
    std::lock_guard<std::recursive_mutex> drain(stream.draining);
    if (stream.done >= mark.position) return false;  // another host thread has been here
    CUstream_st::Operation operation;
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        operation = std::move(stream.queue.front());
        stream.queue.pop_front();
    }
    for (const Mark& dependency : operation.after) run_until(dependency);
    operation.work();
    stream.done++;
    return true;
}

void run_until(const Mark& mark) {
    while (advance(mark)) {
    }
}

void run_stream(CUstream_st* stream) { run_until(tail(stream)); }

void run_everything() {
    for (std::vector<CUstream_st*> busy; !(busy = busy_streams()).empty();) {
        if (options().order == Options::Order::random)
            run_some_of_anything();
        else
            run_stream(options().order == Options::Order::reverse ? busy.back() : busy.front());
    }
}

}  // namespace executor
