// Cases of the ops that go by rows: layer norm, embedding, the loss, and sampling.
#include <array>
#include <cmath>

#include "dev/kernels/cases.h"

namespace registry {

void add_rows(Cases& all) {
    std::vector<Shape> layernorm_shapes(std::begin(kShapes), std::end(kShapes));
    layernorm_shapes.insert(layernorm_shapes.end(), {{3, 4096}, {2, 8192}});  // more warps to a row
    for (const DType type : kTypes)
        for (const auto [N, C] : layernorm_shapes) {
            all.push_back({"layernorm_forward", label(type, N, C), 4 * tolerance(type), [=](Memory& m) -> Run {
                               const kernels::LayerNormForward a{.out = m.output(N, C, type),
                                                                 .mean = m.output(1, N, DType::f32),
                                                                 .rstd = m.output(1, N, DType::f32),
                                                                 .x = m.random(N, C, type),
                                                                 .weight = m.random(1, C, type),
                                                                 .bias = m.random(1, C, type)};
                               return [=] { kernels::layernorm_forward(a); };
                           }});
            for (const int variant : {0, 1, 2}) {
                const bool accumulate = variant == 1;
                all.push_back({"layernorm_backward",
                               label(type, N, C) + std::array{"", "_accumulate", "_alone"}[size_t(variant)],
                               4 * tolerance(type), [=](Memory& m) -> Run {
                                   const auto target = [&](int64_t rows, DType t) {
                                       return accumulate ? m.random(rows, C, t) : m.output(rows, C, t);
                                   };
                                   kernels::LayerNormBackward a{.dx = target(N, type),
                                                                .dweight = target(1, DType::f32),
                                                                .dbias = target(1, DType::f32),
                                                                .dout = m.random(N, C, type),
                                                                .x = m.random(N, C, type),
                                                                .weight = m.random(1, C, type),
                                                                .mean = m.random(1, N, DType::f32, 0.1),
                                                                .rstd = m.random(1, N, DType::f32, 0.1, 1),
                                                                .accumulate_dx = accumulate,
                                                                .accumulate = accumulate};
                                   if (variant != 2) a.dx_sums = target(1, DType::f32);
                                   return [=] { kernels::layernorm_backward(a); };
                               }});
            }
        }
    struct Size {
        int64_t B, T, C, V;
    };
    for (const DType type : kTypes)
        for (const auto [B, T, C, V] : {Size{1, 1, 1, 2}, Size{2, 7, 24, 11}, Size{3, 33, 100, 50}, Size{1, 2, 98, 5},
                                        Size{2, 129, 64, 1000}, Size{2, 1100, 8, 700}}) {
            const std::string shape = str(dtype_name(type), "_", B, "x", T, "x", C, "_", V);
            all.push_back({"embedding_forward", shape, tolerance(type), [=](Memory& m) -> Run {
                               const Tensor out = m.output(B * T, C, type), tokens = m.ids(B * T, V),
                                            wte = m.random(V, C, type), wpe = m.random(T + 3, C, type);
                               return [=] { kernels::embedding_forward(out, tokens.get<int32_t>(), wte, wpe, T); };
                           }});
            for (const bool accumulate : {false, true})
                all.push_back(
                    {"embedding_backward", shape + (accumulate ? "_accumulate" : ""), 3e-6, [=](Memory& m) -> Run {
                         const Tensor dwte = m.random(V, C, DType::f32), dwpe = accumulate
                                                                                    ? m.random(T + 3, C, DType::f32)
                                                                                    : m.output(T + 3, C, DType::f32);
                         const Tensor dout = m.random(B * T, C, type), tokens = m.ids(B * T, V);
                         return [=] {
                             kernels::embedding_backward(dwte, dwpe, dout, tokens.get<int32_t>(), T, accumulate);
                         };
                     }});
        }
    struct Vocabulary {
        int64_t N, V, Vp;
    };
    for (const DType type : kTypes)
        for (const auto [N, V, Vp] :
             {Vocabulary{1, 2, 64}, Vocabulary{5, 257, 320}, Vocabulary{3, 50257, 50304}, Vocabulary{9, 100, 101}})
            for (const bool backward : {false, true})
                all.push_back({"cross_entropy", label(type, N, Vp) + (backward ? "_backward" : ""), 2 * tolerance(type),
                               [=](Memory& m) -> Run {
                                   const Tensor logits = m.random(N, Vp, type, 3), targets = m.ids(N, V);
                                   const kernels::CrossEntropy a{.losses = m.output(1, N, DType::f32),
                                                                 .logits = logits,
                                                                 .dlogits = backward ? logits : Tensor{},
                                                                 .targets = targets.get<int32_t>(),
                                                                 .V = V,
                                                                 .scale = 0.37f};
                                   return [=] { kernels::cross_entropy(a); };
                               }});
}

void add_sampling(Cases& all) {
    for (const int64_t V : {1, 2, 31, 257, 4097, 50257})
        for (const int64_t top_k : {0, 1, 2, 40})
            for (const double temperature : {0.0, 0.8}) {
                const std::string shape = str(V, "_top", top_k, temperature == 0 ? "_greedy" : "");
                all.push_back({"sample_token", shape, 0, [=](Memory& m) -> Run {
                                   constexpr float kUniforms[] = {0.0f, 0.1f, 0.5f, 0.77f, 0.99999994f};
                                   std::vector<float> ties = tied(V);
                                   for (float& x : ties) x = std::isnan(x) ? -INFINITY : x;
                                   std::vector<kernels::SampleToken> draws;
                                   for (const Tensor& logits :
                                        {m.random(1, V, DType::f32, 3), m.values(1, V, DType::f32, ties)}) {
                                       const Tensor tokens = m.output(1, std::size(kUniforms), DType::i32);
                                       for (size_t i = 0; i < std::size(kUniforms); i++)
                                           draws.push_back({.token = tokens.col_range(int64_t(i), 1),
                                                            .logits = logits,
                                                            .temperature = temperature,
                                                            .top_k = top_k,
                                                            .uniform = kUniforms[i]});
                                   }
                                   return [=] {
                                       for (const kernels::SampleToken& draw : draws) kernels::sample_token(draw);
                                   };
                               }});
            }
}

}  // namespace registry
