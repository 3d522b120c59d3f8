// The GPU as the host sees it: the stream that all kernels run on, the one for copies, and the check around every
// CUDA call. Included only by files of the CUDA half.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/error.h"

#define CUDA_CHECK(call)                                                                                 \
    do {                                                                                                 \
        const cudaError_t cuda_status = (call);                                                          \
        if (cuda_status != cudaSuccess) FAIL(#call, ": CUDA reports ", cudaGetErrorString(cuda_status)); \
    } while (0)

namespace gpu {

// The device that CUDA has chosen for this thread.
int current_device();
// The stream that all launches of this thread go to, in order: the main one, unless an OnStream says otherwise.
cudaStream_t stream();
// While it exists, what this thread launches goes to another stream.
class OnStream {
  public:
    explicit OnStream(cudaStream_t other);
    ~OnStream();
    OnStream(const OnStream&) = delete;
    OnStream& operator=(const OnStream&) = delete;

  private:
    cudaStream_t before_;
};
// The stream for uploads, and the one for what ranks exchange; both go on beside the main one's work.
cudaStream_t copy_stream();
cudaStream_t side_stream();

// An event on a stream, with or without the time at which the stream came to it.
class Event {
  public:
    explicit Event(unsigned flags = cudaEventDefault) { CUDA_CHECK(cudaEventCreateWithFlags(&event_, flags)); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    operator cudaEvent_t() const { return event_; }
    void record(cudaStream_t stream) { CUDA_CHECK(cudaEventRecord(event_, stream)); }
    void wait() const { CUDA_CHECK(cudaEventSynchronize(event_)); }

  private:
    cudaEvent_t event_ = nullptr;
};
// The time between two events; waits for the second.
inline double seconds_between(const Event& begin, const Event& end) {
    end.wait();
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    return double(ms) * 1e-3;
}

}  // namespace gpu
