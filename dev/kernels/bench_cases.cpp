// Cases at a model's real sizes: GPT-2 124M (C = 768) and XL (C = 1600) with N = 16384 tokens in a micro-batch, rank
// 128.
#include <cmath>
#include <random>

#include "registry.h"

namespace registry {
namespace {

constexpr DType kTypes[] = {DType::bf16, DType::f32};
constexpr int64_t kN = 16384, kT = 1024, kV = 50257, kVp = 50304;
constexpr int64_t kLogitRows = 656;  // of a chunk of the LM head: 128 MiB of fp32 logits

std::string label(DType type, int64_t rows, int64_t cols) { return str(dtype_name(type), "_", rows, "x", cols); }

using Cases = std::vector<Case>;

// Token ids as text has them: the k-th most frequent one with a probability like 1 / k.
Tensor text_ids(Memory& m, int64_t count) {
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> uniform(0, std::log(double(kV)));
    std::vector<float> ids(static_cast<size_t>(count));
    for (float& id : ids) id = float(int64_t(std::exp(uniform(generator))) - 1);
    return m.values(1, count, DType::i32, ids);
}

void add_elementwise(Cases& all) {
    for (const DType type : kTypes) {
        for (const int64_t C : {3072, 6400}) {
            all.push_back({"gelu_forward", label(type, kN, C), 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(kN, C, type), x = m.random(kN, C, type);
                               return [=] { kernels::gelu_forward(out, x); };
                           }});
            all.push_back({"gelu_backward", label(type, kN, C), 0, [=](Memory& m) -> Run {
                               const Tensor dx = m.output(kN, C, type), dout = m.random(kN, C, type),
                                            x = m.random(kN, C, type);
                               return [=] { kernels::gelu_backward(dx, dout, x); };
                           }});
            all.push_back({"bias_backward", label(type, kN, C), 0, [=](Memory& m) -> Run {
                               const Tensor dbias = m.output(1, C, DType::f32), dout = m.random(kN, C, type);
                               return [=] { kernels::bias_backward(dbias, dout, false); };
                           }});
        }
        all.push_back({"dropout", label(type, kN, 768), 0, [=](Memory& m) -> Run {
                           const Tensor out = m.output(kN, 768, type), x = m.random(kN, 768, type);
                           return [=] { kernels::dropout(out, x, 0.1f, {1, rng::Purpose::dropout, 0, 0}, false); };
                       }});
        for (const int64_t rows : {int64_t(3072), kVp})
            all.push_back({"fill_normal", label(type, rows, 768), 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(rows, 768, type);
                               return [=] { kernels::fill_normal(out, 0.02f, {1, rng::Purpose::init, 0, 0}); };
                           }});
        all.push_back({"fill_uniform", label(type, 128, 3072), 0, [=](Memory& m) -> Run {
                           const Tensor out = m.output(128, 3072, type);
                           return [=] { kernels::fill_uniform(out, 0.02f, {1, rng::Purpose::lora_init, 0, 0}); };
                       }});
    }
    // Of a merge, of the largest block linear and of the embedding.
    for (const int64_t rows : {int64_t(3072), kVp}) {
        all.push_back({"add", label(DType::f32, rows, 768), 0, [=](Memory& m) -> Run {
                           const Tensor w = m.random(rows, 768, DType::f32), delta = m.random(rows, 768, DType::f32);
                           return [=] { kernels::add(w, w, delta); };
                       }});
        all.push_back({"convert", label(DType::f32, rows, 768) + "_to_bf16", 0, [=](Memory& m) -> Run {
                           const Tensor out = m.output(rows, 768, DType::bf16), in = m.random(rows, 768, DType::f32);
                           return [=] { kernels::convert(out, in); };
                       }});
        all.push_back({"norm_squared", label(DType::f32, rows, 768), 0, [=](Memory& m) -> Run {
                           const Tensor t = m.random(rows, 768, DType::f32);
                           return [=] { kernels::norm_squared(t); };
                       }});
    }
    all.push_back({"zero", label(DType::f32, kVp, 768), 0, [=](Memory& m) -> Run {
                       const Tensor t = m.output(kVp, 768, DType::f32);
                       return [=] { kernels::zero(t); };
                   }});
    all.push_back({"sum", label(DType::f32, 1, kN), 0, [=](Memory& m) -> Run {
                       const Tensor out = m.output(1, 1, DType::f32), losses = m.random(1, kN, DType::f32);
                       return [=] { kernels::sum(out, losses, 1.0f / float(kN), false); };
                   }});
}

void add_rows(Cases& all) {
    for (const DType type : kTypes) {
        for (const int64_t C : {768, 1600}) {
            all.push_back({"layernorm_forward", label(type, kN, C) + "_residual", 0, [=](Memory& m) -> Run {
                               const kernels::LayerNormForward a{.out = m.output(kN, C, type),
                                                                 .mean = m.output(1, kN, DType::f32),
                                                                 .rstd = m.output(1, kN, DType::f32),
                                                                 .x = m.random(kN, C, type),
                                                                 .weight = m.random(1, C, type),
                                                                 .bias = m.random(1, C, type),
                                                                 .residual = m.random(kN, C, type),
                                                                 .sum = m.output(kN, C, type)};
                               return [=] { kernels::layernorm_forward(a); };
                           }});
            all.push_back({"layernorm_backward", label(type, kN, C) + "_accumulate", 0, [=](Memory& m) -> Run {
                               const kernels::LayerNormBackward a{.dx = m.zeros(kN, C, type),
                                                                  .dweight = m.zeros(1, C, DType::f32),
                                                                  .dbias = m.zeros(1, C, DType::f32),
                                                                  .dout = m.random(kN, C, type),
                                                                  .x = m.random(kN, C, type),
                                                                  .weight = m.random(1, C, type),
                                                                  .mean = m.zeros(1, kN, DType::f32),
                                                                  .rstd = m.random(1, kN, DType::f32, 0, 1),
                                                                  .accumulate_dx = true,
                                                                  .accumulate = true};
                               return [=] { kernels::layernorm_backward(a); };
                           }});
            all.push_back({"embedding_forward", label(type, kN, C), 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(kN, C, type), tokens = text_ids(m, kN);
                               const Tensor wte = m.random(kVp, C, type), wpe = m.random(kT, C, type);
                               return [=] { kernels::embedding_forward(out, tokens.get<int32_t>(), wte, wpe, kT); };
                           }});
            all.push_back({"embedding_backward", label(type, kN, C), 0, [=](Memory& m) -> Run {
                               const Tensor dwte = m.zeros(kVp, C, DType::f32), dwpe = m.zeros(kT, C, DType::f32);
                               const Tensor dout = m.random(kN, C, type), tokens = text_ids(m, kN);
                               return [=] {
                                   kernels::embedding_backward(dwte, dwpe, dout, tokens.get<int32_t>(), kT, false);
                               };
                           }});
        }
        for (const bool backward : {true, false})
            all.push_back({"cross_entropy", label(type, kLogitRows, kVp) + (backward ? "_backward" : ""), 0,
                           [=](Memory& m) -> Run {
                               const Tensor logits = m.random(kLogitRows, kVp, DType::f32);
                               // In place the next run would get this one's gradients: finite numbers too, which is all
                               // that matters here.
                               const Tensor dlogits = !backward            ? Tensor{}
                                                      : type == DType::f32 ? logits
                                                                           : m.output(kLogitRows, kVp, type);
                               const Tensor targets = text_ids(m, kLogitRows);
                               const kernels::CrossEntropy a{.losses = m.output(1, kLogitRows, DType::f32),
                                                             .logits = logits,
                                                             .dlogits = dlogits,
                                                             .targets = targets.get<int32_t>(),
                                                             .V = kV,
                                                             .scale = 1e-4f};
                               return [=] { kernels::cross_entropy(a); };
                           }});
    }
}

void add_attention(Cases& all) {
    struct Size {
        int64_t B, NH, HS;
    };
    for (const DType type : kTypes)
        for (const auto [B, NH, HS] : {Size{8, 12, 64}, Size{16, 12, 64}, Size{8, 6, 128}, Size{8, 25, 64}}) {
            const std::string shape = str(dtype_name(type), "_", B, "x", kT, "x", NH, "x", HS);
            const auto operands = [=](Memory& m) {
                const int64_t N = B * kT, C = NH * HS;
                return kernels::Attention{
                    .B = B,
                    .T = kT,
                    .NH = NH,
                    .qkv = m.random(N, 3 * C, type),
                    .out = m.output(N, C, type),
                    .lse = m.output(1, N * NH, DType::f32),
                    .scratch = m.scratch(1, kernels::attention_scratch_floats(m.device(), B, kT, NH, HS), DType::f32)};
            };
            all.push_back({"attention_forward", shape, 0, [=](Memory& m) -> Run {
                               const kernels::Attention a = operands(m);
                               return [=] { kernels::attention_forward(a); };
                           }});
            all.push_back({"attention_backward", shape, 0, [=](Memory& m) -> Run {
                               const kernels::Attention a = operands(m);
                               const Tensor dqkv = m.output(a.qkv.rows, a.qkv.cols, type),
                                            dout = m.random(a.out.rows, a.out.cols, type);
                               kernels::attention_forward(a);
                               return [=] { kernels::attention_backward(a, dqkv, dout); };
                           }});
        }
}

void add_products(Cases& all) {
    const auto add = [&](const std::string& what, DType type, DType result, int64_t M, int64_t N, int64_t K, bool ta,
                         bool tb, bool bias, bool accumulate) {
        all.push_back({"matmul", str(dtype_name(type), "_", M, "x", N, "x", K, "_", what), 0, [=](Memory& m) -> Run {
                           kernels::Matmul a{.transpose_a = ta, .transpose_b = tb, .accumulate = accumulate};
                           a.a = ta ? m.random(K, M, type) : m.random(M, K, type);
                           a.b = tb ? m.random(N, K, type) : m.random(K, N, type);
                           a.c = m.zeros(M, N, result);
                           if (bias) a.bias = m.random(1, N, type);
                           return [=] { kernels::matmul(a); };
                       }});
    };
    struct Size {
        int64_t out, in;
    };
    for (const DType type : kTypes) {
        for (const auto [out, in] :
             {Size{2304, 768}, Size{768, 768}, Size{3072, 768}, Size{768, 3072}, Size{6400, 1600}}) {
            add("forward", type, type, kN, out, in, false, true, true, false);
            add("dinput", type, type, kN, in, out, false, false, false, false);
            add("dweight", type, DType::f32, out, in, kN, true, false, false, true);
        }
        add("head", type, DType::f32, kLogitRows, kVp, 768, false, true, false, false);
        add("head_dinput", type, type, kLogitRows, 768, kVp, false, false, false, false);
        add("head_dweight", type, DType::f32, kVp, 768, kLogitRows, true, false, false, true);
        add("xA", type, type, kN, 128, 768, false, true, false, false);
        add("xAB", type, type, kN, 3072, 128, false, true, false, true);
        add("dA", type, DType::f32, 128, 768, kN, true, false, false, true);
        add("dB", type, DType::f32, 3072, 128, kN, true, false, false, true);
        add("dx_of_adapter", type, type, kN, 768, 128, false, false, false, true);
    }
    // GELU within the MLP's products. Backward, `aux` is what c_fc made, and the product is c_proj's input gradient.
    for (const DType type : kTypes)
        for (const int64_t C : {768, 1600})
            for (const bool forward : {true, false}) {
                const std::string shape = str(dtype_name(type), "_", kN, "x", 4 * C, "x", C);
                all.push_back({"matmul", shape + (forward ? "_gelu" : "_gelu_backward"), 0, [=](Memory& m) -> Run {
                                   kernels::Matmul a{.transpose_b = forward};
                                   a.epilogue = forward ? kernels::Epilogue::gelu : kernels::Epilogue::gelu_backward;
                                   a.a = m.random(kN, C, type);
                                   a.b = forward ? m.random(4 * C, C, type) : m.random(C, 4 * C, type);
                                   a.c = m.output(kN, 4 * C, type);
                                   a.aux = m.random(kN, 4 * C, type);
                                   if (forward) a.bias = m.random(1, 4 * C, type);
                                   return [=] { kernels::matmul(a); };
                               }});
            }
    add("merge", DType::f32, DType::f32, 768, 768, 128, false, false, false, false);
    add("merge", DType::f32, DType::f32, 3072, 768, 128, false, false, false, false);
    add("merge", DType::f32, DType::f32, 6400, 1600, 128, false, false, false, false);
}

// Of one row of GPT-2's logits, as a sample draws it.
void add_sampling(Cases& all) {
    for (const int64_t top_k : {0, 40})
        for (const double temperature : {0.0, 0.8}) {
            if (temperature == 0 && top_k > 0) continue;
            const std::string shape = str("fp32_1x", kV, temperature == 0 ? "_greedy" : top_k > 0 ? "_top40" : "");
            all.push_back({"sample_token", shape, 0, [=](Memory& m) -> Run {
                               const kernels::SampleToken s{.token = m.output(1, 1, DType::i32),
                                                            .logits = m.random(1, kV, DType::f32, 3),
                                                            .temperature = temperature,
                                                            .top_k = top_k,
                                                            .uniform = 0.5f};
                               return [=] { kernels::sample_token(s); };
                           }});
        }
}

// All that GPT-2 124M trains: full-rank, or in its low-rank phase.
kernels::TrainedTensors trained_of_124M(Memory& m, DType type, bool low_rank, bool masters) {
    struct Shape {
        int64_t rows, cols;
    };
    constexpr int64_t C = 768, r = 128;
    std::vector<Shape> shapes = {{kVp, C}, {kT, C}, {1, C}, {1, C}};
    for (int layer = 0; layer < 12; layer++) {
        for (const int64_t width : {C, C, C, C, 3 * C, C, 4 * C, C}) shapes.push_back({1, width});
        if (low_rank)
            shapes.insert(shapes.end(),
                          {{3 * r, C}, {3 * C, r}, {r, C}, {C, r}, {r, C}, {4 * C, r}, {r, 4 * C}, {C, r}});
        else
            shapes.insert(shapes.end(), {{3 * C, C}, {C, C}, {4 * C, C}, {C, 4 * C}});
    }
    kernels::TrainedTensors trained;
    for (const auto [rows, cols] : shapes) {
        kernels::TrainedTensor t{.master = masters ? m.random(rows, cols, DType::f32, 0.02) : Tensor{},
                                 .gradient = m.random(rows, cols, DType::f32, 1e-3),
                                 .m = m.zeros(rows, cols, DType::f32),
                                 .v = m.random(rows, cols, DType::f32, 0, 1e-6),
                                 .decays = rows > 1};
        if (type == DType::bf16) t.weight = m.random(rows, cols, type, 0.02);
        trained.tensors.push_back(t);
    }
    trained.table = m.scratch(1, kernels::trained_table_ints(int64_t(shapes.size())), DType::i32);
    trained.prepare();
    return trained;
}

void add_optimizer(Cases& all) {
    const auto scalars_of = [](Memory& m) {
        std::vector<float> s(kernels::kStepScalars, 1.0f);
        s[kernels::kRate] = 1e-4f;
        return m.values(1, kernels::kStepScalars, DType::f32, s);
    };
    for (const bool low_rank : {false, true}) {
        const std::string model = low_rank ? "gpt2_relora" : "gpt2_full";
        all.push_back({"gradient_norm", "fp32_" + model, 0, [=](Memory& m) -> Run {  // gradients are fp32 in any case
                           const Tensor scalars = scalars_of(m);
                           return [=, trained = trained_of_124M(m, DType::f32, low_rank, true)] {
                               kernels::gradient_norm(scalars, trained, 1.0f);
                           };
                       }});
        for (const DType type : kTypes)
            for (const bool masters : {true, false}) {
                if (type == DType::f32 && !masters) continue;
                const std::string shape = str(dtype_name(type), "_", model, masters ? "" : "_without_masters");
                all.push_back({"adamw", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor scalars = scalars_of(m);
                                   return [=, trained = trained_of_124M(m, type, low_rank, masters)] {
                                       kernels::adamw(scalars, trained, {.weight_decay = 0.1});
                                   };
                               }});
            }
    }
    // Moments: of the q, k, v part of c_attn's A, of c_fc's B, and of XL's c_fc.
    for (const int64_t n : {3 * 128 * 768, 3072 * 128, 6400 * 128}) {
        const std::string shape = str("fp32_", n);
        // A pruned tensor would be another case: each run starts from new values.
        const auto renew = [](const Tensor& t) { kernels::fill_normal(t, 1.0f, {1, rng::Purpose::init, 0, 0}); };
        all.push_back({"prune_magnitude", shape + "_p99", 0, [=](Memory& m) -> Run {
                           const Tensor t = m.output(1, n, DType::f32), scratch = m.scratch(1, n, DType::f32);
                           return [=] { renew(t), kernels::prune_magnitude(t, 0.99, scratch); };
                       }});
        all.push_back({"prune_random", shape + "_p99", 0, [=](Memory& m) -> Run {
                           const Tensor t = m.output(1, n, DType::f32);
                           return [=] { renew(t), kernels::prune_random(t, 0.99f, {1, rng::Purpose::prune, 0, 0}); };
                       }});
        all.push_back({"count_zeros", shape, 0, [=](Memory& m) -> Run {
                           const Tensor t = m.random(1, n, DType::f32);
                           return [=] { kernels::count_zeros(t); };
                       }});
    }
}

}  // namespace

const std::vector<Case>& bench_cases() {
    static const std::vector<Case> all = [] {
        std::vector<Case> list;
        add_elementwise(list);
        add_rows(list);
        add_attention(list);
        add_products(list);
        add_sampling(list);
        add_optimizer(list);
        return list;
    }();
    return all;
}

}  // namespace registry
