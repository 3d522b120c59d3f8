// Token and position embedding, forward and backward. The backward is deterministic without sorting: the first row that
// holds a token adds up all rows that do, in order.
#include "cuda.h"
#include "gpu.cuh"

namespace kernels::cuda {
namespace {

constexpr int THREADS = 256;

template <class T>
__global__ void __launch_bounds__(THREADS) forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t total,
                                                   int64_t seq_len, int64_t C) {
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= total) return;
    const int64_t n = i / C, c = i % C;
    out[i] = gpu::from_float<T>(gpu::to_float(wte[tokens[n] * C + c]) + gpu::to_float(wpe[n % seq_len * C + c]));
}

// first[token] = the first row that holds it, for tokens that occur.
__global__ void __launch_bounds__(THREADS) clear_first(int32_t* first, const int32_t* tokens, int64_t N) {
    const int64_t n = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (n < N) atomicExch(&first[tokens[n]], INT32_MAX);
}
__global__ void __launch_bounds__(THREADS) find_first(int32_t* first, const int32_t* tokens, int64_t N) {
    const int64_t n = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (n < N) atomicMin(&first[tokens[n]], int32_t(n));
}

// One block for each row and THREADS columns; the blocks of rows that repeat a token leave at once.
template <class T>
__global__ void __launch_bounds__(THREADS) add_tokens(float* dwte, const T* dout, const int32_t* tokens, const int32_t* first,
                                                      int64_t N, int64_t C) {
    GPU_SHARED(int32_t, window, [THREADS]);
    const int64_t row = blockIdx.x, c = int64_t(blockIdx.y) * THREADS + threadIdx.x;
    const int32_t token = tokens[row];
    if (first[token] != row) return;
    float sum = c < C ? dwte[token * C + c] : 0.0f;
    for (int64_t start = row; start < N; start += THREADS) {
        const int64_t n = start + threadIdx.x;
        const int found = n < N && tokens[n] == token;
        window[threadIdx.x] = found;
        if (__syncthreads_or(found) && c < C)
            for (int k = 0; k < THREADS; k++)
                if (window[k]) sum += gpu::to_float(dout[(start + k) * C + c]);
        __syncthreads();  // before the window moves on
    }
    if (c < C) dwte[token * C + c] = sum;
}

template <class T>
__global__ void __launch_bounds__(THREADS) add_positions(float* dwpe, const T* dout, int64_t total, int64_t N, int64_t seq_len,
                                                         int64_t C, bool accumulate) {
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= total) return;
    const int64_t t = i / C, c = i % C;
    float sum = 0;
    if (t < seq_len)
        for (int64_t n = t; n < N; n += seq_len) sum += gpu::to_float(dout[n * C + c]);
    if (accumulate)
        dwpe[i] += sum;
    else
        dwpe[i] = sum;
}

}  // namespace

template <class T>
void embedding_forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len, int64_t C) {
    gpu::run(forward<T>, gpu::div_ceil(N * C, THREADS), THREADS, 0, out, tokens, wte, wpe, N * C, seq_len, C);
}

template <class T>
void embedding_backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
                        int64_t seq_len, int64_t C, bool accumulate) {
    // Tokens are below 65536 and its padding: the whole workspace has room for more.
    int32_t* first = reinterpret_cast<int32_t*>(workspace(kWorkspaceFloats));
    gpu::run(clear_first, gpu::div_ceil(N, THREADS), THREADS, 0, first, tokens, N);
    gpu::run(find_first, gpu::div_ceil(N, THREADS), THREADS, 0, first, tokens, N);
    gpu::run(add_tokens<T>, dim3(unsigned(N), gpu::div_ceil(C, THREADS)), THREADS, 0, dwte, dout, tokens, first, N, C);
    const int64_t rows = accumulate ? seq_len : positions;  // rows behind the sequence are zeroed, or left alone
    gpu::run(add_positions<T>, gpu::div_ceil(rows * C, THREADS), THREADS, 0, dwpe, dout, rows * C, N, seq_len, C, accumulate);
}

template void embedding_forward(float*, const int32_t*, const float*, const float*, int64_t, int64_t, int64_t);
template void embedding_forward(bf16*, const int32_t*, const bf16*, const bf16*, int64_t, int64_t, int64_t);
template void embedding_backward(float*, float*, int64_t, const float*, const int32_t*, int64_t, int64_t, int64_t, bool);
template void embedding_backward(float*, float*, int64_t, const bf16*, const int32_t*, int64_t, int64_t, int64_t, bool);

}  // namespace kernels::cuda
