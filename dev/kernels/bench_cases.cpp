// Cases at the sizes that training has: GPT-2's four models, in micro-batches of 16 sequences or, for the large ones,
// of 8, with adapters of rank 128. The most important cases come first, for a run that is cut short.
#include "dev/kernels/bench_cases.h"

#include <cmath>
#include <random>

namespace registry {
namespace bench {
namespace {

// ---- attention, loss ---------------------------------------------------------------------------------------------

void add_attention(Cases& cases, DType type, int64_t B, int64_t NH, int64_t HS, kernels::AttentionKernel kernel) {
    const std::string shape = str(dtype_name(type), "_", B, "x", kT, "x", NH, "x", HS, suffix(kernel));
    const auto operands = [=](Memory& m) {
        const int64_t N = B * kT, C = NH * HS;
        const int64_t floats = kernels::attention_scratch_floats(m.device(), B, kT, NH, HS);
        return kernels::Attention{.B = B,
                                  .T = kT,
                                  .NH = NH,
                                  .kernel = kernel,
                                  .qkv = m.random(N, 3 * C, type),
                                  .out = m.output(N, C, type),
                                  .lse = m.output(1, N * NH, DType::f32),
                                  .scratch = m.scratch(1, floats, DType::f32)};
    };
    cases.add("attention_forward", shape, [=](Memory& m) -> Run {
        const kernels::Attention a = operands(m);
        return [=] { kernels::attention_forward(a); };
    });
    cases.add("attention_backward", shape, [=](Memory& m) -> Run {
        const kernels::Attention a = operands(m);
        const Tensor dqkv = m.output(a.qkv.rows, a.qkv.cols, type), dout = m.random(a.out.rows, a.out.cols, type);
        kernels::attention_forward(a);
        return [=] { kernels::attention_backward(a, dqkv, dout); };
    });
}

void add_attention(Cases& cases, Device device, DType type, int64_t B, int64_t NH, int64_t HS) {
    add_attention(cases, type, B, NH, HS, kernels::AttentionKernel::automatic);
    if (device == Device::cuda && type == DType::bf16 && has_wgmma())
        add_attention(cases, type, B, NH, HS, kernels::AttentionKernel::wgmma);
}

// Token ids as text has them: the k-th most frequent one with a probability like 1 / k.
Tensor text_ids(Memory& m, int64_t count, int64_t V) {
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> uniform(0, std::log(double(V)));
    std::vector<float> ids(static_cast<size_t>(count));
    for (float& id : ids) id = float(int64_t(std::exp(uniform(generator))) - 1);
    return m.values(1, count, DType::i32, ids);
}

// The loss over a chunk of rows.
void add_cross_entropy(Cases& cases, DType type, const Model& model, Device device) {
    const int64_t rows = logit_rows(model.config, device, type, model.N()), V = model.V(), Vp = model.Vp();
    for (const bool backward : {true, false})
        cases.add("cross_entropy", label(type, rows, Vp) + (backward ? "_backward" : ""), [=](Memory& m) -> Run {
            const Tensor logits = m.random(rows, Vp, type);
            const Tensor targets = text_ids(m, rows, V);
            const kernels::CrossEntropy a{.losses = m.output(1, rows, DType::f32),
                                          .logits = logits,
                                          .dlogits = backward ? logits : Tensor{},
                                          .targets = targets.get<int32_t>(),
                                          .V = V,
                                          .scale = 1e-4f};
            // The next run gets this one's gradients as logits: finite numbers too, which is all that matters here.
            return [=] { kernels::cross_entropy(a); };
        });
}

// ---- what goes over memory once ----------------------------------------------------------------------------------

void add_pointwise(Cases& cases, DType type, const Model& model) {
    const int64_t N = model.N(), C = model.C(), V = model.V(), Vp = model.Vp();
    cases.add("gelu_forward", label(type, N, 4 * C), [=](Memory& m) -> Run {
        const Tensor out = m.output(N, 4 * C, type), x = m.random(N, 4 * C, type);
        return [=] { kernels::gelu_forward(out, x); };
    });
    cases.add("gelu_backward", label(type, N, 4 * C), [=](Memory& m) -> Run {
        const Tensor dx = m.output(N, 4 * C, type), dout = m.random(N, 4 * C, type), x = m.random(N, 4 * C, type);
        return [=] { kernels::gelu_backward(dx, dout, x); };
    });
    for (const int64_t width : {C, 4 * C})
        cases.add("bias_backward", label(type, N, width), [=](Memory& m) -> Run {
            const Tensor dbias = m.output(1, width, DType::f32), dout = m.random(N, width, type);
            return [=] { kernels::bias_backward(dbias, dout, false); };
        });
    cases.add("add", label(type, N, C), [=](Memory& m) -> Run {
        const Tensor out = m.output(N, C, type), a = m.random(N, C, type), b = m.random(N, C, type);
        return [=] { kernels::add(out, a, b); };
    });
    cases.add("layernorm_forward", label(type, N, C), [=](Memory& m) -> Run {
        const kernels::LayerNormForward a{.out = m.output(N, C, type),
                                          .mean = m.output(1, N, DType::f32),
                                          .rstd = m.output(1, N, DType::f32),
                                          .x = m.random(N, C, type),
                                          .weight = m.random(1, C, type),
                                          .bias = m.random(1, C, type)};
        return [=] { kernels::layernorm_forward(a); };
    });
    cases.add("layernorm_backward", label(type, N, C) + "_accumulate", [=](Memory& m) -> Run {
        const kernels::LayerNormBackward a{.dx = m.zeros(N, C, type),
                                           .dweight = m.zeros(1, C, DType::f32),
                                           .dbias = m.zeros(1, C, DType::f32),
                                           .dx_sums = m.zeros(1, C, DType::f32),
                                           .dout = m.random(N, C, type),
                                           .x = m.random(N, C, type),
                                           .weight = m.random(1, C, type),
                                           .mean = m.zeros(1, N, DType::f32),
                                           .rstd = m.random(1, N, DType::f32, 0, 1),
                                           .accumulate_dx = true,
                                           .accumulate = true};
        return [=] { kernels::layernorm_backward(a); };
    });
    cases.add("embedding_forward", label(type, N, C), [=](Memory& m) -> Run {
        const Tensor out = m.output(N, C, type), tokens = text_ids(m, N, V);
        const Tensor wte = m.random(Vp, C, type), wpe = m.random(kT, C, type);
        return [=] { kernels::embedding_forward(out, tokens.get<int32_t>(), wte, wpe, kT); };
    });
    cases.add("embedding_backward", label(type, N, C), [=](Memory& m) -> Run {
        const Tensor dwte = m.zeros(Vp, C, DType::f32), dwpe = m.zeros(kT, C, DType::f32);
        const Tensor dout = m.random(N, C, type), tokens = text_ids(m, N, V);
        return [=] { kernels::embedding_backward(dwte, dwpe, dout, tokens.get<int32_t>(), kT, false); };
    });
    cases.add("dropout", label(type, N, C), [=](Memory& m) -> Run {
        const Tensor out = m.output(N, C, type), x = m.random(N, C, type);
        return [=] { kernels::dropout(out, x, 0.1f, {1, rng::Purpose::dropout, 0, 0}, false); };
    });
}

// ---- once an update, or less often -------------------------------------------------------------------------------

// All tensors that a model trains in its full-rank or in its low-rank phase.
kernels::TrainedTensors trained_tensors(Memory& m, DType type, const Model& model, bool low_rank, bool masters) {
    struct Shape {
        int64_t rows, cols;
    };
    const int64_t C = model.C();
    std::vector<Shape> shapes = {{model.Vp(), C}, {kT, C}, {1, C}, {1, C}};
    for (int layer = 0; layer < model.config.layers; layer++) {
        shapes.insert(shapes.end(), 4, {1, C});
        for (const Linear& linear : linears(model)) {
            shapes.push_back({1, linear.out});
            if (low_rank)
                shapes.insert(shapes.end(), {{linear.sections * kRank, linear.in}, {linear.out, kRank}});
            else
                shapes.push_back({linear.out, linear.in});
        }
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

void add_optimizer(Cases& cases, DType type, const Model& model) {
    const auto scalars_of = [](Memory& m) {
        std::vector<float> s(kernels::kStepScalars, 1.0f);
        s[kernels::kRates] = 1e-4f;
        return m.values(1, kernels::kStepScalars, DType::f32, s);
    };
    for (const bool low_rank : {false, true}) {
        const std::string name = low_rank ? "gpt2_relora" : "gpt2_full";
        for (const bool masters : {true, false}) {
            if (type == DType::f32 && !masters) continue;
            cases.add("adamw", str(dtype_name(type), "_", name, masters ? "" : "_without_masters"),
                      [=](Memory& m) -> Run {
                          const Tensor scalars = scalars_of(m);
                          return [=, trained = trained_tensors(m, type, model, low_rank, masters)] {
                              kernels::adamw(scalars, trained, {.weight_decay = 0.1});
                          };
                      });
        }
        cases.add("gradient_norm", "fp32_" + name, [=](Memory& m) -> Run {  // gradients are fp32 in any case
            const Tensor scalars = scalars_of(m);
            kernels::GradientRanges gradients;
            int64_t units = 0;
            for (const kernels::TrainedTensor& t : trained_tensors(m, DType::f32, model, low_rank, true).tensors) {
                const int64_t n = t.gradient.size();
                gradients.ranges.push_back({t.gradient.reuse(DType::f32, 1, n), units});
                units += kernels::norm_units(n);
            }
            gradients.table = m.scratch(1, kernels::gradient_table_ints(int64_t(gradients.ranges.size())), DType::i32);
            gradients.prepare();
            const kernels::NormSums sums{m.scratch(1, kernels::norm_sums_ints(units, 1), DType::i32), units};
            return [=] {
                kernels::gradient_squares(sums, gradients, scalars);
                kernels::gradient_norm(scalars, sums, 1.0f);
            };
        });
    }
}

// A restart, which merges and re-initialises the adapters, and the reset of their moments: the ops of both on the
// largest linear of a block and on the embedding.
void add_restart(Cases& cases, DType type, const Model& model) {
    const int64_t C = model.C();
    for (const int64_t rows : {4 * C, model.Vp()}) {
        const std::string shape = label(DType::f32, rows, C);
        cases.add("add", shape, [=](Memory& m) -> Run {
            const Tensor w = m.random(rows, C, DType::f32), delta = m.random(rows, C, DType::f32);
            return [=] { kernels::add(w, w, delta); };
        });
        cases.add("convert", shape + "_to_bf16", [=](Memory& m) -> Run {
            const Tensor out = m.output(rows, C, DType::bf16), in = m.random(rows, C, DType::f32);
            return [=] { kernels::convert(out, in); };
        });
        cases.add("norm_squared", shape, [=](Memory& m) -> Run {
            const Tensor t = m.random(rows, C, DType::f32);
            return [=] { kernels::norm_squared(t); };
        });
        cases.add("zero", shape, [=](Memory& m) -> Run {
            const Tensor t = m.output(rows, C, DType::f32);
            return [=] { kernels::zero(t); };
        });
        cases.add("fill_normal", label(type, rows, C), [=](Memory& m) -> Run {
            const Tensor out = m.output(rows, C, type);
            return [=] { kernels::fill_normal(out, 0.02f, {1, rng::Purpose::init, 0, 0}); };
        });
    }
    cases.add("fill_uniform", label(DType::f32, kRank, 4 * C), [=](Memory& m) -> Run {
        const Tensor out = m.output(kRank, 4 * C, DType::f32);
        return [=] { kernels::fill_uniform(out, 0.02f, {1, rng::Purpose::lora_init, 0, 0}); };
    });
    // The moments are those of c_attn's A, of c_fc's B, and of c_fc's B in gpt2-xl. Each run starts from new values,
    // since a tensor that is pruned already would be another case.
    const auto renew = [](const Tensor& t) { kernels::fill_normal(t, 1.0f, {1, rng::Purpose::init, 0, 0}); };
    for (const int64_t n : {3 * kRank * C, 4 * C * kRank, 6400 * kRank}) {
        const std::string shape = str("fp32_", n);
        cases.add("prune_magnitude", shape + "_p99", [=](Memory& m) -> Run {
            const Tensor t = m.output(1, n, DType::f32), scratch = m.scratch(1, n, DType::f32);
            return [=] { renew(t), kernels::prune_magnitude(t, 0.99, scratch); };
        });
        cases.add("prune_random", shape + "_p99", [=](Memory& m) -> Run {
            const Tensor t = m.output(1, n, DType::f32);
            return [=] { renew(t), kernels::prune_random(t, 0.99f, {1, rng::Purpose::prune, 0, 0}); };
        });
        cases.add("count_zeros", shape, [=](Memory& m) -> Run {
            const Tensor t = m.random(1, n, DType::f32);
            return [=] { kernels::count_zeros(t); };
        });
    }
}

// The mean of the losses, and one token drawn from GPT-2's logits.
void add_loss_and_sampling(Cases& cases, const Model& model) {
    const int64_t N = model.N(), V = model.V();
    cases.add("sum", label(DType::f32, 1, N), [=](Memory& m) -> Run {
        const Tensor out = m.output(1, 1, DType::f32), losses = m.random(1, N, DType::f32);
        return [=] { kernels::sum(out, losses, 1.0f / float(N), false); };
    });
    struct Draw {
        const char* name;
        double temperature;
        int64_t top_k;
    };
    for (const auto [name, temperature, top_k] : {Draw{"_greedy", 0, 0}, Draw{"", 0.8, 0}, Draw{"_top40", 0.8, 40}})
        cases.add("sample_token", str("fp32_1x", V, name), [=](Memory& m) -> Run {
            const kernels::SampleToken s{.token = m.output(1, 1, DType::i32),
                                         .logits = m.random(1, V, DType::f32, 3),
                                         .temperature = temperature,
                                         .top_k = top_k,
                                         .uniform = 0.5f};
            return [=] { kernels::sample_token(s); };
        });
}

}  // namespace
}  // namespace bench

std::vector<Case> bench_cases(Device device, const std::vector<DType>& types) {
    using namespace bench;
    using relora::Route;
    const Model base{named_config("gpt2"), 16}, xl{named_config("gpt2-xl"), 8};
    const Model all[] = {base, xl, {named_config("gpt2-medium"), 16}, {named_config("gpt2-large"), 8}};
    Cases cases;
    for (const DType type : types) {
        for (const Model& model : all) {
            add_weight_products(cases, type, model);
            add_attention(cases, device, type, model.B, model.config.heads, model.config.head_size());
        }
        for (const Model& model : all) {
            add_head_products(cases, type, model, device);
            add_cross_entropy(cases, type, model, device);
            add_adapter_products(cases, type, model, Route::merged);
            add_formation(cases, type, model);
        }
        for (const Model& model : {base, xl}) add_pointwise(cases, type, model);
        add_optimizer(cases, type, base);
        for (const Route route : {Route::factored, Route::project})
            for (const Model& model : all) add_adapter_products(cases, type, model, route);
        add_attention(cases, device, type, 8, 6, 128);  // heads of another size
        add_restart(cases, type, base);
        add_loss_and_sampling(cases, base);
    }
    return cases.all();
}

}  // namespace registry
