// Programs with one mistake each, and the modes in which the executor or a sanitizer has to find it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "dev/cuda_on_cpu/executor/executor.h"

struct Bug {
    const char* name;
    const char* caught_in;  // some of forward, reverse, random, deferred, asan, tsan; or "all"; or "", for none
    void (*program)();
    const char* says = "";  // a pattern of grep that the executor's report has to match
};
std::vector<Bug> kernel_bugs();
std::vector<Bug> host_bugs();
std::vector<Bug> hopper_bugs();
std::vector<Bug> nccl_bugs();  // where NCCL's header is

// Ends the program at an error that CUDA reports, as a careful program does.
inline void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    printf("CUDA error: %s\n", cudaGetErrorString(error));
    fflush(stdout);
    _Exit(3);
}
// Ends the program at a wrong result, as its test would; NaN is one.
inline void expect(bool right) {
    if (right) return;
    puts("WRONG");
    fflush(stdout);
    _Exit(2);
}

// Device memory for n numbers.
struct Buffer {
    explicit Buffer(int n) : n(n) { check(cudaMalloc(reinterpret_cast<void**>(&data), sizeof(float) * size_t(n))); }
    Buffer(int n, const std::function<float(int)>& value) : Buffer(n) {
        std::vector<float> host;
        for (int i = 0; i < n; i++) host.push_back(value(i));
        check(cudaMemcpy(data, host.data(), sizeof(float) * size_t(n), cudaMemcpyHostToDevice));
        check(cudaStreamSynchronize(nullptr));  // now it is there for every stream
    }
    ~Buffer() { cudaFree(data); }
    Buffer(const Buffer&) = delete;
    std::vector<float> read() const {
        std::vector<float> host(static_cast<size_t>(n));
        check(cudaMemcpy(host.data(), data, sizeof(float) * size_t(n), cudaMemcpyDeviceToHost));
        return host;
    }
    // The first `count` numbers have to be value(i).
    void expect_values(int count, const std::function<float(int)>& value) const {
        const std::vector<float> host = read();
        for (int i = 0; i < count; i++) expect(host[size_t(i)] == value(i));
    }
    float* data = nullptr;
    int n;
};

struct Stream {
    explicit Stream(unsigned flags = cudaStreamNonBlocking) { check(cudaStreamCreateWithFlags(&stream, flags)); }
    ~Stream() { cudaStreamDestroy(stream); }
    operator cudaStream_t() const { return stream; }
    void synchronize() const { check(cudaStreamSynchronize(stream)); }
    cudaStream_t stream;
};
struct Event {
    Event() { check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)); }
    ~Event() { cudaEventDestroy(event); }
    void record(cudaStream_t stream) const { check(cudaEventRecord(event, stream)); }
    void wait(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event, 0)); }
    cudaEvent_t event;
};
// Work captured from one stream.
struct Graph {
    Graph(cudaStream_t stream, const std::function<void()>& work) {
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        work();
        cudaGraph_t graph;
        check(cudaStreamEndCapture(stream, &graph));
        check(cudaGraphInstantiate(&executable, graph, 0));
        check(cudaGraphDestroy(graph));
    }
    ~Graph() { cudaGraphExecDestroy(executable); }
    void launch(cudaStream_t stream) const { check(cudaGraphLaunch(executable, stream)); }
    cudaGraphExec_t executable;
};

template <class... Params, class... Args>
void run(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args&&... args) {
    launch(kernel, grid, block, shared_bytes, nullptr, std::forward<Args>(args)...);
    check(cudaGetLastError());
}
