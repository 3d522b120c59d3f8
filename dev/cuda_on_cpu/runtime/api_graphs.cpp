// CUDA's runtime: stream capture and graphs.
#include <algorithm>
#include <memory>
#include <utility>

#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/capture.h"
#include "dev/cuda_on_cpu/runtime/errors.h"
#include "dev/cuda_on_cpu/runtime/streams.h"

using namespace executor;

struct CUgraph_st {
    Nodes nodes;
};
struct CUgraphExec_st {
    std::shared_ptr<const Nodes> nodes;  // shared with launches that have not run yet
};

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    CUstream_st* const stream = resolve(handle, "cudaStreamBeginCapture");
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    if (stream == legacy_stream()) return remember(cudaErrorStreamCaptureUnsupported);
    if (stream->recording.capture) return remember(cudaErrorIllegalState);
    begin_capture(stream, mode);
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    CUstream_st* const stream = resolve(handle, "cudaStreamEndCapture");
    std::lock_guard<std::recursive_mutex> lock(stream_mutex());
    *graph = nullptr;
    Nodes nodes;
    if (const cudaError_t error = end_capture(stream, nodes); error != cudaSuccess) return remember(error);
    *graph = new CUgraph_st{std::move(nodes)};
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
    const Recording& recording = resolve(handle, "cudaStreamIsCapturing")->recording;
    *status = !recording.capture           ? cudaStreamCaptureStatusNone
              : recording.capture->invalid ? cudaStreamCaptureStatusInvalidated
                                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
    if (nodes) return remember(cudaErrorNotSupported);
    *count = graph->nodes.size();
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = new CUgraphExec_st{std::make_shared<const Nodes>(graph->nodes)};
    return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle, "cudaGraphLaunch");
    const std::shared_ptr<const Nodes> nodes = executable->nodes;
    std::vector<std::shared_ptr<CallOrder>> orders;
    std::vector<std::shared_ptr<EventRecord>> records(nodes->size());
    {
        std::lock_guard<std::recursive_mutex> lock(stream_mutex());
        for (size_t i = 0; i < nodes->size(); i++) {
            for (const std::shared_ptr<CallOrder>& order : (*nodes)[i].orders) {
                if (!order->closed.empty()) die("cudaGraphLaunch of a graph with work of " + order->closed);
                if (std::find(orders.begin(), orders.end(), order) == orders.end()) orders.push_back(order);
            }
            if (!(*nodes)[i].event) continue;
            records[i] = std::make_shared<EventRecord>();
            records[i]->mark = {stream, stream->submitted + 1};
            (*nodes)[i].event->record = records[i];
        }
    }
    const auto work = [nodes, records] { return replay(nodes, records); };
    return remember(submit_work(stream, work, orders));
}
// Takes over a graph with the same nodes and dependencies.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* info) {
    *info = {};
    bool same = executable->nodes->size() == graph->nodes.size();
    for (size_t i = 0; same && i < graph->nodes.size(); i++)
        same = graph->nodes[i].after == (*executable->nodes)[i].after;
    info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!same) return remember(cudaErrorGraphExecUpdateFailure);
    executable->nodes = std::make_shared<const Nodes>(graph->nodes);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

}  // extern "C"
