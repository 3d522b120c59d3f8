// The cases. Shapes: the smallest, tails of warps and of 16-byte accesses, several blocks, a model's sizes scaled down.
#include <algorithm>
#include <cmath>

#include "dev/kernels/registry.h"

namespace registry {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16};
struct Shape {
    int64_t rows, cols;
};
const Shape kShapes[] = {{1, 1}, {3, 5}, {67, 24}, {600, 24}, {67, 1000}, {257, 768}, {5, 1600}, {2, 4097}};

// What results may differ by: a rounding of the type, and the order of fp32 sums.
double tolerance(DType type) { return type == DType::bf16 ? 1.0 / 128 : 3e-6; }
std::string label(DType type, int64_t rows, int64_t cols) { return str(dtype_name(type), "_", rows, "x", cols); }

using Cases = std::vector<Case>;

// ---- element-wise, sums, random numbers --------------------------------------------------------------------------

void add_elementwise(Cases& all) {
    for (const DType type : kTypes)
        for (const auto [R, C] : kShapes) {
            const auto shape = label(type, R, C);
            all.push_back({"gelu_forward", shape, tolerance(type), [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type), x = m.random(R, C, type, 2);
                               return [=] { kernels::gelu_forward(out, x); };
                           }});
            all.push_back({"gelu_backward", shape, tolerance(type), [=](Memory& m) -> Run {
                               const Tensor dx = m.output(R, C, type), dout = m.random(R, C, type),
                                            x = m.random(R, C, type, 2);
                               return [=] { kernels::gelu_backward(dx, dout, x); };
                           }});
            all.push_back({"add", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type), a = m.random(R, C, type),
                                            b = m.random(R, C, type);
                               return [=] { kernels::add(out, a, b); };
                           }});
            if (type == DType::bf16)
                for (const DType a_type : kTypes)
                    all.push_back({"add", shape + "_" + dtype_name(a_type) + "_and_fp32", 0, [=](Memory& m) -> Run {
                                       const Tensor out = m.output(R, C, type), a = m.random(R, C, a_type),
                                                    b = m.random(R, C, DType::f32);
                                       return [=] { kernels::add(out, a, b); };
                                   }});
            for (const DType to : kTypes)
                all.push_back({"convert", shape + "_to_" + dtype_name(to), 0, [=](Memory& m) -> Run {
                                   const Tensor out = m.output(R, C, to), in = m.random(R, C, type);
                                   return [=] { kernels::convert(out, in); };
                               }});
            all.push_back({"zero", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.random(R, C, type);
                               return [=] { kernels::zero(out); };
                           }});
            for (const bool accumulate : {false, true}) {
                const std::string suffix = accumulate ? "_accumulate" : "";
                all.push_back({"bias_backward", shape + suffix, 3e-6, [=](Memory& m) -> Run {
                                   const Tensor dbias =
                                       accumulate ? m.random(1, C, DType::f32) : m.output(1, C, DType::f32);
                                   const Tensor dout = m.random(R, C, type);
                                   return [=] { kernels::bias_backward(dbias, dout, accumulate); };
                               }});
                all.push_back({"dropout", shape + suffix, 2e-7, [=](Memory& m) -> Run {
                                   const Tensor out = accumulate ? m.random(R, C, type) : m.output(R, C, type),
                                                x = m.random(R, C, type);
                                   return [=] {
                                       kernels::dropout(out, x, 0.3f, {7, rng::Purpose::dropout, 3, 11}, accumulate);
                                   };
                               }});
            }
            all.push_back({"fill_uniform", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill_uniform(out, 0.25f, {7, rng::Purpose::lora_init, 1, 2}); };
                           }});
            all.push_back({"fill_normal", shape, type == DType::f32 ? 2e-6 : tolerance(type), [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill_normal(out, 0.02f, {7, rng::Purpose::init, 1, 0}); };
                           }});
        }
    for (const auto [R, C] : kShapes) {
        for (const DType type : kTypes)
            all.push_back({"fill", label(type, R, C), 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill(out, 1.5f); };
                           }});
        for (const bool accumulate : {false, true})
            all.push_back(
                {"sum", label(DType::f32, R, C) + (accumulate ? "_accumulate" : ""), 1e-5, [=](Memory& m) -> Run {
                     const Tensor out = m.random(1, 1, DType::f32), t = m.random(R, C, DType::f32, 1, 3);
                     return [=] { kernels::sum(out, t, 0.5f, accumulate); };
                 }});
    }
    all.push_back({"sum", "fp32_300x8192", 1e-5, [=](Memory& m) -> Run {  // more chunks than a block has threads
                       const Tensor out = m.output(1, 1, DType::f32), t = m.random(300, 8192, DType::f32, 1, 3);
                       return [=] { kernels::sum(out, t, 0.5f, false); };
                   }});
}

// ---- pruning -----------------------------------------------------------------------------------------------------

// Many ties, zeros of both signs, a NaN.
std::vector<float> tied(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = float((i * 7919) % 13 - 6) * 0.5f * (i % 5 == 0 ? -1.0f : 1.0f);
    if (n > 40) values[37] = NAN;
    return values;
}

void add_pruning(Cases& all) {
    for (const DType type : kTypes)
        for (const int64_t n : {1, 31, 1000, 4097, 70001})
            for (const double p : {0.0, 0.5, 0.99, 1.0}) {
                const std::string shape = str(dtype_name(type), "_", n, "_p", int(100 * p));
                all.push_back({"prune_magnitude", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor t = m.random(1, n, type), ties = m.values(1, n, type, tied(n)),
                                                scratch = m.scratch(1, n, DType::f32);
                                   return [=] {
                                       kernels::prune_magnitude(t, p, scratch);
                                       kernels::prune_magnitude(ties, p, scratch);
                                   };
                               }});
                all.push_back({"prune_random", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor t = m.random(1, n, type), count = m.output(1, 1, DType::f32);
                                   return [=] {
                                       kernels::fill(count, float(kernels::prune_random(
                                                                t, float(p), {7, rng::Purpose::prune, 5, 6})));
                                   };
                               }});
            }
    // What the host gets is compared as an operand.
    for (const DType type : kTypes)
        for (const int64_t n : {1, 31, 1000, 4097, 70001}) {
            const std::string shape = str(dtype_name(type), "_", n);
            all.push_back({"norm_squared", shape, 1e-6, [=](Memory& m) -> Run {
                               const Tensor t = m.random(1, n, type), norm = m.output(1, 1, DType::f32);
                               return [=] { kernels::fill(norm, float(kernels::norm_squared(t))); };
                           }});
            all.push_back({"count_zeros", shape, 0, [=](Memory& m) -> Run {
                               const Tensor t = m.values(1, n, type, tied(n)), zeros = m.output(1, 1, DType::f32);
                               return [=] { kernels::fill(zeros, float(kernels::count_zeros(t))); };
                           }});
        }
}

// ---- not finite ----------------------------------------------------------------------------------------------------

std::vector<float> numbers(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = float(i * 7919 % 101 - 50) * 0.04f;
    return values;
}

// What is not a number has to come out as that, so that an update that met one is skipped.
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
                                                         .logits = m.values(N, Vp, DType::f32, values),
                                                         .dlogits = m.output(N, Vp, type),
                                                         .targets = m.ids(N, V).get<int32_t>(),
                                                         .V = V};
                           return [=] { kernels::cross_entropy(a); };
                       }});
        constexpr int64_t T = 130, NH = 2, HS = 64, C = NH * HS;
        all.push_back(
            {"attention_forward", str(dtype_name(type), "_1x", T, "x", NH, "x", HS, "_not_finite"), 2 * tolerance(type),
             [=](Memory& m) -> Run {
                 std::vector<float> values = numbers(T * 3 * C);
                 values[70 * 3 * C + 3] = NAN;            // q: of one row
                 values[100 * 3 * C + C + HS + 9] = NAN;  // k of the other head: of all rows from this one on
                 const kernels::Attention a{
                     .B = 1,
                     .T = T,
                     .NH = NH,
                     .qkv = m.values(T, 3 * C, type, values),
                     .out = m.output(T, C, type),
                     .lse = m.output(1, T * NH, DType::f32),
                     .scratch = m.scratch(1, kernels::attention_scratch_floats(m.device(), 1, T, NH, HS), DType::f32)};
                 return [=] { kernels::attention_forward(a); };
             }});
    }
}

// ---- rows --------------------------------------------------------------------------------------------------------

void add_rows(Cases& all) {
    std::vector<Shape> layernorm_shapes(std::begin(kShapes), std::end(kShapes));
    layernorm_shapes.insert(layernorm_shapes.end(), {{3, 4096}, {2, 8192}});  // more warps to a row
    for (const DType type : kTypes)
        for (const auto [N, C] : layernorm_shapes) {
            for (const bool residual : {false, true})
                all.push_back({"layernorm_forward", label(type, N, C) + (residual ? "_residual" : ""),
                               4 * tolerance(type), [=](Memory& m) -> Run {
                                   kernels::LayerNormForward a{.out = m.output(N, C, type),
                                                               .mean = m.output(1, N, DType::f32),
                                                               .rstd = m.output(1, N, DType::f32),
                                                               .x = m.random(N, C, type),
                                                               .weight = m.random(1, C, type),
                                                               .bias = m.random(1, C, type)};
                                   if (residual) a.residual = m.random(N, C, type), a.sum = m.output(N, C, type);
                                   return [=] { kernels::layernorm_forward(a); };
                               }});
            for (const bool accumulate : {false, true})
                all.push_back({"layernorm_backward", label(type, N, C) + (accumulate ? "_accumulate" : ""),
                               4 * tolerance(type), [=](Memory& m) -> Run {
                                   const auto target = [&](int64_t rows, DType t) {
                                       return accumulate ? m.random(rows, C, t) : m.output(rows, C, t);
                                   };
                                   const kernels::LayerNormBackward a{.dx = target(N, type),
                                                                      .dweight = target(1, DType::f32),
                                                                      .dbias = target(1, DType::f32),
                                                                      .dout = m.random(N, C, type),
                                                                      .x = m.random(N, C, type),
                                                                      .weight = m.random(1, C, type),
                                                                      .mean = m.random(1, N, DType::f32, 0.1),
                                                                      .rstd = m.random(1, N, DType::f32, 0.1, 1),
                                                                      .accumulate_dx = accumulate,
                                                                      .accumulate = accumulate};
                                   return [=] { kernels::layernorm_backward(a); };
                               }});
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
                                   const Tensor logits = m.random(N, Vp, DType::f32, 3), targets = m.ids(N, V);
                                   const Tensor dlogits = !backward            ? Tensor{}
                                                          : type == DType::f32 ? logits
                                                                               : m.output(N, Vp, type);
                                   const kernels::CrossEntropy a{.losses = m.output(1, N, DType::f32),
                                                                 .logits = logits,
                                                                 .dlogits = dlogits,
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

// ---- attention, products -----------------------------------------------------------------------------------------

void add_attention(Cases& all) {
    struct Size {
        int64_t B, T, NH, HS;
        double deviation =
            1;  // at 12 the scores of a row span many hundreds: exponentials over- and underflow without care
    };
    for (const DType type : kTypes)
        for (const auto [B, T, NH, HS, deviation] :
             {Size{1, 1, 1, 64}, Size{2, 7, 3, 5}, Size{1, 65, 2, 64}, Size{2, 200, 1, 64}, Size{1, 257, 2, 64},
              Size{1, 130, 1, 128}, Size{1, 100, 2, 80}, Size{2, 33, 2, 16}, Size{1, 70, 1, 256},
              Size{1, 200, 2, 64, 12}}) {
            const int64_t N = B * T, C = NH * HS;
            const std::string shape =
                str(dtype_name(type), "_", B, "x", T, "x", NH, "x", HS, deviation > 1 ? "_large" : "");
            const auto operands = [=](Memory& m) {
                return kernels::Attention{
                    .B = B,
                    .T = T,
                    .NH = NH,
                    .qkv = m.random(N, 3 * C, type, deviation),
                    .out = m.output(N, C, type),
                    .lse = m.output(1, N * NH, DType::f32),
                    .scratch = m.scratch(1, kernels::attention_scratch_floats(m.device(), B, T, NH, HS), DType::f32)};
            };
            // A score's error becomes one of its exponential.
            const double loose = deviation > 1 ? type == DType::bf16 ? 4 : 400 : 1;
            all.push_back({"attention_forward", shape, loose * 2 * tolerance(type), [=](Memory& m) -> Run {
                               const kernels::Attention a = operands(m);
                               return [=] { kernels::attention_forward(a); };
                           }});
            // P and dS are rounded to bf16 as operands of the tensor cores.
            all.push_back(
                {"attention_backward", shape, loose * (type == DType::bf16 ? 4.0 / 128 : 2e-5), [=](Memory& m) -> Run {
                     const kernels::Attention a = operands(m);
                     const Tensor dqkv = m.output(N, 3 * C, type), dout = m.random(N, C, type);
                     return [=] {
                         kernels::attention_forward(a);
                         kernels::attention_backward(a, dqkv, dout);
                     };
                 }});
        }
}

void add_matmul(Cases& all) {
    struct Size {
        int64_t M, N, K;
    };
    for (const DType type : kTypes)
        for (const auto [M, N, K] : {Size{1, 1, 1}, Size{5, 7, 3}, Size{64, 96, 32}, Size{33, 130, 71}})
            for (const int transposes : {0, 1, 2, 3})
                for (const int variant : {0, 1, 2, 3}) {  // alpha, bias, accumulate, fp32 result of a slice
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
                                       if (variant == 1) a.bias = m.random(1, N, type);
                                       if (variant == 0) a.alpha = 0.5f;
                                       if (variant == 2) a.accumulate = true;
                                       return [=] { kernels::matmul(a); };
                                   }});
                }
    // Side by side in the rows of wider matrices, as the adapters of q, k and v: x A^T B^T, dY B, dY^T u, B A.
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
    // The MLP's: forward with and without bias, the gradient of its input.
    for (const DType type : kTypes)
        for (const auto [M, N, K] : {Size{1, 1, 1}, Size{5, 7, 3}, Size{1, 8, 8}, Size{64, 96, 32}, Size{33, 136, 71}})
            for (const int variant : {0, 1, 2}) {
                const bool forward = variant < 2;
                const std::string shape = str(dtype_name(type), "_", M, "x", N, "x", K,
                                              variant == 0   ? "_gelu"
                                              : variant == 1 ? "_gelu_bias"
                                                             : "_gelu_backward");
                all.push_back({"matmul", shape, 4 * tolerance(type), [=](Memory& m) -> Run {
                                   kernels::Matmul a{.transpose_b = forward};
                                   a.epilogue = forward ? kernels::Epilogue::gelu : kernels::Epilogue::gelu_backward;
                                   a.a = m.random(M, K, type);
                                   a.b = forward ? m.random(N, K, type) : m.random(K, N, type);
                                   a.c = m.output(M, N, type);
                                   a.aux = forward ? m.output(M, N, type) : m.random(M, N, type);
                                   if (variant == 1) a.bias = m.random(1, N, type);
                                   return [=] { kernels::matmul(a); };
                               }});
            }
}

// ---- optimizer ---------------------------------------------------------------------------------------------------

void add_adamw(Cases& all) {
    struct Update {
        std::string name;
        std::vector<Shape> shapes;
        int64_t each;  // tensors of each shape
        float loss, max_norm;
    };
    const std::vector<Shape> several = {{1, 1}, {67, 1000}, {1, 31}, {3, 4096}};
    enum class Kind { fp32, bf16, bf16_without_masters };
    for (const Kind kind : {Kind::fp32, Kind::bf16, Kind::bf16_without_masters})
        for (const Update& update : {Update{"", several, 1, 3, 1}, Update{"_not_finite", several, 1, INFINITY, 1},
                                     Update{"_one", {{1, 31}}, 1, 3, 0}, Update{"_many", {{1, 3}}, 300, 3, 1000}}) {
            const bool masters = kind != Kind::bf16_without_masters;
            const std::string name = kind == Kind::fp32 ? "fp32" : masters ? "bf16" : "bf16_without_masters";
            // Stochastic rounding turns the last bit of an fp32 result into one of a bf16, so those have to be the
            // same.
            all.push_back({"adamw", name + update.name, masters ? 2e-6 : 0, [=](Memory& m) -> Run {
                               kernels::TrainedTensors trained;
                               for (const auto [R, C] : update.shapes) {
                                   const int64_t rows = R * update.each;
                                   const Tensor master = masters ? m.random(rows, C, DType::f32) : Tensor{};
                                   const Tensor gradient = m.random(rows, C, DType::f32);
                                   const Tensor means = m.random(rows, C, DType::f32, 0.1),
                                                squares = m.random(rows, C, DType::f32, 0.01, 0.1);
                                   const Tensor weight = kind == Kind::fp32 ? Tensor{}
                                                         : masters          ? m.output(rows, C, DType::bf16)
                                                                            : m.random(rows, C, DType::bf16);
                                   const auto part = [=](const Tensor& t, int64_t first) {
                                       return t.empty() ? t : t.row_range(first, R);
                                   };
                                   for (int64_t first = 0; first < rows; first += R)
                                       trained.tensors.push_back({.master = part(master, first),
                                                                  .weight = part(weight, first),
                                                                  .gradient = part(gradient, first),
                                                                  .m = part(means, first),
                                                                  .v = part(squares, first),
                                                                  .decays = R > 1,
                                                                  .counter = R > 3 ? 1 : 0});
                               }
                               const int64_t ints = kernels::trained_table_ints(int64_t(trained.tensors.size()));
                               trained.table = make_tensor(m.scratch(1, ints + 16, DType::i32).data, DType::i32, 1,
                                                           ints, m.device());
                               const auto aligned = (reinterpret_cast<uintptr_t>(trained.table.data) + 63) / 64 * 64;
                               trained.table.data = reinterpret_cast<void*>(aligned);
                               std::vector<float> s(kernels::kStepScalars, 0.0f);
                               s[kernels::kLoss] = update.loss;
                               s[kernels::kRate] = 1e-2f;
                               s[kernels::kCorrections] = 1.5f, s[kernels::kCorrections + 1] = 2.5f;
                               s[kernels::kCorrections + 2] = 1.1f, s[kernels::kCorrections + 3] = 1.2f;
                               s[kernels::kUpdate] = 1234567;
                               const Tensor scalars = m.values(1, kernels::kStepScalars, DType::f32, s);
                               return [=] {
                                   trained.prepare();
                                   kernels::gradient_norm(scalars, trained, update.max_norm);
                                   kernels::adamw(scalars, trained,
                                                  {.eps = 0.01, .weight_decay = 0.1, .seed = 0x123456789ABCDEFu});
                               };
                           }});
        }
}

}  // namespace

const std::vector<Case>& cases() {
    static const std::vector<Case> all = [] {
        std::vector<Case> list;
        add_elementwise(list);
        add_pruning(list);
        add_rows(list);
        add_sampling(list);
        add_attention(list);
        add_not_finite(list);
        add_matmul(list);
        add_adamw(list);
        return list;
    }();
    return all;
}

}  // namespace registry
