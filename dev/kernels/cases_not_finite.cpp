// Cases with operands that are not finite: a NaN has to come out as a NaN, so that an update that met one is skipped.
#include <algorithm>
#include <cmath>

#include "dev/kernels/cases.h"

namespace registry {

namespace {

std::vector<float> numbers(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = float(i * 7919 % 101 - 50) * 0.04f;
    return values;
}

void add_attention(Cases& all, DType type, kernels::AttentionKernel kernel) {
    constexpr int64_t T = 130, NH = 2, HS = 64, C = NH * HS;
    all.push_back(
        {"attention_forward", str(dtype_name(type), "_1x", T, "x", NH, "x", HS, "_not_finite", suffix(kernel)),
         2 * tolerance(type), [=](Memory& m) -> Run {
             std::vector<float> values = numbers(T * 3 * C);
             values[70 * 3 * C + 3] = NAN;            // in q: spoils one row
             values[100 * 3 * C + C + HS + 9] = NAN;  // in k of the other head: spoils all rows from this one on
             const kernels::Attention a{
                 .B = 1,
                 .T = T,
                 .NH = NH,
                 .kernel = kernel,
                 .qkv = m.values(T, 3 * C, type, values),
                 .out = m.output(T, C, type),
                 .lse = m.output(1, T * NH, DType::f32),
                 .scratch = m.scratch(1, kernels::attention_scratch_floats(m.device(), 1, T, NH, HS), DType::f32)};
             return [=] { kernels::attention_forward(a); };
         }});
}

}  // namespace

void add_not_finite(Cases& all) {
    for (const DType type : kTypes) {
        constexpr int64_t N = 5, V = 257, Vp = 320;
        all.push_back({"cross_entropy", label(type, N, Vp) + "_not_finite", 2 * tolerance(type), [=](Memory& m) -> Run {
                           std::vector<float> values = numbers(N * Vp);
                           const auto row = [&](int64_t n) { return values.begin() + n * Vp; };
                           row(0)[5] = NAN;
                           row(1)[256] = INFINITY;
                           std::fill(row(2), row(2) + V, NAN);
                           std::fill(row(3), row(3) + V, -INFINITY);
                           std::fill(row(4) + V, row(4) + Vp, NAN);  // padding, which must not matter
                           const kernels::CrossEntropy a{.losses = m.output(1, N, DType::f32),
                                                         .logits = m.values(N, Vp, type, values),
                                                         .dlogits = m.output(N, Vp, type),
                                                         .targets = m.ids(N, V).get<int32_t>(),
                                                         .V = V};
                           return [=] { kernels::cross_entropy(a); };
                       }});
        add_attention(all, type, kernels::AttentionKernel::automatic);
    }
    if (has_wgmma()) add_attention(all, DType::bf16, kernels::AttentionKernel::wgmma);
}

}  // namespace registry
