// Streams as queues of host functions, and events as marks in them. In immediate mode a queue never holds more than the
// work just submitted. In deferred mode work waits until something that CUDA guarantees to wait for it comes along, so
// that whoever relies on luck reads stale data.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "dev/cuda_on_cpu/runtime/capture.h"

namespace executor {

// The first `position` pieces of work that were submitted to a stream.
struct Mark {
    CUstream_st* stream = nullptr;
    uint64_t position = 0;
};

}  // namespace executor

struct CUstream_st {
    struct Operation {
        std::function<void()> work;
        std::vector<executor::Mark> after;
    };
    bool blocking = true;  // waits for the legacy stream, and is waited for by it
    bool destroyed = false;
    unsigned flags = 0;
    int priority = 0;
    std::deque<Operation> queue;
    std::vector<executor::Mark> waits;  // what the next operation waits for
    uint64_t submitted = 0;
    std::atomic<uint64_t> done = 0;
    std::recursive_mutex draining;  // held by the host thread that runs the queue
    executor::Recording recording;  // where submissions go during a capture
};

namespace executor {

// The result of one cudaEventRecord; the event may be recorded again or destroyed while somebody waits for this.
struct EventRecord {
    Mark mark;
    std::atomic<bool> done = false;
    std::chrono::steady_clock::time_point time;
    Recording recording;  // its place in a capture, if it was recorded in one
};

}  // namespace executor

struct CUevent_st {
    std::shared_ptr<executor::EventRecord> record;
    unsigned flags = 0;
};

namespace executor {

// Guards the queues, captures and lists of streams; never held while work runs.
std::recursive_mutex& stream_mutex();

// The stream behind a handle, the legacy default stream included; a handle that is none ends the program.
CUstream_st* resolve(cudaStream_t stream, const char* call);
CUstream_st* legacy_stream();
// All streams ever created, the legacy stream first: a destroyed one may still have work.
std::vector<CUstream_st*>& streams();

// Puts work on the stream, or into the graph that it is captured into. Work that needs device memory opens it itself.
cudaError_t submit_work(CUstream_st* stream, std::function<void()> work);
// Runs what the mark covers, and what that waits for.
void run_until(const Mark& mark);
void run_stream(CUstream_st* stream);
void run_everything();
// Runs one piece of work, for callers that poll; false if the mark was reached already.
bool advance(const Mark& mark);

}  // namespace executor
