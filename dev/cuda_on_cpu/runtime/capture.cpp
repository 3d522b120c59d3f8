#include "dev/cuda_on_cpu/runtime/capture.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/streams.h"

namespace executor {

namespace {

std::vector<std::shared_ptr<Capture>>& active_captures() {
    static auto* const active = new std::vector<std::shared_ptr<Capture>>;
    return *active;
}

bool forbids(const Capture& capture) {
    return capture.mode == cudaStreamCaptureModeGlobal ||
           (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread == std::this_thread::get_id());
}

void add_unique(std::vector<int>& nodes, const std::vector<int>& more) {
    for (int node : more)
        if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
}

// Whether the origin has waited for all streams that joined.
bool joined_back(const Capture& capture) {
    std::vector<bool> before_the_end(capture.nodes.size(), false);
    for (int node : capture.origin->recording.nodes) before_the_end[size_t(node)] = true;
    for (size_t i = capture.nodes.size(); i-- > 0;)
        if (before_the_end[i])
            for (int node : capture.nodes[i].after) before_the_end[size_t(node)] = true;
    for (const CUstream_st* stream : capture.streams)
        for (int node : stream->recording.nodes)
            if (!before_the_end[size_t(node)]) return false;
    return true;
}

}  // namespace

void begin_capture(CUstream_st* stream, cudaStreamCaptureMode mode) {
    auto capture = std::make_shared<Capture>();
    capture->origin = stream;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->streams = {stream};
    active_captures().push_back(capture);
    stream->recording = {capture, {}};
}

cudaError_t end_capture(CUstream_st* stream, Nodes& nodes) {
    const std::shared_ptr<Capture> capture = stream->recording.capture;
    if (!capture) return cudaErrorIllegalState;
    if (capture->origin != stream) return cudaErrorStreamCaptureUnmatched;
    const bool joined = joined_back(*capture);
    for (CUstream_st* member : capture->streams) member->recording = {};
    std::erase(active_captures(), capture);
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    if (!joined) {
        complain("cudaStreamEndCapture: the captured stream does not wait for another one that joined the capture");
        return cudaErrorStreamCaptureUnjoined;
    }
    nodes = std::move(capture->nodes);
    return cudaSuccess;
}

namespace {

cudaError_t add_node(CUstream_st* stream, Node node) {
    Capture& capture = *stream->recording.capture;
    if (capture.invalid) return cudaErrorStreamCaptureInvalidated;
    node.after = std::exchange(stream->recording.nodes, {});
    for (const std::shared_ptr<CallOrder>& order : node.orders)
        if (order->captured.capture == stream->recording.capture) add_unique(node.after, order->captured.nodes);
    stream->recording.nodes = {int(capture.nodes.size())};
    for (const std::shared_ptr<CallOrder>& order : node.orders) order->captured = stream->recording;
    capture.nodes.push_back(std::move(node));
    return cudaSuccess;
}

}  // namespace

cudaError_t record_node(CUstream_st* stream, Work work, const std::vector<std::shared_ptr<CallOrder>>& orders) {
    return add_node(stream, {.work = std::move(work), .orders = orders});
}
cudaError_t record_event_node(CUstream_st* stream, cudaEvent_t event) { return add_node(stream, {.event = event}); }

cudaError_t wait_in_capture(CUstream_st* stream, const Recording& place) {
    const bool ended =
        std::find(active_captures().begin(), active_captures().end(), place.capture) == active_captures().end();
    if (!stream->recording.capture && !ended) {
        stream->recording = {place.capture, {}};
        place.capture->streams.push_back(stream);
    } else if (place.capture != stream->recording.capture) {
        if (stream->recording.capture) stream->recording.capture->invalid = true;
        complain("cudaStreamWaitEvent: a captured stream waits for an event from outside of its capture");
        return cudaErrorStreamCaptureIsolation;
    }
    add_unique(stream->recording.nodes, place.nodes);
    return cudaSuccess;
}

cudaError_t forbidden_in_capture(const char* call, CUstream_st* stream) {
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    for (const std::shared_ptr<Capture>& capture : active_captures()) {
        if (!forbids(*capture) && !(stream && stream->recording.capture == capture)) continue;
        capture->invalid = true;
        complain(std::string(call) + " while a stream is captured");
        return cudaErrorStreamCaptureUnsupported;
    }
    return cudaSuccess;
}

cudaError_t outside_capture(CUstream_st* stream) {
    for (const std::shared_ptr<Capture>& capture : active_captures()) {
        const bool implicit = stream == legacy_stream() && capture->origin->blocking;
        if (!implicit && !forbids(*capture)) continue;
        capture->invalid = true;
        complain(implicit
                     ? "work on the default stream, which would wait for a stream that is captured"
                     : "work on a stream that has not joined the capture in progress, and is missing from the graph");
        return implicit ? cudaErrorStreamCaptureImplicit : cudaErrorStreamCaptureUnsupported;
    }
    return cudaSuccess;
}

namespace {

class Replay {
  public:
    Replay(std::shared_ptr<const Nodes> nodes, std::vector<std::shared_ptr<EventRecord>> records)
        : nodes_(std::move(nodes)),
          records_(std::move(records)),
          waits_for_(nodes_->size()),
          followers_(nodes_->size()) {
        for (size_t i = 0; i < nodes_->size(); i++) {
            waits_for_[i] = (*nodes_)[i].after.size();
            for (int node : (*nodes_)[i].after) followers_[size_t(node)].push_back(i);
            if (!waits_for_[i]) ready_.push_back(i);
        }
    }
    // Goes on with nodes that have begun, then begins whatever can be begun.
    bool step() {
        for (auto& [node, step] : std::exchange(begun_, {})) go_on(node, std::move(step));
        while (!ready_.empty()) {
            const size_t node = take();
            go_on(node, begin(node));
        }
        return begun_.empty();
    }

  private:
    void go_on(size_t node, Step step) {
        if (step && !step()) {
            begun_.emplace_back(node, std::move(step));
            return;
        }
        for (size_t follower : followers_[node])
            if (--waits_for_[follower] == 0) ready_.push_back(follower);
    }
    size_t take() {
        auto next = std::prev(ready_.end());
        if (options().order == Options::Order::forward) next = std::min_element(ready_.begin(), ready_.end());
        if (options().order == Options::Order::random) next = ready_.begin() + long(draw_() % ready_.size());
        std::iter_swap(next, std::prev(ready_.end()));
        const size_t node = ready_.back();
        ready_.pop_back();
        return node;
    }
    Step begin(size_t node) {
        if ((*nodes_)[node].work) return (*nodes_)[node].work();
        records_[node]->happen();
        return {};
    }

    std::shared_ptr<const Nodes> nodes_;
    std::vector<std::shared_ptr<EventRecord>> records_;
    std::vector<size_t> waits_for_;  // how many nodes
    std::vector<std::vector<size_t>> followers_;
    std::vector<size_t> ready_;
    std::vector<std::pair<size_t, Step>> begun_;  // nodes that wait for another process
    std::mt19937 draw_{options().seed};
};

}  // namespace

Step replay(const std::shared_ptr<const Nodes>& nodes, std::vector<std::shared_ptr<EventRecord>> records) {
    return [replay = std::make_shared<Replay>(nodes, std::move(records))] { return replay->step(); };
}

}  // namespace executor
