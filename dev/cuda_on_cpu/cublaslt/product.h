// The arithmetic behind cublaslt.cpp: D = epilogue(alpha op(A) op(B) + beta C), column-major, accumulated in fp32.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <vector>

#include "runtime/tensor.h"

namespace cublaslt {

// ---- what is multiplied ------------------------------------------------------------------------------------------

struct Layout {
    uint32_t type = 0;
    uint64_t rows = 0, cols = 0;
    int64_t ld = 0;
    int32_t order = CUBLASLT_ORDER_COL, batch_count = 1;
    int64_t batch_stride = 0;
};
struct Operation {
    int32_t compute = 0, scale = 0, pointer_mode = CUBLASLT_POINTER_MODE_HOST;
    int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    int32_t bias_type = -1, aux_type = -1;
    void *bias = nullptr, *aux = nullptr;
    int64_t aux_ld = 0;
};
struct Algorithm {  // within a cublasLtMatmulAlgo_t
    static constexpr uint32_t kMagic = 0x414C474Fu;
    uint32_t magic = kMagic, reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    uint64_t problem = 0;  // hash of the descriptors it is for
    uint64_t workspace_bytes = 0;
    uint32_t alignment[6] = {};  // of A, B, C, D, bias, aux
};

inline size_t type_bytes(uint32_t type) { return type == CUDA_R_32F ? 4 : 2; }
inline bool has_bias(const Operation& op) {
    return op.epilogue == CUBLASLT_EPILOGUE_BIAS || op.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
}
inline bool has_aux(const Operation& op) {
    return op.epilogue == CUBLASLT_EPILOGUE_GELU_AUX || op.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS ||
           op.epilogue == CUBLASLT_EPILOGUE_DGELU || op.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD;
}
// Does it write the sums of D's rows, in D's type, where other epilogues read a bias?
inline bool gives_sums(const Operation& op) { return op.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD; }

struct Problem {
    Operation op;
    Layout a, b, c, d;
    int64_t m() const { return int64_t(d.rows); }
    int64_t n() const { return int64_t(d.cols); }
    int64_t k() const { return int64_t(op.transpose_a == CUBLAS_OP_N ? a.cols : a.rows); }

    // A hash of everything but the pointers.
    uint64_t hash() const {
        uint64_t h = 0xCBF29CE484222325u;
        const auto mix = [&](std::initializer_list<int64_t> values) {
            for (const int64_t v : values) h = ((h ^ uint64_t(v)) * 0x100000001B3u) ^ (h >> 31);
        };
        mix({op.compute, op.scale, op.transpose_a, op.transpose_b, op.epilogue, op.bias_type, op.aux_type, op.aux_ld});
        for (const Layout& l : {a, b, c, d})
            mix({l.type, int64_t(l.rows), int64_t(l.cols), l.ld, l.batch_count, l.batch_stride});
        return h;
    }
};

// ---- arithmetic --------------------------------------------------------------------------------------------------

inline float get(const void* data, uint32_t type, int64_t i) {
    return type == CUDA_R_32F ? static_cast<const float*>(data)[i] : float(static_cast<const bf16*>(data)[i]);
}
inline void put(void* data, uint32_t type, int64_t i, float value) {
    if (type == CUDA_R_32F)
        static_cast<float*>(data)[i] = value;
    else
        static_cast<bf16*>(data)[i] = bf16(value);
}

inline constexpr float kRootTwoOverPi = 0.7978845608028654f, kCubic = 0.044715f;
inline float gelu(float x) { return 0.5f * x * (1 + std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x))); }
inline float gelu_derivative(float x) {
    const float t = std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x));
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kRootTwoOverPi * (1 + 3 * kCubic * x * x);
}

// One tile is TILE_M x TILE_N results: one vector register of rows for each column.
inline constexpr int64_t TILE_M = 16, TILE_N = 6;
using Vector = float __attribute__((vector_size(TILE_M * sizeof(float))));

// From about so many elements to move or products to add on, threads pay.
inline constexpr int64_t kManyElements = int64_t(1) << 15, kManyProducts = int64_t(1) << 18;

// Panels of `WIDTH` rows (of A) or columns (of B) with k running slowest, padded with zeros, as floats.
template <int64_t WIDTH, class T>
std::vector<float> pack(const T* from, int64_t count, int64_t stride, int64_t depth, int64_t depth_stride) {
    const int64_t panels = (count + WIDTH - 1) / WIDTH;
    std::vector<float> packed(size_t(panels * WIDTH * depth));
#pragma omp parallel for schedule(static) if (count * depth > kManyElements)
    for (int64_t panel = 0; panel < panels; panel++) {
        const int64_t first = panel * WIDTH, used = std::min(WIDTH, count - first);
        float* to = packed.data() + first * depth;
        for (int64_t k = 0; k < depth; k++)
            for (int64_t i = 0; i < used; i++) to[k * WIDTH + i] = float(from[(first + i) * stride + k * depth_stride]);
    }
    return packed;
}

// (TILE_N, TILE_M) sums over k of two panels.
inline void multiply_tile(float* sums, const float* a, const float* b, int64_t depth) {
    Vector acc[TILE_N] = {};
    for (int64_t k = 0; k < depth; k++) {
        Vector column;
        std::memcpy(&column, a + k * TILE_M, sizeof(column));
#pragma GCC unroll 6
        for (int64_t j = 0; j < TILE_N; j++) acc[j] += column * b[k * TILE_N + j];
    }
    std::memcpy(sums, acc, sizeof(acc));
}

// A sum is cut into three parts, so that their order shows in it.
inline constexpr int64_t kParts = 3;

// All that one call needs once its turn on the stream has come.
struct Product {
    Problem p;
    const char *a, *b, *c;
    char* d;
    float alpha, beta;
    Algorithm algorithm;
    float* workspace;

    // One element of the result from its sum over k.
    void finish(const void* c_matrix, void* d_matrix, int64_t i, int64_t j, float sum) const {
        const uint32_t type = p.d.type;
        float value = alpha * sum;
        if (beta != 0) value += beta * get(c_matrix, type, j * p.c.ld + i);
        if (has_bias(p.op)) value += get(p.op.bias, type, i);
        if (p.op.epilogue == CUBLASLT_EPILOGUE_GELU_AUX || p.op.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
            put(p.op.aux, type, j * p.op.aux_ld + i, value);
            value = gelu(value);
        }
        if (p.op.epilogue == CUBLASLT_EPILOGUE_DGELU || p.op.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
            value *= gelu_derivative(get(p.op.aux, type, j * p.op.aux_ld + i));
        put(d_matrix, type, j * p.d.ld + i, value);
    }

    // Calls store(i, j, sum) for every element, with its sum over [k_begin, k_end) of the packed operands.
    template <class Store>
    void multiply(const std::vector<float>& panels_a, const std::vector<float>& panels_b, int64_t k_begin,
                  int64_t k_end, const Store& store) const {
        const int64_t m = p.m(), n = p.n(), k = p.k();
#pragma omp parallel for collapse(2) schedule(static) if (m * n * (k_end - k_begin) > kManyProducts)
        for (int64_t i0 = 0; i0 < m; i0 += TILE_M)
            for (int64_t j0 = 0; j0 < n; j0 += TILE_N) {
                float sums[TILE_N * TILE_M];
                multiply_tile(sums, panels_a.data() + i0 * k + k_begin * TILE_M,
                              panels_b.data() + j0 * k + k_begin * TILE_N, k_end - k_begin);
                for (int64_t j = j0; j < std::min(j0 + TILE_N, n); j++)
                    for (int64_t i = i0; i < std::min(i0 + TILE_M, m); i++)
                        store(i, j, sums[(j - j0) * TILE_M + i - i0]);
            }
    }

    template <class T>
    void run_one(const T* a_matrix, const T* b_matrix, const void* c_matrix, void* d_matrix) const {
        const int64_t m = p.m(), n = p.n(), k = p.k();
        const bool ta = p.op.transpose_a == CUBLAS_OP_T, tb = p.op.transpose_b == CUBLAS_OP_T;
        const std::vector<float> panels_a = pack<TILE_M>(a_matrix, m, ta ? p.a.ld : 1, k, ta ? 1 : p.a.ld);
        const std::vector<float> panels_b = pack<TILE_N>(b_matrix, n, tb ? 1 : p.b.ld, k, tb ? p.b.ld : 1);
        if (algorithm.reduction == CUBLASLT_REDUCTION_SCHEME_NONE) {
            multiply(panels_a, panels_b, 0, k,
                     [&](int64_t i, int64_t j, float sum) { finish(c_matrix, d_matrix, i, j, sum); });
            return;
        }
        for (int64_t part = 0; part < kParts; part++)
            multiply(panels_a, panels_b, part * k / kParts, (part + 1) * k / kParts,
                     [&](int64_t i, int64_t j, float sum) { workspace[(part * n + j) * m + i] = sum; });
        static std::atomic<int64_t> calls = 0;
        const int64_t first = algorithm.reduction == CUBLASLT_REDUCTION_SCHEME_INPLACE ? calls++ : 0;
        const bool round = algorithm.reduction != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE && p.d.type == CUDA_R_16BF;
#pragma omp parallel for schedule(static) if (m * n > kManyElements)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) {
                float sum = 0;
                for (int64_t part = 0; part < kParts; part++) {
                    const float term = workspace[((first + part) % kParts * n + j) * m + i];
                    sum += round ? float(bf16(term)) : term;
                }
                finish(c_matrix, d_matrix, i, j, sum);
            }
    }

    void sum_rows() const {
        for (int64_t i = 0; i < p.m(); i++) {
            float sum = 0;
            for (int64_t j = 0; j < p.n(); j++) sum += get(d, p.d.type, j * p.d.ld + i);
            put(p.op.bias, p.d.type, i, sum);
        }
    }

    void run() const {
        const auto scribble = [&] {
            std::fill_n(workspace, algorithm.workspace_bytes / sizeof(float), std::numeric_limits<float>::quiet_NaN());
        };
        scribble();
        for (int64_t batch = 0; batch < p.d.batch_count; batch++) {
            const auto offset = [&](const Layout& l) { return size_t(batch * l.batch_stride) * type_bytes(l.type); };
            const char *const at_a = a + offset(p.a), *const at_b = b + offset(p.b), *const at_c = c + offset(p.c);
            char* const at_d = d + offset(p.d);
            if (p.a.type == CUDA_R_32F)
                run_one(reinterpret_cast<const float*>(at_a), reinterpret_cast<const float*>(at_b), at_c, at_d);
            else
                run_one(reinterpret_cast<const bf16*>(at_a), reinterpret_cast<const bf16*>(at_b), at_c, at_d);
        }
        if (gives_sums(p.op)) sum_rows();
        scribble();
    }
};

}  // namespace cublaslt
