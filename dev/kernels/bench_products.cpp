// Products at the sizes that training has.
#include <memory>

#include "dev/kernels/bench_cases.h"

namespace registry::bench {
namespace {

// A product (M, K) x (K, N), or a batch of them.
std::string label(DType type, int batch, int64_t M, int64_t N, int64_t K, const char* what) {
    return str(dtype_name(type), "_", batch > 1 ? str(batch, "x") : "", M, "x", N, "x", K, "_", what);
}

void add_product(Cases& cases, const char* what, int64_t M, int64_t N, int64_t K, DType type, DType result,
                 const kernels::Matmul& how, bool bias = false, bool residual = false) {
    cases.add("matmul", label(type, 1, M, N, K, what), [=](Memory& m) -> Run {
        kernels::Matmul a = how;
        a.a = how.transpose_a ? m.random(K, M, type) : m.random(M, K, type);
        a.b = how.transpose_b ? m.random(N, K, type) : m.random(K, N, type);
        a.c = m.zeros(M, N, result);
        if (bias) a.bias = m.random(1, N, type);
        if (residual) a.residual = m.random(M, N, type);
        if (how.epilogue != kernels::Epilogue::none) a.aux = m.random(M, N, type);
        if (how.epilogue == kernels::Epilogue::gelu_backward) a.column_sums = m.zeros(1, N, DType::f32);
        return [=] { kernels::matmul(a); };
    });
}

// A linear's adapters, and what passes through them in a micro-batch.
struct AdapterCase : relora::Adapter {
    Tensor x, y, low, dW;  // (N, in), (N, out), (N, sections * r), (out, in): values or gradients
};
constexpr float kScale = 0.25f;

// Adapters of a weight [out, in], which needs no memory for products of A and B alone.
relora::Adapter adapter_of(Memory& m, const Linear& linear, Parameter& weight, DType type) {
    weight.rows = linear.out, weight.cols = linear.in;
    relora::Adapter adapter = relora::make_adapter(
        0, weight, {.rank = kRank, .alpha = kScale * double(kRank), .sections = linear.sections}, 0);
    for (Parameter* p : {&adapter.A, &adapter.B}) {
        p->weight = m.random(p->rows, p->cols, type);
        p->master = m.random(p->rows, p->cols, DType::f32);
        p->gradient = m.zeros(p->rows, p->cols, DType::f32);
    }
    return adapter;
}

}  // namespace

// GELU is within the MLP's products: backward, `aux` is what c_fc made, and the product is c_proj's input gradient.
void add_weight_products(Cases& cases, DType type, const Model& model) {
    using kernels::Epilogue;
    const int64_t N = model.N(), C = model.C();
    for (const auto [out, in, sections] : linears(model)) {
        add_product(cases, "forward", N, out, in, type, type, {.transpose_b = true}, true, out == C);
        add_product(cases, "dinput", N, in, out, type, type, {});
        add_product(cases, "dweight", out, in, N, type, DType::f32, {.transpose_a = true, .accumulate = true});
    }
    add_product(cases, "gelu", N, 4 * C, C, type, type, {.transpose_b = true, .epilogue = Epilogue::gelu}, true);
    add_product(cases, "gelu_backward", N, 4 * C, C, type, type, {.epilogue = Epilogue::gelu_backward});
}

void add_head_products(Cases& cases, DType type, const Model& model, Device device) {
    const int64_t rows = logit_rows(model.config, device, type, model.N()), C = model.C(), Vp = model.Vp();
    add_product(cases, "head", rows, Vp, C, type, type, {.transpose_b = true});
    add_product(cases, "head_dinput", rows, C, Vp, type, type, {});
    add_product(cases, "head_dweight", Vp, C, rows, type, DType::f32, {.transpose_a = true, .accumulate = true});
}

// The products are those that relora.cuh asks for: those of q, k and v are a batch.
void add_adapter_products(Cases& cases, DType type, const Model& model, relora::Route route) {
    using namespace relora;
    const int64_t N = model.N();
    for (const Linear& linear : linears(model)) {
        const int s = linear.sections;
        const int64_t in = linear.in, out = linear.out, part = out / s, stacked = s * kRank;
        const auto add = [&](const char* what, int batch, int64_t rows, int64_t cols, int64_t inner,
                             void (*run)(const AdapterCase&)) {
            cases.add("matmul", label(type, batch, rows, cols, inner, what), [=](Memory& m) -> Run {
                Parameter weight;
                const AdapterCase c{adapter_of(m, linear, weight, type), m.random(N, in, type), m.random(N, out, type),
                                    m.random(N, stacked, type), m.random(out, in, type)};
                return [=] { run(c); };
            });
        };
        if (route == Route::merged) {
            add("u", 1, N, stacked, in, [](const AdapterCase& c) { project_input(c.low, c.x, c); });
            add("du", s, N, kRank, part, [](const AdapterCase& c) {
                multiply_sections(c, by_cols(c, c.y), by_rows(c, c.B.weight), by_cols(c, c.low), {.alpha = kScale});
            });
            add("dB", s, part, kRank, N, [](const AdapterCase& c) {
                multiply_sections(c, by_cols(c, c.y), by_cols(c, c.low), by_rows(c, c.B.gradient),
                                  {.transpose_a = true, .accumulate = true});
            });
            add("dA", 1, stacked, in, N, [](const AdapterCase& c) {
                kernels::matmul({.a = c.low, .b = c.x, .c = c.A.gradient, .transpose_a = true, .accumulate = true});
            });
        } else if (route == Route::factored) {  // besides those of merged
            add("y", s, N, part, kRank, [](const AdapterCase& c) {
                multiply_sections(c, by_cols(c, c.low), by_rows(c, c.B.weight), by_cols(c, c.y),
                                  {.transpose_b = true, .accumulate = true});
            });
            add("dx", 1, N, in, stacked, [](const AdapterCase& c) {
                kernels::matmul({.a = c.low, .b = c.A.weight, .c = c.x, .accumulate = true});
            });
        } else {
            add("dW", 1, out, in, N, [](const AdapterCase& c) {
                kernels::matmul({.a = c.y, .b = c.x, .c = c.dW, .transpose_a = true, .alpha = kScale});
            });
            add("dB_of_dW", s, part, kRank, in, [](const AdapterCase& c) {
                multiply_sections(c, by_rows(c, c.dW), by_rows(c, c.A.weight), by_rows(c, c.B.gradient),
                                  {.transpose_b = true, .accumulate = true});
            });
            add("dA_of_dW", s, kRank, in, part, [](const AdapterCase& c) {
                multiply_sections(c, by_rows(c, c.B.weight), by_rows(c, c.dW), by_rows(c, c.A.gradient),
                                  {.transpose_a = true, .accumulate = true});
            });
        }
    }
}

void add_formation(Cases& cases, DType type, const Model& model) {
    for (const Linear& linear : linears(model)) {
        const auto form = [=](Memory& m) -> Run {
            const auto weight = std::make_shared<Parameter>();
            relora::Adapter adapter = adapter_of(m, linear, *weight, type);
            adapter.effective = m.output(linear.out, linear.in, type);
            weight->weight = m.random(linear.out, linear.in, type);
            const relora::Scratch scratch{.delta = m.output(linear.out, linear.in, DType::f32)};
            // The weight lives as long as the run that points to it.
            return [adapter, scratch, weight] { relora::form_effective_weight(adapter, scratch); };
        };
        if (type == DType::f32) {
            cases.add("matmul", label(type, linear.sections, linear.out / linear.sections, linear.in, kRank, "form"),
                      form);
            cases.add("add", label(type, linear.out, linear.in) + "_form", form);
        } else {
            cases.add("add_low_rank", label(type, linear.out, linear.in), form);
        }
    }
}

}  // namespace registry::bench
