// A communicator: one rank's end of the shared memory, and the order of its calls.
#pragma once

#include <nccl.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dev/cuda_on_cpu/nccl/call.h"
#include "dev/cuda_on_cpu/nccl/shared.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"

namespace nccl {

// Keeps the text of an error for ncclGetLastError, says it where it is the caller's mistake, and returns the code.
ncclResult_t failed(ncclResult_t code, const std::string& text);
ncclResult_t refuse(ncclResult_t code, const std::string& text);
const char* last_error();

struct Communicator : std::enable_shared_from_this<Communicator> {
    const int ranks, rank, device;
    const std::string name;  // of the shared memory; the same on all ranks
    const bool blocking;

    Communicator(int ranks, int rank, int device, std::string name, bool blocking)
        : ranks(ranks), rank(rank), device(device), name(std::move(name)), blocking(blocking) {}

    // Joins the others and waits until all have come, or until abort(). The process that made the unique id lets ranks
    // find each other, so it has to live until then.
    ncclResult_t connect(const Process& maker);
    // Why no call can be made now; ncclSuccess if one can.
    ncclResult_t ready(const char* function);
    // Puts the calls of one group on the stream, as one piece of work. If the communicator doesn't block, this happens
    // only when the caller asks for asynchronous errors, as NCCL has a thread do it some time.
    ncclResult_t submit(std::vector<Call> calls, cudaStream_t stream);
    // What ncclCommGetAsyncError says.
    ncclResult_t state();
    ncclResult_t finalize();
    void destroy();
    // Lets all work end at once, whatever it waits for. Any host thread may call it.
    void abort();

    // For work that runs: null after the end. The lock keeps the memory there, and is never held while anybody waits.
    std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }
    Shared* shared() { return shared_.get(); }
    const std::shared_ptr<executor::CallOrder> order = executor::make_call_order();
    // Runs the oldest work if a peer has waited for it as long as `patience`.
    void serve(std::chrono::milliseconds patience);
    uint64_t finished = 0;  // pieces of work that are over
    bool aborted() const { return aborted_; }

  private:
    enum class Phase { connecting, ready, finalizing, finalized, broken };
    ncclResult_t enqueue(std::vector<Call> calls, cudaStream_t stream);
    ncclResult_t submit_postponed();
    void release(Shared::State how, const char* reason);

    std::mutex mutex_;
    std::unique_ptr<Shared> shared_;
    std::atomic<bool> aborted_ = false;
    std::atomic<Phase> phase_ = Phase::connecting;
    ncclResult_t error_ = ncclSuccess;  // once broken
    std::string error_text_;
    std::chrono::steady_clock::time_point looked_;
    struct Postponed {
        std::vector<Call> calls;
        cudaStream_t stream;
        bool asked = false;
    };
    std::mutex postponing_;
    std::unique_ptr<Postponed> postponed_;
    uint64_t calls_ = 0;
    uint64_t seen_finished_ = 0;
    std::chrono::steady_clock::time_point demanded_since_;
};

}  // namespace nccl
