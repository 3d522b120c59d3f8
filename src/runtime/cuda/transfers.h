// Transfers where the device is a GPU, by events: nothing waits that doesn't have to.
#pragma once

#include "runtime/backend.h"
#include "runtime/build.h"
#include "runtime/cuda/gpu.h"

namespace device::cuda {

class Upload : public UploadSlot {
  public:
    Upload(Backend& backend, size_t bytes) : memory_(backend, bytes) { CUDA_CHECK(cudaMalloc(&staged_, bytes)); }
    ~Upload() override { cudaFree(staged_); }
    void* host() override {
        uploaded_.wait();
        return memory_.get();
    }
    void send(const Tensor& to) override {
        CUDA_CHECK(cudaStreamWaitEvent(gpu::copy_stream(), consumed_, 0));
        CUDA_CHECK(cudaMemcpyAsync(staged_, memory_.get(), to.bytes(), cudaMemcpyHostToDevice, gpu::copy_stream()));
        uploaded_.record(gpu::copy_stream());
        CUDA_CHECK(cudaStreamWaitEvent(gpu::stream(), uploaded_, 0));
        // The tensor itself may still be read by the work under way: this copy waits its turn, and takes microseconds.
        CUDA_CHECK(cudaMemcpyAsync(to.data, staged_, to.bytes(), cudaMemcpyDeviceToDevice, gpu::stream()));
        consumed_.record(gpu::stream());
    }

  private:
    HostBlock memory_;
    void* staged_ = nullptr;  // on the device
    gpu::Event uploaded_{cudaEventDisableTiming}, consumed_{cudaEventDisableTiming};
};

class Download : public DownloadSlot {
  public:
    Download(Backend& backend, size_t bytes) : memory_(backend, bytes) {}
    void start(const Tensor& from) override {
        CUDA_CHECK(cudaMemcpyAsync(memory_.get(), from.data, from.bytes(), cudaMemcpyDeviceToHost, gpu::stream()));
        done_.record(gpu::stream());
    }
    const void* get() override {
        done_.wait();
        return memory_.get();
    }

  private:
    HostBlock memory_;
    gpu::Event done_{cudaEventDisableTiming};
};

class EventInterval : public Interval {
  public:
    void begin() override { begin_.record(gpu::stream()); }
    void end() override { end_.record(gpu::stream()); }
    double seconds() const override { return gpu::seconds_between(begin_, end_); }

  private:
    gpu::Event begin_{cudaEventDefault}, end_{cudaEventDefault};
};

// Each piece of work is launched at once, to a stream that has to wait for what comes before it.
class SideStream : public SideWork {
  public:
    void run(const std::function<void()>& work) override {
        begin_.record(gpu::stream());
        CUDA_CHECK(cudaStreamWaitEvent(gpu::side_stream(), begin_, 0));
        const gpu::OnStream on(gpu::side_stream());
        work();
    }
    void join() override {
        end_.record(gpu::side_stream());
        CUDA_CHECK(cudaStreamWaitEvent(gpu::stream(), end_, 0));
    }

  private:
    gpu::Event begin_{cudaEventDisableTiming}, end_{cudaEventDisableTiming};
};

class GraphReplay : public Replay {
  public:
    ~GraphReplay() override {
        if (!executable_) return;
        cudaStreamSynchronize(gpu::stream());
        cudaGraphExecDestroy(executable_);
    }
    void run(const std::function<void()>& launches) override {
        // A captured op can't be waited for, so a debug build, which waits for each, captures none.
        if (kDebugBuild || runs_++ == 0) return launches();
        if (!executable_) capture(launches);
        CUDA_CHECK(cudaGraphLaunch(executable_, gpu::stream()));
    }

  private:
    void capture(const std::function<void()>& launches) {
        cudaGraph_t graph = nullptr;
        CUDA_CHECK(cudaStreamBeginCapture(gpu::stream(), cudaStreamCaptureModeThreadLocal));
        try {
            launches();
        } catch (...) {
            cudaStreamEndCapture(gpu::stream(), &graph);
            throw;
        }
        CUDA_CHECK(cudaStreamEndCapture(gpu::stream(), &graph));
        CUDA_CHECK(cudaGraphInstantiate(&executable_, graph, 0));
        CUDA_CHECK(cudaGraphDestroy(graph));
    }

    int runs_ = 0;
    cudaGraphExec_t executable_ = nullptr;
};

}  // namespace device::cuda
