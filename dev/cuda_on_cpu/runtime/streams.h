// Streams as queues of host functions, and events as marks in them. In immediate mode work runs when it is submitted,
// as far as it has not to wait for another process. In deferred mode work waits until something that CUDA guarantees to
// wait for it comes along, so that whoever relies on luck reads stale data.
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
#include "dev/cuda_on_cpu/runtime/stream_work.h"

namespace executor {

// The first `position` pieces of work that were submitted to a stream.
struct Mark {
    CUstream_st* stream = nullptr;
    uint64_t position = 0;
};

}  // namespace executor

struct CUstream_st {
    struct Operation {
        executor::Work work;
        std::vector<executor::Mark> after;
        bool begun = false;
        executor::Step step = {};  // once it has begun
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
    void happen() {
        time = std::chrono::steady_clock::now();
        done = true;
    }
};

struct CallOrder {
    std::deque<Mark> pending;  // what was submitted and is not over, oldest first
    Recording captured;        // the latest of its work that was captured
    std::string closed;        // why there may be no more
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
// The same for work of some orders, behind whatever these hold.
cudaError_t submit_work(CUstream_st* stream, Work work, const std::vector<std::shared_ptr<CallOrder>>& orders);
// Runs what the mark covers, and what that waits for; waits where such work waits for another process, without a lock.
void run_until(const Mark& mark);
// Runs the same as far as that goes without waiting; false if it isn't over.
bool try_until(const Mark& mark);
void run_stream(CUstream_st* stream);
void run_everything();
// Runs one piece of work, for callers that poll, unless the mark was reached already or the work has to wait.
enum class Advance { reached, moved, blocked };
Advance advance(const Mark& mark);

}  // namespace executor
