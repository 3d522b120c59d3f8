// Sums in a fixed order: those of columns (bias gradients), of values and squares (losses, norms), and the count of
// zeros.
#include <algorithm>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;

// ---- columns -----------------------------------------------------------------------------------------------------

constexpr int kMaxBlocks = 1024;  // enough to fill any GPU, few enough that the second stage is short
constexpr int kMinRows = 64;      // a block's fewest

// out[block row][c] (+)= sum of column c of x (N, C) over that block row's `rows` rows. LANES threads side by side, of
// SIZE columns each, go down every (kThreads / LANES)-th row.
template <class T, int SIZE, int LANES>
__global__ void __launch_bounds__(kThreads)
    sum_columns(float* out, const T* x, int64_t N, int64_t C, int64_t rows, bool accumulate) {
    constexpr int ROWS = kThreads / LANES, COLUMNS = LANES * SIZE;
    GPU_SHARED(float, sums, [ROWS][COLUMNS]);
    const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
    const int64_t first_column = int64_t(blockIdx.x) * COLUMNS, column = first_column + lane * SIZE;
    const int64_t first = blockIdx.y * rows, last = first + rows < N ? first + rows : N;

    Floats<SIZE> sum = {};
    if (column < C) {
#pragma unroll 4
        for (int64_t n = first + row; n < last; n += ROWS) {
            add_to(sum, load_slice<SIZE>(x + n * C + column));
        }
    }
#pragma unroll
    for (int k = 0; k < SIZE; k++) sums[row][lane * SIZE + k] = sum.v[k];
    __syncthreads();
    const int c = threadIdx.x;
    if (c < COLUMNS && first_column + c < C) {
        float total = 0;
#pragma unroll
        for (int r = 0; r < ROWS; r++) total += sums[r][c];
        float& to = out[blockIdx.y * C + first_column + c];
        to = accumulate ? to + total : total;
    }
}

template <class T, int SIZE>
void bias_backward_by(float* dbias, const T* dout, int64_t N, int64_t C, bool accumulate) {
    constexpr int LANES = 32, FINAL_LANES = 8;
    const unsigned tiles = gpu::div_ceil(C, LANES * SIZE);
    const int64_t splits = std::max<int64_t>(1, std::min<int64_t>(kMaxBlocks / tiles, N / kMinRows));
    const int64_t rows = gpu::div_ceil(N, splits);
    const unsigned parts = gpu::div_ceil(N, rows);
    if (parts <= 1) {
        gpu::run(sum_columns<T, SIZE, LANES>, tiles, kThreads, 0, dbias, dout, N, C, N, accumulate);
        return;
    }
    float* partials = workspace(parts * C);
    gpu::run(sum_columns<T, SIZE, LANES>, dim3(tiles, parts), kThreads, 0, partials, dout, N, C, rows, false);
    // A block takes few columns here: what takes time is the way down the parts.
    gpu::run(sum_columns<float, 1, FINAL_LANES>, gpu::div_ceil(C, FINAL_LANES), kThreads, 0, dbias, partials,
             int64_t(parts), C, int64_t(parts), accumulate);
}

// ---- whole tensors -----------------------------------------------------------------------------------------------

constexpr int kChunk = 8192;  // elements of a block

// The terms of the sums.
struct Value {
    __device__ double operator()(float x) const { return x; }
};
struct Square {
    __device__ double operator()(float x) const { return double(x) * double(x); }
};
struct IsZero {
    __device__ double operator()(float x) const { return x == 0.0f ? 1.0 : 0.0; }
};

// partials (blocks), x (n)
template <class Term, class T, int SIZE>
__global__ void __launch_bounds__(kThreads) sum_chunk(double* partials, const T* x, int64_t n) {
    const int64_t first = int64_t(blockIdx.x) * kChunk, last = first + kChunk < n ? first + kChunk : n;
    double sum = 0;
#pragma unroll 4
    for (int64_t i = first + int64_t(threadIdx.x) * SIZE; i < last; i += kThreads * SIZE) {
        const Slice<T, SIZE> values = load_slice<SIZE>(x + i);
#pragma unroll
        for (int k = 0; k < SIZE; k++) sum += Term()(values[k]);
    }
    sum = gpu::block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// out (1), partials (chunks)
template <class Out>
__global__ void __launch_bounds__(kThreads)
    sum_partials(Out* out, const double* partials, int64_t chunks, float scale, bool accumulate) {
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < chunks; i += kThreads) sum += partials[i];
    const Out total = Out(scale * gpu::block_sum(sum));
    if (threadIdx.x == 0) *out = accumulate ? *out + total : total;
}

// The chunks' sums, and behind them room for one more number.
struct Partials {
    double* sums;
    int64_t count;
};
template <class Term, class T>
Partials sum_chunks(const T* x, int64_t n) {
    const int64_t chunks = (n + kChunk - 1) / kChunk;
    double* sums = reinterpret_cast<double*>(workspace(2 * (chunks + 1)));
    constexpr int SIZE = kSliceSize<T>;
    const auto kernel = sliceable<SIZE>(n, x) ? sum_chunk<Term, T, SIZE> : sum_chunk<Term, T, 1>;
    if (chunks > 0) gpu::run(kernel, unsigned(chunks), kThreads, 0, sums, x, n);
    return {sums, chunks};
}

template <class Term, class T>
double sum_on_host(const T* x, int64_t n) {
    const Partials partials = sum_chunks<Term>(x, n);
    double* total = partials.sums + partials.count;
    gpu::run(sum_partials<double>, 1, kThreads, 0, total, partials.sums, partials.count, 1.0f, false);
    double result = 0;
    CUDA_CHECK(cudaMemcpyAsync(&result, total, sizeof result, cudaMemcpyDeviceToHost, gpu::stream()));
    CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
    return result;
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

template <class T>
void bias_backward(float* dbias, const T* dout, int64_t N, int64_t C, bool accumulate) {
    constexpr int SIZE = kSliceSize<T>;
    if (sliceable<SIZE>(C, dout))
        bias_backward_by<T, SIZE>(dbias, dout, N, C, accumulate);
    else
        bias_backward_by<T, 1>(dbias, dout, N, C, accumulate);
}

void sum(float* out, const float* x, int64_t n, float scale, bool accumulate) {
    const Partials partials = sum_chunks<Value>(x, n);
    gpu::run(sum_partials<float>, 1, kThreads, 0, out, partials.sums, partials.count, scale, accumulate);
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
    return sum_on_host<Square>(x, n);
}

template <class T>
int64_t count_zeros(const T* x, int64_t n) {
    return int64_t(sum_on_host<IsZero>(x, n));
}

template void bias_backward(float*, const float*, int64_t, int64_t, bool);
template void bias_backward(float*, const bf16*, int64_t, int64_t, bool);
template double sum_of_squares(const float*, int64_t);
template double sum_of_squares(const bf16*, int64_t);
template int64_t count_zeros(const float*, int64_t);
template int64_t count_zeros(const bf16*, int64_t);

}  // namespace kernels::cuda
