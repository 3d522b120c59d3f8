// Times of ops on the GPU, from events on the stream that they run on; and their names for NVIDIA's profilers.
#include <nvtx3/nvToolsExt.h>

#include <deque>

#include "kernels/cuda/cuda.h"
#include "runtime/cuda/gpu.h"

namespace kernels::cuda {
namespace {

std::deque<cudaEvent_t> events;  // never destroyed: they are used until the program ends
int used = 0;

}  // namespace

void push_range(const char* name) { nvtxRangePushA(name); }
void pop_range() { nvtxRangePop(); }

int record_event() {
    if (used == int(events.size())) CUDA_CHECK(cudaEventCreate(&events.emplace_back()));
    CUDA_CHECK(cudaEventRecord(events[size_t(used)], gpu::stream()));
    return used++;
}

double seconds_between(int first, int last) {
    CUDA_CHECK(cudaEventSynchronize(events[size_t(last)]));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, events[size_t(first)], events[size_t(last)]));
    return double(ms) * 1e-3;
}

void reuse_events() { used = 0; }

}  // namespace kernels::cuda
