// Cases of matrix products.
#include <array>

#include "dev/kernels/cases.h"

namespace registry {

void add_matmul(Cases& all) {
    struct Size {
        int64_t M, N, K;
    };
    for (const DType type : kTypes)
        for (const auto [M, N, K] : {Size{1, 1, 1}, Size{5, 7, 3}, Size{64, 96, 32}, Size{33, 130, 71}})
            for (const int transposes : {0, 1, 2, 3})
                for (const int variant : {0, 1, 2, 3, 4, 5}) {  // alpha, bias, accumulate, fp32 slice, residual, both
                    const bool ta = transposes & 1, tb = transposes & 2;
                    const std::string shape =
                        str(dtype_name(type), "_", M, "x", N, "x", K, ta ? "_ta" : "", tb ? "_tb" : "", "_", variant);
                    all.push_back({"matmul", shape, 4 * tolerance(type), [=](Memory& m) -> Run {
                                       kernels::Matmul a{.transpose_a = ta, .transpose_b = tb};
                                       a.a = m.random(ta ? K : M, ta ? M : K, type);
                                       a.b = m.random(tb ? N : K, tb ? K : N, type);
                                       a.c = variant == 2   ? m.random(M, N, type)
                                             : variant == 3 ? m.random(M, N + 5, DType::f32).col_range(3, N)
                                                            : m.output(M, N, type);
                                       if (variant == 1 || variant == 5) a.bias = m.random(1, N, type);
                                       if (variant >= 4) a.residual = m.random(M, N, type);
                                       if (variant == 0) a.alpha = 0.5f;
                                       if (variant == 2) a.accumulate = true;
                                       return [=] { kernels::matmul(a); };
                                   }});
                }
    // Operands side by side in the rows of wider matrices, as the adapters of q, k and v: x A^T B^T, dY B, dY^T u, B A.
    for (const DType type : kTypes)
        for (const auto [M, N, K] : {Size{5, 7, 3}, Size{33, 40, 24}})
            for (const int transposes : {0, 1, 2})
                for (const bool accumulate : {false, true}) {
                    const bool ta = transposes == 1, tb = transposes == 2;
                    const std::string shape = str(dtype_name(type), "_", M, "x", N, "x", K, ta ? "_ta" : "",
                                                  tb ? "_tb" : "", accumulate ? "_added" : "", "_batch");
                    all.push_back({"matmul", shape, 4 * tolerance(type), [=](Memory& m) -> Run {
                                       constexpr int64_t kCount = 3;
                                       kernels::Matmul a{.transpose_a = ta,
                                                         .transpose_b = tb,
                                                         .alpha = accumulate ? 1.0f : 0.5f,
                                                         .accumulate = accumulate};
                                       const int64_t a_cols = ta ? M : K, b_rows = tb ? N : K, b_cols = tb ? K : N;
                                       a.a = m.random(ta ? K : M, kCount * a_cols, type).col_range(0, a_cols);
                                       a.b = m.random(kCount * b_rows, b_cols, type).row_range(0, b_rows);
                                       a.c = ta ? m.random(kCount * M, N, DType::f32).row_range(0, M)
                                                : m.random(M, kCount * N, type).col_range(0, N);
                                       a.batch = {
                                           .count = kCount, .a = a_cols, .b = b_rows * b_cols, .c = ta ? M * N : N};
                                       return [=] { kernels::matmul(a); };
                                   }});
                }
    // The MLP's products: forward with and without bias, the gradient of its input.
    for (const DType type : kTypes)
        for (const auto [M, N, K] : {Size{1, 1, 1}, Size{5, 7, 3}, Size{1, 8, 8}, Size{64, 96, 32}, Size{33, 136, 71}})
            for (const int variant : {0, 1, 2, 3, 4}) {
                const bool forward = variant < 2;
                const std::string shape = str(dtype_name(type), "_", M, "x", N, "x", K,
                                              std::array{"_gelu", "_gelu_bias", "_gelu_backward", "_gelu_backward_sums",
                                                         "_gelu_backward_sums_added"}[size_t(variant)]);
                all.push_back({"matmul", shape, 4 * tolerance(type), [=](Memory& m) -> Run {
                                   kernels::Matmul a{.transpose_b = forward};
                                   a.epilogue = forward ? kernels::Epilogue::gelu : kernels::Epilogue::gelu_backward;
                                   a.a = m.random(M, K, type);
                                   a.b = forward ? m.random(N, K, type) : m.random(K, N, type);
                                   a.c = m.output(M, N, type);
                                   a.aux = forward ? m.output(M, N, type) : m.random(M, N, type);
                                   if (variant == 1) a.bias = m.random(1, N, type);
                                   a.accumulate_sums = variant == 4;
                                   if (variant == 3) a.column_sums = m.output(1, N, DType::f32);
                                   if (variant == 4) a.column_sums = m.random(1, N, DType::f32);
                                   return [=] { kernels::matmul(a); };
                               }});
            }
}

// B and A are small integers and the scale a power of 2, so that every sum of products is exact in whatever order, and
// results are the same to the bit.
void add_low_rank_sums(Cases& all) {
    const auto integers = [](int64_t n, int64_t step) {
        std::vector<float> values;
        for (int64_t i = 0; i < n; i++) values.push_back(float(i * step % 17 - 8));
        return values;
    };
    struct Size {
        int64_t m, k, r;
    };
    for (const auto [m, k, r] :
         {Size{1, 8, 8}, Size{5, 7, 3}, Size{33, 40, 24}, Size{130, 136, 40}, Size{257, 264, 136}})
        for (const int sections : {1, 3})
            all.push_back({"add_low_rank", str("bf16_", m, "x", k, "x", r, sections > 1 ? "_batch" : ""), 0,
                           [=](Memory& memory) -> Run {
                               const int64_t rows = sections * m, stacked = sections * r;
                               const kernels::LowRankSum sum{
                                   .out = memory.output(rows, k, DType::bf16),
                                   .w = memory.random(rows, k, DType::bf16, 0.02),
                                   .B = memory.values(rows, r, DType::bf16, integers(rows * r, 7919)),
                                   .A = memory.values(stacked, k, DType::bf16, integers(stacked * k, 104729)),
                                   .scratch = memory.scratch(rows, k, DType::f32),
                                   .sections = sections,
                                   .scale = 1.0f / 1048576,
                                   .stream = {7, rng::Purpose::dither, 3, 0}};
                               return [=] { kernels::add_low_rank(sum); };
                           }});
}

}  // namespace registry
