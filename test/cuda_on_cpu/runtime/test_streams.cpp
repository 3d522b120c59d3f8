// The executor's streams, graphs and device, against what CUDA's manuals say. These tests have to pass in every order,
// immediate and deferred, and under the sanitizers. planted_bugs.sh has what must fail.
#include <functional>

#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"
#include "test/cuda_on_cpu/executor/device_vector.h"

namespace {

struct Stream {
    explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&stream, flags); }
    ~Stream() { cudaStreamDestroy(stream); }
    operator cudaStream_t() const { return stream; }
    cudaStream_t stream = nullptr;
};
struct Event {
    Event() { cudaEventCreate(&event); }
    ~Event() { cudaEventDestroy(event); }
    operator cudaEvent_t() const { return event; }
    cudaEvent_t event = nullptr;
};

// ---- streams -----------------------------------------------------------------------------------------------------

__global__ void append_kernel(float* x, float digit) { *x = *x * 10.0f + digit; }
void append(DeviceVector<float>& x, float digit, cudaStream_t stream) {
    launch(append_kernel, 1, 1, 0, stream, x.data, digit);
}

TEST(Executor, EventsOrderStreams) {
    Stream first, second;
    Event halfway;
    DeviceVector<float> x(zeros(1));
    append(x, 1, first);
    cudaEventRecord(halfway, first);
    cudaStreamWaitEvent(second, halfway, 0);
    append(x, 2, second);
    EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
    EXPECT_EQ(x.read()[0], 12.0f);
    cudaStreamWaitEvent(second, Event(), 0);  // never recorded: no wait
    append(x, 3, second);
    cudaEventRecord(halfway, second);
    EXPECT_EQ(cudaEventSynchronize(halfway), cudaSuccess);
    EXPECT_EQ(cudaEventQuery(halfway), cudaSuccess);
    EXPECT_EQ(x.read()[0], 123.0f);
}
TEST(Executor, TheDefaultStreamWaitsForBlockingStreamsAndTheyForIt) {
    Stream blocking(cudaStreamDefault);
    DeviceVector<float> x(zeros(1));
    append(x, 1, blocking);
    append(x, 2, nullptr);
    append(x, 3, blocking);
    EXPECT_EQ(x.read()[0], 123.0f);  // a copy on the default stream
}
TEST(Executor, DeferredWorkWaitsToBeForced) {
    if (!executor::options().deferred || executor::options().order == executor::Options::Order::random)
        GTEST_SKIP() << "runs in deferred streams, in a fixed order";
    Stream stream, other;
    DeviceVector<float> x(zeros(1));
    append(x, 1, stream);
    EXPECT_EQ(x.read()[0], 0.0f);
    EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
    EXPECT_EQ(x.read()[0], 0.0f);
    EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
    EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
    EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
    EXPECT_EQ(x.read()[0], 1.0f);
    append(x, 2, stream);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(x.read()[0], 12.0f);
}
TEST(Executor, AsynchronousCopiesReadPageableMemoryAtOnceAndPinnedMemoryLater) {
    Stream stream;
    DeviceVector<float> x(zeros(2));
    float pageable = 1.0f, *pinned;
    cudaMallocHost(reinterpret_cast<void**>(&pinned), sizeof(float));
    *pinned = 1.0f;
    cudaMemcpyAsync(x.data, &pageable, sizeof(float), cudaMemcpyHostToDevice, stream);
    cudaMemcpyAsync(x.data + 1, pinned, sizeof(float), cudaMemcpyHostToDevice, stream);
    pageable = 2.0f;
    if (executor::options().deferred) *pinned = 2.0f;
    cudaStreamSynchronize(stream);
    EXPECT_EQ(x.read()[0], 1.0f);
    const bool any_time = executor::options().order == executor::Options::Order::random;
    EXPECT_TRUE(any_time || x.read()[1] == *pinned);
    cudaFreeHost(pinned);
}
TEST(Executor, ACopyFromPageableMemoryHasReadItWhenItReturnsNoMore) {
    if (!executor::options().deferred || executor::options().order == executor::Options::Order::random)
        GTEST_SKIP() << "runs in deferred streams, in a fixed order";
    Stream stream;
    DeviceVector<float> x(zeros(1));
    float pageable = 1.0f;
    cudaMemcpy(x.data, &pageable, sizeof(float), cudaMemcpyHostToDevice);
    pageable = 5.0f;
    append(x, 2, stream);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(cudaStreamQuery(nullptr), cudaErrorNotReady);
    EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
    EXPECT_EQ(x.read()[0], 1.0f);  // the copy came last
}
TEST(Executor, HostWorkRunsInTheStreamsOrder) {
    Stream stream;
    DeviceVector<float> x(zeros(1));
    append(x, 1, stream);
    EXPECT_TRUE(executor::is_device_pointer(x.data, sizeof(float)));
    EXPECT_FALSE(executor::is_device_pointer(x.data, sizeof(float) + 1));
    EXPECT_FALSE(executor::is_device_pointer(&x, 1));
    EXPECT_EQ(executor::enqueue(stream, [p = x.data] { *p = *p * 10.0f + 2.0f; }), cudaSuccess);
    bool called = false;
    cudaLaunchHostFunc(
        stream, [](void* flag) { *static_cast<bool*>(flag) = true; }, &called);
    append(x, 3, stream);
    cudaStreamSynchronize(stream);
    EXPECT_TRUE(called);
    EXPECT_EQ(x.read()[0], 123.0f);
}
TEST(Executor, EventsMeasureTime) {
    Event start, end;
    float ms = -1.0f;
    cudaEventRecord(start, nullptr);
    cudaEventRecord(end, nullptr);
    cudaEventSynchronize(end);
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaSuccess);
    EXPECT_GE(ms, 0.0f);
}

// ---- graphs ------------------------------------------------------------------------------------------------------

TEST(Executor, AGraphIsRecordedAndReplayed) {
    Stream stream, other;
    Event fork, join;
    DeviceVector<float> x(zeros(1)), y(zeros(1));
    float digit = 4.0f;
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    append(x, digit, stream);
    cudaEventRecord(fork, stream);
    cudaStreamWaitEvent(other, fork, 0);
    cudaStreamCaptureStatus status;
    cudaStreamIsCapturing(other, &status);
    EXPECT_EQ(status, cudaStreamCaptureStatusActive);
    EXPECT_EQ(cudaMemcpyAsync(y.data, x.data, sizeof(float), cudaMemcpyDeviceToDevice, other), cudaSuccess);
    EXPECT_EQ(executor::enqueue(other, [p = y.data] { *p += 0.5f; }), cudaSuccess);
    cudaEventRecord(join, other);
    cudaStreamWaitEvent(stream, join, 0);
    append(x, 5, stream);
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaStreamIsCapturing(other, &status);
    EXPECT_EQ(status, cudaStreamCaptureStatusNone);
    EXPECT_EQ(x.read()[0], 0.0f);  // nothing ran

    digit = 9.0f;  // too late
    cudaGraphExec_t executable;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    for (int i = 0; i < 2; i++) EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
    cudaStreamSynchronize(stream);
    EXPECT_EQ(x.read()[0], 4545.0f);
    EXPECT_EQ(y.read()[0], 454.5f);
}
TEST(Executor, AGraphTakesOverAnotherOfTheSameShape) {
    Stream stream;
    DeviceVector<float> x(zeros(1));
    const auto capture = [&](std::vector<float> digits) {
        cudaGraph_t graph;
        cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
        for (float digit : digits) append(x, digit, stream);
        EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
        return graph;
    };
    cudaGraph_t graphs[] = {capture({1, 2}), capture({3, 4}), capture({5})};
    cudaGraphExec_t executable;
    cudaGraphInstantiate(&executable, graphs[0], 0);
    cudaGraphLaunch(executable, stream);
    cudaGraphExecUpdateResultInfo info;
    EXPECT_EQ(cudaGraphExecUpdate(executable, graphs[1], &info), cudaSuccess);
    cudaGraphLaunch(executable, stream);
    EXPECT_EQ(cudaGraphExecUpdate(executable, graphs[2], &info), cudaErrorGraphExecUpdateFailure);
    EXPECT_EQ(cudaGetLastError(), cudaErrorGraphExecUpdateFailure);
    cudaStreamSynchronize(stream);
    EXPECT_EQ(x.read()[0], 1234.0f);
    cudaGraphExecDestroy(executable);
    for (cudaGraph_t graph : graphs) cudaGraphDestroy(graph);
}
TEST(Executor, ALaunchRecordsAnExternalEvent) {
    Stream stream, other;
    Event start, end;
    DeviceVector<float> x(zeros(1));
    float ms = -1.0f;
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(cudaEventRecordWithFlags(start, stream, cudaEventRecordExternal), cudaSuccess);
    append(x, 1, stream);
    EXPECT_EQ(cudaEventRecordWithFlags(end, stream, cudaEventRecordExternal), cudaSuccess);
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    size_t nodes = 0;
    EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
    EXPECT_EQ(nodes, 3u);
    cudaGraphExec_t executable;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorInvalidResourceHandle);  // never recorded
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
    for (float digit : {2.0f, 3.0f}) {
        EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
        cudaStreamWaitEvent(other, end, 0);
        append(x, digit, other);
        EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
        EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaSuccess);
        EXPECT_GE(ms, 0.0f);
        EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
    }
    EXPECT_EQ(x.read()[0], 1213.0f);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
}
TEST(Executor, CopiesRectangles) {
    Stream stream;
    DeviceVector<float> x({1, 2, 3, 4, 5, 6}), y(zeros(7));
    constexpr size_t kFloat = sizeof(float);
    const auto copy = [&](size_t width) {
        return cudaMemcpy2DAsync(y.data + 1, 2 * kFloat, x.data, 3 * kFloat, width * kFloat, 2,
                                 cudaMemcpyDeviceToDevice, stream);
    };
    EXPECT_EQ(copy(3), cudaErrorInvalidPitchValue);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidPitchValue);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    EXPECT_EQ(copy(2), cudaSuccess);
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphExec_t executable;
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(y.read(), (std::vector<float>{0, 1, 2, 4, 5, 0, 0}));
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
}
TEST(Executor, ACaptureRefusesWhatCannotBeCaptured) {
    Stream stream, blocking(cudaStreamDefault);
    Event event;
    DeviceVector<float> x(zeros(1));
    void* memory;
    const std::vector<std::pair<cudaError_t, std::function<cudaError_t()>>> calls = {
        {cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream); }},
        {cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamQuery(stream); }},
        {cudaErrorStreamCaptureUnsupported, [&] { return cudaDeviceSynchronize(); }},
        {cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&memory, 4); }},
        {cudaErrorStreamCaptureUnsupported, [&] { return cudaMemsetAsync(x.data, 0, 4, blocking); }},
        {cudaErrorCapturedEvent, [&] { return cudaEventRecord(event, stream), cudaEventSynchronize(event); }},
    };
    for (const auto& [error, call] : calls) {
        cudaGraph_t graph;
        ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
        EXPECT_EQ(call(), error);
        EXPECT_EQ(cudaMemsetAsync(x.data, 0, 4, stream), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(graph, nullptr);
        EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureInvalidated);
    }
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed), cudaSuccess);
    EXPECT_EQ(cudaMemset(x.data, 0, 4), cudaErrorStreamCaptureImplicit);
    EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&memory, 4), cudaSuccess);
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphDestroy(graph);
    cudaFree(memory);
    cudaGetLastError();
}

// ---- the device --------------------------------------------------------------------------------------------------

TEST(Executor, RefusedLaunchesAndAllocationsAreReported) {
    void* memory;
    EXPECT_EQ(cudaMalloc(&memory, size_t(1) << 50), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    DeviceVector<float> x(zeros(1));
    launch(append_kernel, 1, 1025, 0, nullptr, x.data, 1.0f);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    launch(append_kernel, 1, 1, 49 << 10, nullptr, x.data, 1.0f);
    EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidConfiguration);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
    gpu::allow_smem(append_kernel, 100 << 10);
    run(append_kernel, 1, 1, 100 << 10, x.data, 1.0f);
    EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidConfiguration), "cudaErrorInvalidConfiguration");
}
TEST(Executor, PosesAsAnH100) {
    cudaDeviceProp properties;
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    EXPECT_STREQ(properties.name, "CUDA on CPU");
    EXPECT_EQ(properties.major * 10 + properties.minor, 90);
    EXPECT_EQ(properties.multiProcessorCount, 132);
    size_t before, after, total;
    cudaMemGetInfo(&before, &total);
    DeviceVector<float> x(zeros(1000));
    cudaMemGetInfo(&after, &total);
    EXPECT_EQ(before - after, 4000u);
    EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
    cudaGetLastError();
}

}  // namespace
