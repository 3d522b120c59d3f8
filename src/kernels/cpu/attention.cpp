// Causal self-attention on the CPU: each thread takes whole heads, block of queries by block of queries, in fp32.
// Small products go to oneDNN's sgemm, which runs on the calling thread inside a parallel region.
#include <dnnl.h>
#include <omp.h>

#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {
namespace {

constexpr int64_t kQueryBlock = 64;

void sgemm(char ta, char tb, int64_t M, int64_t N, int64_t K, float alpha, const float* a, int64_t lda, const float* b,
           int64_t ldb, float beta, float* c, int64_t ldc) {
    CHECK(dnnl_sgemm(ta, tb, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc) == dnnl_success, "oneDNN sgemm failed for (",
          M, ", ", K, ") x (", K, ", ", N, ")");
}

// Copies one head's (T, HS) columns out of rows of length ld into contiguous floats, and back.
template <class T>
void gather(float* to, const T* from, int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t t = 0; t < rows; t++)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) to[t * cols + c] = float(from[t * ld + c]);
}
template <class T>
void scatter(T* to, const float* from, int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t t = 0; t < rows; t++)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) store(to[t * ld + c], from[t * cols + c]);
}

// Floats of scratch that one thread needs: q, k, v, o, do, dq, dk, dv and two blocks of scores.
int64_t thread_scratch(int64_t T, int64_t HS) { return 8 * T * HS + 2 * kQueryBlock * T; }

}  // namespace

int64_t attention_scratch_floats(int64_t T, int64_t head_size) {
    return omp_get_max_threads() * thread_scratch(T, head_size);
}

template <class T>
void attention_forward(T* out, float* lse, const T* qkv, float* scratch, int64_t B, int64_t Tn, int64_t NH, int64_t HS,
                       AttentionKernel) {
    const int64_t C = NH * HS;
    const float scale = 1.0f / std::sqrt(float(HS));
#pragma omp parallel for schedule(static)
    for (int64_t bh = 0; bh < B * NH; bh++) {
        const int64_t b = bh / NH, h = bh % NH;
        float* q = scratch + omp_get_thread_num() * thread_scratch(Tn, HS);
        float *k = q + Tn * HS, *v = k + Tn * HS, *o = v + Tn * HS, *scores = o + Tn * HS;
        const T* rows = qkv + b * Tn * 3 * C + h * HS;
        gather(q, rows, Tn, HS, 3 * C);
        gather(k, rows + C, Tn, HS, 3 * C);
        gather(v, rows + 2 * C, Tn, HS, 3 * C);
        for (int64_t first = 0; first < Tn; first += kQueryBlock) {
            const int64_t count = std::min(kQueryBlock, Tn - first), keys = first + count;
            sgemm('N', 'T', count, keys, HS, scale, q + first * HS, HS, k, HS, 0.0f, scores, keys);
            for (int64_t i = 0; i < count; i++) {
                float* row = scores + i * keys;
                const int64_t visible = first + i + 1;
                float max = row[0];
#pragma omp simd reduction(max : max)
                for (int64_t j = 0; j < visible; j++) max = row[j] > max ? row[j] : max;  // std::max stays scalar
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < visible; j++) {
                    row[j] = vexp(row[j] - max);
                    sum += row[j];
                }
                const float inverse = 1.0f / sum;
#pragma omp simd
                for (int64_t j = 0; j < visible; j++) row[j] *= inverse;
                for (int64_t j = visible; j < keys; j++) row[j] = 0;
                lse[bh * Tn + first + i] = max + std::log(sum);
            }
            sgemm('N', 'N', count, HS, keys, 1.0f, scores, keys, v, HS, 0.0f, o + first * HS, HS);
        }
        scatter(out + b * Tn * C + h * HS, o, Tn, HS, C);
    }
}

template <class T>
void attention_backward(T* dqkv, const T* dout, const T* out, const float* lse, const T* qkv, float* scratch, int64_t B,
                        int64_t Tn, int64_t NH, int64_t HS, AttentionKernel) {
    const int64_t C = NH * HS;
    const float scale = 1.0f / std::sqrt(float(HS));
#pragma omp parallel for schedule(static)
    for (int64_t bh = 0; bh < B * NH; bh++) {
        const int64_t b = bh / NH, h = bh % NH;
        float* q = scratch + omp_get_thread_num() * thread_scratch(Tn, HS);
        float *k = q + Tn * HS, *v = k + Tn * HS, *o = v + Tn * HS, *d_o = o + Tn * HS;
        float *dq = d_o + Tn * HS, *dk = dq + Tn * HS, *dv = dk + Tn * HS, *p = dv + Tn * HS,
              *dp = p + kQueryBlock * Tn;
        const T* rows = qkv + b * Tn * 3 * C + h * HS;
        gather(q, rows, Tn, HS, 3 * C);
        gather(k, rows + C, Tn, HS, 3 * C);
        gather(v, rows + 2 * C, Tn, HS, 3 * C);
        gather(o, out + b * Tn * C + h * HS, Tn, HS, C);
        gather(d_o, dout + b * Tn * C + h * HS, Tn, HS, C);
        std::fill(dk, dk + 2 * Tn * HS, 0.0f);
        for (int64_t first = 0; first < Tn; first += kQueryBlock) {
            const int64_t count = std::min(kQueryBlock, Tn - first), keys = first + count;
            sgemm('N', 'T', count, keys, HS, scale, q + first * HS, HS, k, HS, 0.0f, p, keys);
            sgemm('N', 'T', count, keys, HS, 1.0f, d_o + first * HS, HS, v, HS, 0.0f, dp, keys);
            for (int64_t i = 0; i < count; i++) {
                const int64_t t = first + i, visible = t + 1;
                float *p_row = p + i * keys, *dp_row = dp + i * keys;
                float dot = 0;  // sum over the head of do * o = sum over keys of p * dp
#pragma omp simd reduction(+ : dot)
                for (int64_t c = 0; c < HS; c++) dot += d_o[t * HS + c] * o[t * HS + c];
                const float row_lse = lse[bh * Tn + t];
#pragma omp simd
                for (int64_t j = 0; j < visible; j++) {
                    p_row[j] = vexp(p_row[j] - row_lse);
                    dp_row[j] = p_row[j] * (dp_row[j] - dot) * scale;
                }
                for (int64_t j = visible; j < keys; j++) p_row[j] = dp_row[j] = 0;
            }
            sgemm('N', 'N', count, HS, keys, 1.0f, dp, keys, k, HS, 0.0f, dq + first * HS, HS);
            sgemm('T', 'N', keys, HS, count, 1.0f, dp, keys, q + first * HS, HS, 1.0f, dk, HS);
            sgemm('T', 'N', keys, HS, count, 1.0f, p, keys, d_o + first * HS, HS, 1.0f, dv, HS);
        }
        T* to = dqkv + b * Tn * 3 * C + h * HS;
        scatter(to, dq, Tn, HS, 3 * C);
        scatter(to + C, dk, Tn, HS, 3 * C);
        scatter(to + 2 * C, dv, Tn, HS, 3 * C);
    }
}

template void attention_forward(float*, float*, const float*, float*, int64_t, int64_t, int64_t, int64_t,
                                AttentionKernel);
template void attention_forward(bf16*, float*, const bf16*, float*, int64_t, int64_t, int64_t, int64_t,
                                AttentionKernel);
template void attention_backward(float*, const float*, const float*, const float*, const float*, float*, int64_t,
                                 int64_t, int64_t, int64_t, AttentionKernel);
template void attention_backward(bf16*, const bf16*, const bf16*, const float*, const bf16*, float*, int64_t, int64_t,
                                 int64_t, int64_t, AttentionKernel);

}  // namespace kernels::cpu
