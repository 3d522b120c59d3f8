// Causal self-attention: picks tensor-core kernels for bf16 heads of 64 or 128, the plain ones for all else.
// Neither ever holds a (T, T) matrix in memory. All sums are taken in a fixed order.
#include <cmath>
#include <type_traits>

#include "kernels/cuda/attention_flash_backward.cuh"
#include "kernels/cuda/attention_flash_forward.cuh"
#include "kernels/cuda/attention_hopper.h"
#include "kernels/cuda/attention_plain.cuh"
#include "kernels/cuda/cuda.h"

namespace kernels::cuda {
namespace {

// One shape, as the kernels take it.
struct Shape {
    int64_t B;
    int T, NH, HS;
    Shape(int64_t B, int64_t T, int64_t NH, int64_t HS) : B(B), T(int(T)), NH(int(NH)), HS(int(HS)) {
        CHECK(HS <= kMaxHeadSize, "attention: heads of ", HS, " columns; at most ", kMaxHeadSize, " on the GPU");
    }
    float scale() const { return 1.0f / std::sqrt(float(HS)); }
    int padded() const { return int(padded_length(T)); }
    int heads() const { return int(B) * NH; }
    // A block takes `rows` rows of a head.
    dim3 grid(int rows) const { return dim3(gpu::div_ceil(T, rows), unsigned(NH), unsigned(B)); }
};

// Whether the tensor-core kernels can take this: they move 16 bytes at a time.
template <class... Pointers>
bool flash_takes(const Shape& shape, const Pointers*... pointers) {
    return (shape.HS == 64 || shape.HS == 128) && sliceable<kSliceSize<bf16>>(shape.HS, pointers...);
}

// Launches a kernel with so much dynamic shared memory.
template <class... Params, class... Args>
void run_with_shared(void (*kernel)(Params...), dim3 grid, int threads, size_t shared_bytes, Args&&... args) {
    if (shared_bytes > 48 * 1024) gpu::allow_smem(kernel, shared_bytes);
    gpu::run(kernel, grid, threads, shared_bytes, std::forward<Args>(args)...);
}

// Calls f<NC>() with the template argument of the plain kernels that this head size needs.
template <class F>
void with_columns(int HS, const F& f) {
    if (HS <= 32)
        f.template operator()<1>();
    else if (HS <= 64)
        f.template operator()<2>();
    else if (HS <= 128)
        f.template operator()<4>();
    else
        f.template operator()<8>();
}

template <int HS>
void run_flash_forward(bf16* out, float* lse, const bf16* qkv, const Shape& s) {
    run_with_shared(flash_forward<HS>, s.grid(kRows), kThreads<HS>, kForwardShared<HS>, out, lse, qkv, s.T,
                    s.scale() * kLog2e);
}

template <int HS>
void run_flash_backward(bf16* dqkv, const bf16* dout, const bf16* qkv, const QueryStats* stats, const QuerySums& sums,
                        const Shape& s) {
    const unsigned blocks = unsigned(s.heads()) * gpu::div_ceil(s.T, kRows);
    run_with_shared(flash_backward<HS>, blocks, kThreads<HS>, BackwardShared<HS>::kBytes, dqkv, dout, qkv, stats, sums,
                    s.heads(), s.NH, s.T, s.padded(), s.scale());
}

template <class T>
void run_plain_forward(T* out, float* lse, const T* qkv, const Shape& s) {
    with_columns(s.HS, [&]<int NC> {
        run_with_shared(plain_forward<T, NC>, s.grid(kPlainRows<NC> * kPlainWarps), kPlainThreads,
                        plain_shared<NC>(1, s.HS), out, lse, qkv, s.T, s.HS, s.scale());
    });
}

template <class T>
void run_plain_backward(T* dqkv, const T* dout, const T* qkv, const QueryStats* stats, const Shape& s) {
    with_columns(s.HS, [&]<int NC> {
        const dim3 grid = s.grid(kPlainRows<NC> * kPlainWarps);
        const size_t shared_bytes = plain_shared<NC>(2, s.HS);
        run_with_shared(plain_backward_keys<T, NC>, grid, kPlainThreads, shared_bytes, dqkv, dout, qkv, stats, s.T,
                        s.padded(), s.HS, s.scale());
        run_with_shared(plain_backward_queries<T, NC>, grid, kPlainThreads, shared_bytes, dqkv, dout, qkv, stats, s.T,
                        s.padded(), s.HS, s.scale());
    });
}

template <class T, int SIZE>
void run_query_stats(QueryStats* stats, const QuerySums& sums, const T* dout, const T* out, const float* lse,
                     const Shape& s) {
    const int64_t threads = s.B * s.padded() * s.NH * kStatsLanes;
    gpu::run(query_stats<T, SIZE>, gpu::div_ceil(threads, kStatsThreads), kStatsThreads, 0, stats, sums.counters,
             sums.num_counters, dout, out, lse, s.B, s.T, s.padded(), s.NH, s.HS);
}

}  // namespace

template <class T>
void attention_forward(T* out, float* lse, const T* qkv, float*, int64_t B, int64_t seq_len, int64_t NH, int64_t HS,
                       AttentionKernel kernel) {
    const Shape shape(B, seq_len, NH, HS);
    if constexpr (std::is_same_v<T, bf16>)
        if (flash_takes(shape, out, qkv)) {
            if (kernel == AttentionKernel::wgmma) return wgmma_attention_forward(out, lse, qkv, B, seq_len, NH, HS);
            return HS == 64 ? run_flash_forward<64>(out, lse, qkv, shape)
                            : run_flash_forward<128>(out, lse, qkv, shape);
        }
    run_plain_forward(out, lse, qkv, shape);
}

template <class T>
void attention_backward(T* dqkv, const T* dout, const T* out, const float* lse, const T* qkv, float* scratch, int64_t B,
                        int64_t seq_len, int64_t NH, int64_t HS, AttentionKernel kernel) {
    const Shape shape(B, seq_len, NH, HS);
    QueryStats* stats = reinterpret_cast<QueryStats*>(scratch);
    const bool flash = std::is_same_v<T, bf16> && flash_takes(shape, dqkv, dout, qkv, scratch);
    const QuerySums sums = flash ? QuerySums(scratch, shape.heads(), shape.padded(), shape.HS) : QuerySums();
    constexpr int SIZE = kSliceSize<T>;
    if (sliceable<SIZE>(HS, dout, out))
        run_query_stats<T, SIZE>(stats, sums, dout, out, lse, shape);
    else
        run_query_stats<T, 1>(stats, sums, dout, out, lse, shape);
    if constexpr (std::is_same_v<T, bf16>)
        if (flash) {
            if (kernel == AttentionKernel::wgmma)
                return wgmma_attention_backward(dqkv, dout, qkv, scratch, B, seq_len, NH, HS);
            return HS == 64 ? run_flash_backward<64>(dqkv, dout, qkv, stats, sums, shape)
                            : run_flash_backward<128>(dqkv, dout, qkv, stats, sums, shape);
        }
    run_plain_backward(dqkv, dout, qkv, stats, shape);
}

template void attention_forward(float*, float*, const float*, float*, int64_t, int64_t, int64_t, int64_t,
                                AttentionKernel);
template void attention_forward(bf16*, float*, const bf16*, float*, int64_t, int64_t, int64_t, int64_t,
                                AttentionKernel);
template void attention_backward(float*, const float*, const float*, const float*, const float*, float*, int64_t,
                                 int64_t, int64_t, int64_t, AttentionKernel);
template void attention_backward(bf16*, const bf16*, const bf16*, const float*, const bf16*, float*, int64_t, int64_t,
                                 int64_t, int64_t, AttentionKernel);

}  // namespace kernels::cuda
