// Sums of columns (bias gradients), values (losses) and squares (norms), and the count of zeros.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {
namespace {

// Elements whose squares are summed as one, whatever the number of threads.
constexpr int64_t kChunk = 1 << 14;
// Columns whose sums a thread holds at a time: 4 KiB, in L1.
constexpr int64_t kColumns = 1024;
struct SquaresScratch;

template <class T>
double chunk_squares(const T* x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += double(float(x[i])) * double(float(x[i]));
    return sum;
}

}  // namespace

template <class T>
void bias_backward(float* dbias, const T* dout, int64_t N, int64_t C, bool accumulate) {
#pragma omp parallel if (N * C >= kParallelMin)
    {
        const Range columns = part_of(C, omp_get_thread_num(), omp_get_num_threads(), 16);
        for (int64_t first = columns.first; first < columns.last; first += kColumns) {
            const int64_t count = std::min(kColumns, columns.last - first);
            float sum[kColumns] = {};
            int64_t n = 0;
            for (; n + 4 <= N; n += 4) {  // four rows for one trip of the sums through L1
                const T* r0 = dout + n * C + first;
                const T *r1 = r0 + C, *r2 = r1 + C, *r3 = r2 + C;
#pragma omp simd
                for (int64_t c = 0; c < count; c++)
                    sum[c] += (float(r0[c]) + float(r1[c])) + (float(r2[c]) + float(r3[c]));
            }
            for (; n < N; n++) {
                const T* row = dout + n * C + first;
#pragma omp simd
                for (int64_t c = 0; c < count; c++) sum[c] += float(row[c]);
            }
            for (int64_t c = 0; c < count; c++) dbias[first + c] = accumulate ? dbias[first + c] + sum[c] : sum[c];
        }
    }
}

// One thread is enough: what the model sums up are a micro-batch's losses, one a row.
void sum(float* out, const float* x, int64_t n, float scale, bool accumulate) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) total += x[i];
    *out = float((accumulate ? double(*out) : 0.0) + double(scale) * total);
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
    const int64_t chunks = (n + kChunk - 1) / kChunk;
    double* sums = thread_memory<double, SquaresScratch>(size_t(chunks));
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t i = 0; i < chunks; i++) sums[i] = chunk_squares(x + i * kChunk, std::min(kChunk, n - i * kChunk));
    double total = 0;
    for (int64_t i = 0; i < chunks; i++) total += sums[i];
    return total;
}

template <class T>
int64_t count_zeros(const T* x, int64_t n) {
    int64_t zeros = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : zeros) if (n >= kParallelMin)
    for (int64_t i = 0; i < n; i++) zeros += float(x[i]) == 0.0f ? 1 : 0;
    return zeros;
}

template void bias_backward(float*, const float*, int64_t, int64_t, bool);
template void bias_backward(float*, const bf16*, int64_t, int64_t, bool);
template double sum_of_squares(const float*, int64_t);
template double sum_of_squares(const bf16*, int64_t);
template int64_t count_zeros(const float*, int64_t);
template int64_t count_zeros(const bf16*, int64_t);

}  // namespace kernels::cpu
