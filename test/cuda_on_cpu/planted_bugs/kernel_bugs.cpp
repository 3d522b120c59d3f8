// Mistakes inside kernels.
#include "test/cuda_on_cpu/planted_bugs/bugs.h"

namespace {

constexpr int kThreads = 64;

// ---- out of bounds, misaligned, never written --------------------------------------------------------------------

__global__ void static_shared_overrun_kernel(float* out) {
    GPU_SHARED(float, s, [32]);
    const int t = threadIdx.x;
    s[t == 31 ? 32 : t] = 1.0f;
    __syncthreads();
    out[t] = s[t & 15];
}
void static_shared_overrun() {
    Buffer out(32);
    run(static_shared_overrun_kernel, 1, 32, 0, out.data);
    out.expect_values(32, [](int) { return 1.0f; });
}

__global__ void dynamic_shared_overrun_kernel(float* out, int n) {
    GPU_SHARED_DYNAMIC(float, s);
    for (int i = threadIdx.x; i <= n; i += blockDim.x) s[i] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}
void dynamic_shared_overrun() {
    Buffer out(32);
    run(dynamic_shared_overrun_kernel, 1, 32, 40 * sizeof(float), out.data, 40);
    out.expect_values(32, [](int) { return 1.0f; });
}

__global__ void global_overrun_kernel(float* out, const float* x, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] + x[i + 1];
}
void global_overrun() {
    Buffer out(255), x(255, [](int i) { return float(i); });
    run(global_overrun_kernel, 4, kThreads, 0, out.data, x.data, 255);
    out.expect_values(254, [](int i) { return 2.0f * i + 1.0f; });  // the last one is anybody's guess
}
__global__ void global_underrun_kernel(float* out, const float* x) {
    out[threadIdx.x] = x[threadIdx.x] - (threadIdx.x % 2 ? x[int(threadIdx.x) - 1] : 0.0f * x[-1]);
}
void global_underrun() {
    Buffer x(kThreads, [](int) { return 1.0f; }), out(kThreads);
    run(global_underrun_kernel, 1, kThreads, 0, out.data, x.data);
    out.expect_values(kThreads, [](int i) { return i % 2 ? 0.0f : 1.0f; });
}

struct alignas(16) FourFloats {
    float v[4];
};
__global__ void misaligned_vector_kernel(float* out, const float* x) {
    const FourFloats four = *reinterpret_cast<const FourFloats*>(x + 1 + 4 * threadIdx.x);
    out[threadIdx.x] = four.v[0];
}
void misaligned_vector() {
    Buffer out(kThreads), x(4 * kThreads + 4, [](int i) { return float(i); });
    run(misaligned_vector_kernel, 1, kThreads, 0, out.data, x.data);
    out.expect_values(kThreads, [](int i) { return 4.0f * i + 1.0f; });
}

__global__ void shared_never_zeroed_kernel(float* out) {
    GPU_SHARED(float, s, [8]);
    atomicAdd(&s[threadIdx.x & 7], 1.0f);
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x & 7];
}
void shared_never_zeroed() {
    Buffer out(kThreads);
    run(shared_never_zeroed_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int) { return 8.0f; });
}
__global__ void global_never_zeroed_kernel(float* out, float* sums) {
    atomicAdd(&sums[threadIdx.x], 1.0f);
    out[threadIdx.x] = sums[threadIdx.x];
}
void global_never_zeroed() {
    Buffer out(kThreads), sums(kThreads);
    run(global_never_zeroed_kernel, 1, kThreads, 0, out.data, sums.data);
    out.expect_values(kThreads, [](int) { return 1.0f; });
}

__global__ void stack_overflow_kernel(float* out) {
    volatile float a[100000];
    for (int i = 0; i < 100000; i++) a[i] = 1.0f;
    out[threadIdx.x] = a[threadIdx.x];
}
void stack_overflow() {
    Buffer out(kThreads);
    run(stack_overflow_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int) { return 1.0f; });
}

// ---- missing synchronisation -------------------------------------------------------------------------------------

__global__ void missing_syncthreads_kernel(float* out) {
    GPU_SHARED(float, s, [kThreads]);
    const int t = threadIdx.x;
    s[t] = float(t);
    out[t] = s[kThreads - 1 - t];
}
void missing_syncthreads() {
    Buffer out(kThreads);
    run(missing_syncthreads_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int i) { return kThreads - 1.0f - i; });
}
__global__ void missing_second_syncthreads_kernel(float* out) {
    GPU_SHARED(float, s, [kThreads]);
    const int t = threadIdx.x;
    float sum = 0.0f;
    for (int k = 0; k < 4; k++) {
        s[t] = float(t + k);
        __syncthreads();
        sum += s[(t + 1) % kThreads];  // the next round's writes do not wait for this
    }
    out[t] = sum;
}
void missing_second_syncthreads() {
    Buffer out(kThreads);
    run(missing_second_syncthreads_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int i) { return 4.0f * ((i + 1) % kThreads) + 6.0f; });
}
__global__ void missing_syncwarp_kernel(float* out) {
    GPU_SHARED(float, s, [32]);
    const int t = threadIdx.x;
    s[t] = float(t);
    out[t] = s[31 - t];
}
void missing_syncwarp() {
    Buffer out(32);
    run(missing_syncwarp_kernel, 1, 32, 0, out.data);
    out.expect_values(32, [](int i) { return 31.0f - i; });
}
__global__ void shuffle_taken_for_barrier_kernel(float* out) {
    GPU_SHARED(float, s, [32]);
    const int t = threadIdx.x;
    s[t] = float(t);
    const float one = __shfl_sync(~0u, 1.0f, 0);
    out[t] = s[31 - t] * one;
}
void shuffle_taken_for_barrier() {
    Buffer out(32);
    run(shuffle_taken_for_barrier_kernel, 1, 32, 0, out.data);
    out.expect_values(32, [](int i) { return 31.0f - i; });
}
__global__ void race_in_place_kernel(float* x) {
    const int t = threadIdx.x;
    x[(t + 1) % kThreads] = x[t] + 1.0f;
}
void race_in_place() {
    Buffer x(kThreads, [](int) { return 0.0f; });
    run(race_in_place_kernel, 1, kThreads, 0, x.data);
    x.expect_values(kThreads, [](int) { return 1.0f; });
}
__global__ void race_of_blocks_kernel(float* sum) {
    if (threadIdx.x == 0) sum[0] += 1.0f;
}
void race_of_blocks() {
    Buffer sum(1, [](int) { return 0.0f; });
    run(race_of_blocks_kernel, 8, kThreads, 0, sum.data);
    sum.expect_values(1, [](int) { return 8.0f; });
}
__global__ void race_of_blocks_between_barriers_kernel(float* sum) {
    GPU_SHARED(float, s, [kThreads]);
    s[threadIdx.x] = 1.0f;
    __syncthreads();
    if (threadIdx.x == 0) sum[0] += s[kThreads - 1];
    __syncthreads();
}
void race_of_blocks_between_barriers() {
    Buffer sum(1, [](int) { return 0.0f; });
    run(race_of_blocks_between_barriers_kernel, 8, kThreads, 0, sum.data);
    sum.expect_values(1, [](int) { return 8.0f; });
}
__global__ void histogram_without_atomics_kernel(float* out) {
    GPU_SHARED(int, counts, [8]);
    const int t = threadIdx.x;
    if (t < 8) counts[t] = 0;
    __syncthreads();
    counts[t & 7]++;
    __syncthreads();
    if (t < 8) out[t] = float(counts[t]);
}
void histogram_without_atomics() {
    Buffer out(8);
    run(histogram_without_atomics_kernel, 1, kThreads, 0, out.data);
    out.expect_values(8, [](int) { return 8.0f; });
}

__global__ void copy_never_waited_for_kernel(float* out, const float* x) {
    GPU_SHARED(float, s, [4 * kThreads]);
    const int t = threadIdx.x;
    gpu::cp_async16(&s[4 * t], x + 4 * t);
    gpu::cp_async_commit();
    __syncthreads();
    out[t] = s[t];
}
__global__ void copy_of_others_not_waited_for_kernel(float* out, const float* x) {
    GPU_SHARED(float, s, [4 * kThreads]);
    const int t = threadIdx.x;
    gpu::cp_async16(&s[4 * t], x + 4 * t);
    gpu::cp_async_commit();
    gpu::cp_async_wait<0>();  // for this thread's copies only
    out[t] = s[t];
}
template <void (*KERNEL)(float*, const float*)>
void copy_through_shared() {
    Buffer out(kThreads), x(4 * kThreads, [](int i) { return float(i); });
    run(KERNEL, 1, kThreads, 0, out.data, x.data);
    out.expect_values(kThreads, [](int i) { return float(i); });
}

// ---- meetings that do not take place -----------------------------------------------------------------------------

__global__ void exit_before_barrier_kernel(float* out, int n) {
    const int t = threadIdx.x;
    if (t >= n) return;
    out[t] = 1.0f;
    __syncthreads();
}
void exit_before_barrier() {
    Buffer out(kThreads);
    run(exit_before_barrier_kernel, 1, kThreads, 0, out.data, kThreads - 1);
    out.expect_values(kThreads - 1, [](int) { return 1.0f; });
}
__global__ void barrier_in_two_places_kernel(float* out) {
    if (threadIdx.x < 32) {
        out[threadIdx.x] = 1.0f;
        __syncthreads();
    } else {
        out[threadIdx.x] = 2.0f;
        __syncthreads();
    }
}
void barrier_in_two_places() {
    Buffer out(kThreads);
    run(barrier_in_two_places_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int i) { return i < 32 ? 1.0f : 2.0f; });
}
__global__ void shuffle_of_half_a_warp_kernel(float* out) {
    float v = float(threadIdx.x);
    if (threadIdx.x < 16) v = __shfl_xor_sync(~0u, v, 1);
    __syncthreads();
    out[threadIdx.x] = v;
}
void shuffle_of_half_a_warp() {
    Buffer out(kThreads);
    run(shuffle_of_half_a_warp_kernel, 1, kThreads, 0, out.data);
    out.expect_values(kThreads, [](int i) { return float(i < 16 ? i ^ 1 : i); });
}
__global__ void lane_outside_its_mask_kernel(float* out) {
    float v = float(threadIdx.x);
    if (threadIdx.x & 1) v = __shfl_xor_sync(0x55555555u, v, 2);
    out[threadIdx.x] = v;
}
void lane_outside_its_mask() {
    Buffer out(32);
    run(lane_outside_its_mask_kernel, 1, 32, 0, out.data);
    out.expect_values(32, [](int i) { return float(i & 1 ? i ^ 2 : i); });
}
__global__ void different_collectives_kernel(float* out) {
    float v = 1.0f;
    if (threadIdx.x < 16)
        v = __shfl_xor_sync(~0u, v, 1);
    else
        v = float(__any_sync(~0u, 1));
    out[threadIdx.x] = v;
}
void different_collectives() {
    Buffer out(32);
    run(different_collectives_kernel, 1, 32, 0, out.data);
    out.expect_values(32, [](int) { return 1.0f; });
}

// ---- launches that a GPU refuses ---------------------------------------------------------------------------------

__global__ void ones_kernel(float* out) { out[threadIdx.x] = 1.0f; }
template <int THREADS, int SHARED_BYTES>
void refused_launch() {
    Buffer out(2048);
    run(ones_kernel, 1, THREADS, SHARED_BYTES, out.data);
    out.expect_values(THREADS, [](int) { return 1.0f; });
}

}  // namespace

std::vector<Bug> kernel_bugs() {
    const char* const wrong_order = "forward reverse random deferred tsan";  // and in asan, by the result
    return {
        {"static shared overrun", "asan", static_shared_overrun},
        {"dynamic shared overrun", "asan", dynamic_shared_overrun},
        {"global overrun", "asan", global_overrun},
        {"global underrun", "asan", global_underrun},
        {"misaligned vector", "asan", misaligned_vector},
        {"shared never zeroed", "all", shared_never_zeroed},
        {"global never zeroed", "all", global_never_zeroed},
        {"stack overflow", "all", stack_overflow},
        {"missing syncthreads", wrong_order, missing_syncthreads},
        {"missing second syncthreads", wrong_order, missing_second_syncthreads},
        {"missing syncwarp", wrong_order, missing_syncwarp},
        {"shuffle taken for barrier", "tsan", shuffle_taken_for_barrier},
        {"race in place", wrong_order, race_in_place},
        {"race of blocks", "tsan", race_of_blocks},
        {"race of blocks between barriers", "tsan", race_of_blocks_between_barriers},
        {"histogram without atomics", "tsan", histogram_without_atomics},
        {"cp.async never waited for", "all", copy_through_shared<copy_never_waited_for_kernel>},
        {"others' cp.async not waited for", "reverse random tsan",
         copy_through_shared<copy_of_others_not_waited_for_kernel>},
        {"exit before barrier", "all", exit_before_barrier},
        {"barrier in two places", "all", barrier_in_two_places},
        {"shuffle of half a warp", "all", shuffle_of_half_a_warp},
        {"lane outside its mask", "all", lane_outside_its_mask},
        {"different collectives", "all", different_collectives},
        {"too many threads", "all", refused_launch<1056, 0>},
        {"too much shared memory", "all", refused_launch<64, 60000>},
    };
}
