// Stream capture: what is submitted becomes a node of a graph, behind the nodes its stream has reached.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "dev/cuda_on_cpu/runtime/stream_work.h"

namespace executor {

struct EventRecord;

struct Node {
    Work work;
    std::vector<int> after;                          // the earlier nodes that it waits for
    std::vector<std::shared_ptr<CallOrder>> orders;  // the work is part of
    cudaEvent_t event = nullptr;                     // each launch records it, instead of other work
};
using Nodes = std::vector<Node>;

struct Capture {
    Nodes nodes;
    CUstream_st* origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool invalid = false;
    std::vector<CUstream_st*> streams;  // the origin and those that joined
};

// The place that a stream or an event has in a capture.
struct Recording {
    std::shared_ptr<Capture> capture;
    std::vector<int> nodes;  // whatever follows comes after these
};

void begin_capture(CUstream_st* stream, cudaStreamCaptureMode mode);
cudaError_t end_capture(CUstream_st* stream, Nodes& nodes);
cudaError_t record_node(CUstream_st* stream, Work work, const std::vector<std::shared_ptr<CallOrder>>& orders);
// Adds a node that records an event with each launch of the graph.
cudaError_t record_event_node(CUstream_st* stream, cudaEvent_t event);
// Lets a stream wait for a place in a capture: it joins the capture if it is not part of it.
cudaError_t wait_in_capture(CUstream_st* stream, const Recording& place);

// The error of a call that may not happen while something is captured, which also spoils the capture. A call that
// concerns one stream is wrong on a captured one; whatever the stream, only a relaxed capture lets it pass.
cudaError_t forbidden_in_capture(const char* call, CUstream_st* stream = nullptr);
// The error of work that is submitted to a stream that is not captured, while another one is.
cudaError_t outside_capture(CUstream_st* stream);

// Runs the nodes once, in an order that their dependencies allow. The records are those of the nodes with an event.
Step replay(const std::shared_ptr<const Nodes>& nodes, std::vector<std::shared_ptr<EventRecord>> records);

}  // namespace executor
