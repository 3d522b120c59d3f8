// Token plus position embedding, and its gradient.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {

template <class T>
void embedding_forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len,
                       int64_t C) {
#pragma omp parallel for schedule(static) if (N * C >= kParallelMin)
    for (int64_t n = 0; n < N; n++) {
        const T* token = wte + tokens[n] * C;
        const T* position = wpe + n % seq_len * C;
        T* to = out + n * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) store(to[c], float(token[c]) + float(position[c]));
    }
}

template <class T>
void embedding_backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
                        int64_t seq_len, int64_t C, bool accumulate) {
    // Threads own columns, not rows: a token that occurs twice is then added in order without any locking.
#pragma omp parallel if (N * C >= kParallelMin)
    {
        const Range columns = part_of(C, omp_get_thread_num(), omp_get_num_threads(), 16);
        if (!accumulate)
            for (int64_t t = 0; t < positions; t++)
                std::fill(dwpe + t * C + columns.first, dwpe + t * C + columns.last, 0.0f);
        for (int64_t n = 0; n < N; n++) {
            const T* from = dout + n * C;
            float* token = dwte + tokens[n] * C;
            float* position = dwpe + n % seq_len * C;
#pragma omp simd
            for (int64_t c = columns.first; c < columns.last; c++) {
                const float gradient = float(from[c]);
                token[c] += gradient;
                position[c] += gradient;
            }
        }
    }
}

template void embedding_forward(float*, const int32_t*, const float*, const float*, int64_t, int64_t, int64_t);
template void embedding_forward(bf16*, const int32_t*, const bf16*, const bf16*, int64_t, int64_t, int64_t);
template void embedding_backward(float*, float*, int64_t, const float*, const int32_t*, int64_t, int64_t, int64_t,
                                 bool);
template void embedding_backward(float*, float*, int64_t, const bf16*, const int32_t*, int64_t, int64_t, int64_t, bool);

}  // namespace kernels::cpu
