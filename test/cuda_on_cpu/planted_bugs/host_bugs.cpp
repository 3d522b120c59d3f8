// Mistakes of the host: device and host memory confused, waits forgotten, graphs misused. One program has no mistake.
#include <algorithm>
#include <cstring>

#include "test/cuda_on_cpu/planted_bugs/bugs.h"

namespace {

constexpr int kN = 256;
constexpr size_t kBytes = kN * sizeof(float);
constexpr float kTwo = 2.0f;

__global__ void add_one_kernel(float* out, const float* x, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] + 1.0f;
}
void add_one(float* out, const float* x, cudaStream_t stream) {
    launch(add_one_kernel, kN / 64, 64, 0, stream, out, x, kN);
    check(cudaGetLastError());
}
__global__ void set_kernel(float* out, float value, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = value;
}
void set(float* out, float value, cudaStream_t stream) {
    launch(set_kernel, kN / 64, 64, 0, stream, out, value, kN);
    check(cudaGetLastError());
}
float counting(int i) { return float(i); }

struct Pinned {
    Pinned() { check(cudaMallocHost(reinterpret_cast<void**>(&data), kBytes)); }
    ~Pinned() { cudaFreeHost(data); }
    void fill(float value) { std::fill_n(data, kN, value); }
    float* data = nullptr;
};

// ---- memory ------------------------------------------------------------------------------------------------------

void host_reads_device_memory() {
    Buffer x(kN, counting);
    expect(x.data[3] == 3.0f);
}
void host_writes_device_memory() {
    Buffer x(kN);
    memset(x.data, 0, kBytes);
    x.expect_values(kN, [](int) { return 0.0f; });
}
void host_pointer_to_a_kernel() {
    std::vector<float> x(kN, 1.0f);
    Buffer out(kN);
    add_one(out.data, x.data(), nullptr);
    out.expect_values(kN, [](int) { return kTwo; });
}
void copy_beyond_an_allocation() {
    Buffer x(kN - 1);
    const std::vector<float> host(kN, 1.0f);
    check(cudaMemcpy(x.data, host.data(), kBytes, cudaMemcpyHostToDevice));
}
void copy_in_the_wrong_direction() {
    Buffer x(kN, counting);
    std::vector<float> host(kN);
    check(cudaMemcpy(host.data(), x.data, kBytes, cudaMemcpyHostToDevice));
}
void copy_beyond_pinned_memory() {
    Buffer x(kN + 1, counting);
    Pinned host;
    check(cudaMemcpy(host.data, x.data, kBytes + 4, cudaMemcpyDeviceToHost));
}
void copy_beyond_host_memory() {
    Buffer x(kN, counting);
    std::vector<float> host(kN - 1);
    check(cudaMemcpy(host.data(), x.data, kBytes, cudaMemcpyDeviceToHost));
}
void fill_beyond_an_allocation() {
    Buffer x(kN);
    check(cudaMemset(x.data + 1, 0, kBytes));
}
void use_after_free() {
    Buffer out(kN);
    float* x;
    check(cudaMalloc(reinterpret_cast<void**>(&x), kBytes));
    check(cudaFree(x));
    add_one(out.data, x, nullptr);
}
void double_free() {
    float* x;
    check(cudaMalloc(reinterpret_cast<void**>(&x), kBytes));
    check(cudaFree(x));
    check(cudaFree(x));
}
void free_of_an_inner_pointer() {
    float* x;
    check(cudaMalloc(reinterpret_cast<void**>(&x), kBytes));
    check(cudaFree(x + 64));
}
void leak() {
    float* x;
    check(cudaMalloc(reinterpret_cast<void**>(&x), kBytes));
}

// ---- streams -----------------------------------------------------------------------------------------------------

void result_read_before_the_stream_is_done() {
    Stream stream;
    Buffer x(kN, counting);
    Pinned host;
    check(cudaMemcpyAsync(host.data, x.data, kBytes, cudaMemcpyDeviceToHost, stream));
    const float seen = host.data[5];
    stream.synchronize();
    expect(seen == 5.0f);
}
void pinned_source_overwritten_before_the_copy() {
    Stream stream;
    Buffer x(kN);
    Pinned host;
    host.fill(1.0f);
    check(cudaMemcpyAsync(x.data, host.data, kBytes, cudaMemcpyHostToDevice, stream));
    host.fill(kTwo);
    stream.synchronize();
    x.expect_values(kN, [](int) { return 1.0f; });
}
void default_stream_taken_to_wait() {
    Stream stream(cudaStreamNonBlocking);
    Buffer x(kN, counting), out(kN);
    add_one(out.data, x.data, stream);
    out.expect_values(kN, [](int i) { return i + 1.0f; });  // copies on the default stream
}
void copy_to_the_device_taken_to_be_over() {
    Stream stream(cudaStreamNonBlocking);
    const std::vector<float> host(kN, 1.0f);
    Buffer x(kN), out(kN);
    check(cudaMemcpy(x.data, host.data(), kBytes, cudaMemcpyHostToDevice));
    add_one(out.data, x.data, stream);
    stream.synchronize();
    out.expect_values(kN, [](int) { return kTwo; });
}
void missing_wait_for_an_event() {
    Stream first, second;
    Buffer x(kN, counting), between(kN), out(kN);
    add_one(between.data, x.data, first);
    add_one(out.data, between.data, second);
    second.synchronize();
    first.synchronize();
    out.expect_values(kN, [](int i) { return i + kTwo; });
}
void event_recorded_too_early() {
    Stream first, second;
    Event done;
    Buffer x(kN, counting), between(kN), out(kN);
    done.record(first);
    add_one(between.data, x.data, first);
    done.wait(second);
    add_one(out.data, between.data, second);
    second.synchronize();
    first.synchronize();
    out.expect_values(kN, [](int i) { return i + kTwo; });
}
void input_overwritten_by_another_stream() {
    Stream first, second;
    Buffer x(kN, counting), out(kN);
    add_one(out.data, x.data, first);
    set(x.data, 0.0f, second);
    second.synchronize();
    first.synchronize();
    out.expect_values(kN, [](int i) { return i + 1.0f; });
}
void use_of_a_destroyed_stream() {
    Buffer x(kN, counting);
    cudaStream_t stream;
    check(cudaStreamCreate(&stream));
    check(cudaStreamDestroy(stream));
    add_one(x.data, x.data, stream);
}

// ---- graphs ------------------------------------------------------------------------------------------------------

void synchronisation_in_a_capture() {
    Stream stream;
    Buffer x(kN, counting);
    Graph graph(stream, [&] {
        add_one(x.data, x.data, stream);
        stream.synchronize();
    });
}
void allocation_in_a_capture() {
    Stream stream;
    Graph graph(stream, [&] { Buffer x(kN); });
}
void work_outside_of_the_capture() {
    Stream stream, other;
    Buffer x(kN, counting);
    Graph graph(stream, [&] { add_one(x.data, x.data, other); });
}
void default_stream_in_a_capture() {
    Stream stream;
    Buffer x(kN, counting);
    Graph graph(stream, [&] { add_one(x.data, x.data, nullptr); });
}
void captured_stream_not_joined() {
    Stream stream, other;
    Event fork;
    Buffer x(kN, counting);
    Graph graph(stream, [&] {
        fork.record(stream);
        fork.wait(other);
        add_one(x.data, x.data, other);
    });
}
void missing_replay() {
    Stream stream;
    Buffer x(kN, counting);
    Graph graph(stream, [&] { add_one(x.data, x.data, stream); });
    stream.synchronize();
    x.expect_values(kN, [](int i) { return i + 1.0f; });
}
void captured_value_changed_later() {
    Stream stream;
    Buffer x(kN);
    float value = 1.0f;
    Graph graph(stream, [&] { set(x.data, value, stream); });
    value = kTwo;
    graph.launch(stream);
    stream.synchronize();
    x.expect_values(kN, [](int) { return kTwo; });
}
void missing_dependency_in_a_graph() {
    Stream stream, other;
    Event fork, join;
    Buffer x(kN, counting), between(kN), out(kN);
    Graph graph(stream, [&] {
        fork.record(stream);
        fork.wait(other);
        add_one(between.data, x.data, stream);
        add_one(out.data, between.data, other);
        join.record(other);
        join.wait(stream);
    });
    graph.launch(stream);
    stream.synchronize();
    out.expect_values(kN, [](int i) { return i + kTwo; });
}

// ---- and none of all that ----------------------------------------------------------------------------------------

__global__ void everything_kernel(float* out, float* sum, const float* x, int n) {
    GPU_SHARED(float, staged, [4 * 64]);
    const int t = threadIdx.x, lane = t & 31;
    const int first = blockIdx.x * 256;
    gpu::cp_async16(&staged[4 * t], x + first + 4 * t);
    gpu::cp_async_commit();
    gpu::cp_async_wait<0>();
    __syncthreads();
    float total = 0.0f;
    for (int i = t; i < 256; i += 64) total += staged[(i + 1) % 256];
    for (int offset = 16; offset > 0; offset /= 2) total += __shfl_xor_sync(~0u, total, offset);
    if (lane == 0) atomicAdd(sum, total);
    const int first_lane = __ffs(int(__ballot_sync(~0u, lane >= 7))) - 1;
    __syncthreads();
    for (int i = t; i < 256; i += 64)
        if (first + i < n) out[first + i] = staged[i] + float(first_lane);
}
void none() {
    constexpr int n = 4 * kN;
    Stream compute, copies, blocking(cudaStreamDefault);
    Event uploaded, computed, timed[2];
    Buffer x(n, counting), sum(1, [](int) { return 0.0f; }), out(n), y(kN), z(kN);
    launch(everything_kernel, 4, 64, 0, blocking, out.data, sum.data, x.data, n);
    check(cudaGetLastError());
    out.expect_values(n, [](int i) { return i + 7.0f; });
    sum.expect_values(1, [](int) { return n * (n - 1) / 2.0f; });

    Pinned in, back;
    in.fill(3.0f);
    check(cudaMemcpyAsync(y.data, in.data, kBytes, cudaMemcpyHostToDevice, copies));
    uploaded.record(copies);
    uploaded.wait(compute);
    const auto work = [&] { add_one(z.data, y.data, compute); };
    Graph graph(compute, work);
    check(cudaEventRecord(timed[0].event, compute));
    graph.launch(compute);
    check(cudaEventRecord(timed[1].event, compute));
    computed.record(compute);
    computed.wait(copies);
    check(cudaMemcpyAsync(back.data, z.data, kBytes, cudaMemcpyDeviceToHost, copies));
    computed.record(copies);
    while (cudaEventQuery(computed.event) == cudaErrorNotReady) cudaGetLastError();
    for (int i = 0; i < kN; i++) expect(back.data[i] == 4.0f);
    float ms;
    check(cudaEventElapsedTime(&ms, timed[0].event, timed[1].event));

    std::vector<float> pageable(kN, 5.0f);
    check(cudaMemcpyAsync(y.data, pageable.data(), kBytes, cudaMemcpyHostToDevice, compute));
    std::fill(pageable.begin(), pageable.end(), 0.0f);  // CUDA has read it already
    graph.launch(compute);
    check(cudaMemcpyAsync(pageable.data(), z.data, kBytes, cudaMemcpyDeviceToHost, compute));
    for (float value : pageable) expect(value == 6.0f);  // and waits for this one
}

}  // namespace

std::vector<Bug> host_bugs() {
    return {
        {"host reads device memory", "all", host_reads_device_memory},
        {"host writes device memory", "all", host_writes_device_memory},
        {"host pointer to a kernel", "all", host_pointer_to_a_kernel},
        {"copy beyond an allocation", "all", copy_beyond_an_allocation},
        {"copy in the wrong direction", "all", copy_in_the_wrong_direction},
        {"copy beyond pinned memory", "all", copy_beyond_pinned_memory},
        {"copy beyond host memory", "asan", copy_beyond_host_memory},
        {"fill beyond an allocation", "all", fill_beyond_an_allocation},
        {"use after free", "all", use_after_free},
        {"double free", "all", double_free},
        {"free of an inner pointer", "all", free_of_an_inner_pointer},
        {"leak", "all", leak},
        {"result read before the stream is done", "deferred", result_read_before_the_stream_is_done},
        {"pinned source overwritten", "deferred", pinned_source_overwritten_before_the_copy},
        {"default stream taken to wait", "deferred", default_stream_taken_to_wait},
        {"copy to the device taken to be over", "deferred", copy_to_the_device_taken_to_be_over},
        {"missing wait for an event", "deferred", missing_wait_for_an_event},
        {"event recorded too early", "deferred", event_recorded_too_early},
        {"input overwritten by another stream", "deferred", input_overwritten_by_another_stream},
        {"use of a destroyed stream", "all", use_of_a_destroyed_stream},
        {"synchronisation in a capture", "all", synchronisation_in_a_capture},
        {"allocation in a capture", "all", allocation_in_a_capture},
        {"work outside of the capture", "all", work_outside_of_the_capture},
        {"default stream in a capture", "all", default_stream_in_a_capture},
        {"captured stream not joined", "all", captured_stream_not_joined},
        {"missing replay", "all", missing_replay},
        {"captured value changed later", "all", captured_value_changed_later},
        {"missing dependency in a graph", "reverse random", missing_dependency_in_a_graph},
        {"none", "", none},
    };
}
