#include "dev/cuda_on_cpu/runtime/streams.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"

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

bool run_some_of_anything() {
    const std::vector<CUstream_st*> busy = busy_streams();
    if (busy.empty()) return false;
    CUstream_st* const stream = busy[draw()() % busy.size()];
    return advance({stream, stream->done + 1}) == Advance::moved;
}

// Whoever learns that work is over sees what it did, also where another host thread ran it.
bool is_over(const Mark& mark) {
    if (mark.stream->done < mark.position) return false;
    acquire(&mark.stream->done);
    return true;
}
void forget_what_is_over(CallOrder& order) {
    while (!order.pending.empty() && is_over(order.pending.front())) order.pending.pop_front();
}

// What a thread does that waits for another process: it asks often at first.
class Patience {
  public:
    void wait() { count_++ < 200 ? usleep(0) : usleep(200); }

  private:
    int count_ = 0;
};

}  // namespace

cudaError_t submit_work(CUstream_st* stream, Work work, const std::vector<std::shared_ptr<CallOrder>>& orders) {
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        if (stream->recording.capture) return record_node(stream, std::move(work), orders);
        if (const cudaError_t error = outside_capture(stream); error != cudaSuccess) return error;
        wait_for_legacy_rules(stream);
        for (const std::shared_ptr<CallOrder>& order : orders) {
            forget_what_is_over(*order);
            if (!order->pending.empty()) stream->waits.push_back(order->pending.back());
        }
        stream->queue.push_back({std::move(work), std::exchange(stream->waits, {})});
        stream->submitted++;
        for (const std::shared_ptr<CallOrder>& order : orders) order->pending.push_back(tail(stream));
    }
    if (!options().deferred)
        try_until(tail(stream));
    else if (options().order == Options::Order::random && draw()() % 2)
        run_some_of_anything();
    return cudaSuccess;
}
cudaError_t submit_work(CUstream_st* stream, std::function<void()> work) {
    const auto run = [work = std::move(work)] {
        work();
        return Step();
    };
    return submit_work(stream, run, {});
}

// No stream is held while another one is run for its sake.
Advance advance(const Mark& mark) {
    if (!mark.stream || is_over(mark)) return Advance::reached;
    CUstream_st& stream = *mark.stream;
    CUstream_st::Operation* operation;
    uint64_t position;
    std::vector<Mark> dependencies;
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        if (is_over(mark)) return Advance::reached;
        position = stream.done;
        operation = &stream.queue.front();  // it stays where it is when others join the queue
        dependencies = operation->after;
    }
    for (const Mark& dependency : dependencies)
        if (!try_until(dependency)) return Advance::blocked;
    std::lock_guard<std::recursive_mutex> drain(stream.draining);
    if (stream.done != position) return Advance::moved;  // another host thread has been here
    if (!operation->begun) {
        operation->begun = true;
        operation->step = operation->work();
    }
    if (operation->step && !operation->step()) return Advance::blocked;
    CUstream_st::Operation finished;  // destroyed without the lock
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        finished = std::move(stream.queue.front());
        stream.queue.pop_front();
        release(&stream.done);
        stream.done++;
    }
    return Advance::moved;
}

bool try_until(const Mark& mark) {
    Advance outcome;
    while ((outcome = advance(mark)) == Advance::moved) {
    }
    return outcome == Advance::reached;
}

void run_until(const Mark& mark) {
    for (Patience patience; !try_until(mark);) patience.wait();
}

void run_stream(CUstream_st* stream) { run_until(tail(stream)); }

// Where one stream has to wait for another process, the others go on.
void run_everything() {
    Patience patience;
    for (std::vector<CUstream_st*> busy; !(busy = busy_streams()).empty();) {
        if (options().order == Options::Order::random) {
            if (!run_some_of_anything()) patience.wait();
            continue;
        }
        if (options().order == Options::Order::reverse) std::reverse(busy.begin(), busy.end());
        if (std::none_of(busy.begin(), busy.end(), [](CUstream_st* stream) { return try_until(tail(stream)); }))
            patience.wait();
    }
}

// ---- orders of calls ---------------------------------------------------------------------------------------------

std::shared_ptr<CallOrder> make_call_order() { return std::make_shared<CallOrder>(); }

cudaError_t enqueue(cudaStream_t stream, const std::shared_ptr<CallOrder>& order, Work work) {
    return submit_work(resolve(stream, "work"), std::move(work), {order});
}

namespace {

Mark oldest(CallOrder& order) {
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    forget_what_is_over(order);
    return order.pending.empty() ? Mark{} : order.pending.front();
}

}  // namespace

bool push_oldest(CallOrder& order) {
    try_until(oldest(order));
    return oldest(order).stream != nullptr;
}
void finish(CallOrder& order) {
    for (Mark mark; (mark = oldest(order)).stream;) run_until(mark);
}
void close(CallOrder& order, const std::string& reason) {
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    order.closed = reason;
}

}  // namespace executor
