// The method: ReLoRA (Lialin et al., "High-Rank Training Through Low-Rank Updates", ICLR 2024).
// Linear layers with adapters, merge and re-initialisation, partial optimizer resets, jagged learning-rate schedules.
//
//     y = x W^T + b + s (x A^T) B^T        W [out, in] frozen, A [r, in], B [out, r], s = alpha / r
//     restart: W <- W + s B A (fp32),  B <- 0,  A stays or <- U(-1/sqrt(in), 1/sqrt(in))
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/memory.h"
#include "runtime/parameter.h"

namespace relora {

// ---- learning-rate schedule -------------------------------------------------------------------------------------

enum class ScheduleKind { cosine, linear, constant, wsd };

// Multiplier on the base learning rate over `num_steps` updates. With cycle > 0 it is jagged: every `cycle` updates the
// rate drops to zero, and meets the base schedule again after `rewarm` updates.
struct Schedule {
    ScheduleKind kind = ScheduleKind::cosine;
    int64_t num_steps = 1, warmup = 0, cycle = 0, rewarm = 0;
    int64_t last_drop = INT64_MAX;  // the rate drops at no later update
    double floor = 0.1;             // final rate / peak rate
    double decay_fraction = 0.2;    // wsd: the share of updates in the final linear decay
    bool skip_zero_rate = false;    // re-warm from 1/rewarm instead of spending an update at rate 0

    // The base schedule after warm-up, at progress p in [0, 1] from the end of warm-up to the end.
    double base(double p) const {
        switch (kind) {
            case ScheduleKind::cosine: return floor + (1 - floor) * 0.5 * (1 + std::cos(M_PI * p));
            case ScheduleKind::linear: return 1 - (1 - floor) * p;
            case ScheduleKind::constant: return 1;
            case ScheduleKind::wsd: {
                const double start = 1 - decay_fraction;
                return p < start ? 1 : 1 - (1 - floor) * (p - start) / std::max(decay_fraction, 1e-12);
            }
        }
        FAIL("unknown schedule");
    }
    // The multiplier at update s, 0-based.
    double multiplier(int64_t s) const {
        if (s < warmup) return double(s) / double(std::max<int64_t>(1, warmup));
        const double span = double(std::max<int64_t>(1, num_steps - warmup));
        if (cycle > 0 && s >= cycle && s % cycle < rewarm && s - s % cycle <= last_drop) {
            const int64_t q = s % cycle, rewarmed = s - q + rewarm;
            const double rise = double(q + (skip_zero_rate ? 1 : 0)) / double(std::max<int64_t>(1, rewarm));
            return rise * base(double(rewarmed - warmup) / span);
        }
        return base(double(s - warmup) / span);
    }
};

// ---- adapters ----------------------------------------------------------------------------------------------------

// How forward and backward see an adapter:
//   merged    W + s B A, formed once per update, takes the place of W in forward and in dX, which take no more work
//             per token than without an adapter. Low-rank products give dA and dB.
//   factored  The adapter has low-rank products of its own, added to those of W, as dropout demands.
//   project   As merged, but dW = dY^T x is formed for one linear at a time and projected: dB = s dW A^T and
//             dA = s B^T dW. Whatever the rank, it costs no more than full-rank training and the projection.
// All give the same gradients.
enum class Route { merged, factored, project };
inline constexpr int kRoutes = 3;
inline const char* route_name(Route route) {
    constexpr const char* kNames[kRoutes] = {"merged", "factored", "project"};
    return kNames[int(route)];
}

struct AdapterConfig {
    int64_t rank = 128;
    double alpha = 0;
    double dropout = 0;  // on the adapter's input, which only the factored route has
    int sections = 1;    // adapters side by side in one linear
    Route route = Route::merged;
    // s = alpha / r, or without alpha sqrt(3 in / r): A's deviation is 1 / sqrt(3 in) at first, so that a change of B
    // by rms d changes s B A by rms s sqrt(r) d / sqrt(3 in) = d.
    double scale(int64_t in) const {
        return alpha > 0 ? alpha / double(rank) : std::sqrt(3 * double(in) / double(rank));
    }
    // The rms by which s B A changes where B does by rms 1, while A is as it was drawn.
    double step(int64_t in) const { return scale(in) * std::sqrt(double(rank) / (3 * double(in))); }
    Route taken_route() const { return dropout > 0 ? Route::factored : route; }
};

// The low-rank half of one linear. `sections` independent adapters are stacked (q, k, v of c_attn): rows i*r … of A and
// the i-th equal share of B's rows belong together. So x A^T is one product for all of them.
struct Adapter {
    uint32_t id = 0;  // keys its random numbers
    int sections = 1;
    int64_t rank = 0, in = 0, out = 0;
    float scale = 0;
    float dropout = 0;
    Route route = Route::merged;
    Parameter* weight = nullptr;    // W, [out, in], which the adapter is added to
    Parameter A, B;                 // [sections * r, in], [out, r]
    Tensor effective;               // unless factored: [out, in] compute type, W + s B A
    Tensor u;                       // (N, sections * r): s x A^T; factored: kept for the backward, merged: scratch
    const Adapter* u_of = nullptr;  // the adapter whose u it shares, where activations are recomputed

    bool factored() const { return route == Route::factored; }
    Tensor A_section(const Tensor& t, int i) const { return t.row_range(i * rank, rank); }
    Tensor B_section(const Tensor& t, int i) const { return t.row_range(i * (out / sections), out / sections); }
    rng::Stream stream(rng::Purpose purpose, uint64_t seed, int section, uint64_t epoch) const {
        return {seed, purpose, id * 4 + uint32_t(section), epoch};
    }
};

// The largest rank that the adapters of a linear can have.
inline int64_t most_rank(int64_t in, int64_t out, int sections) { return std::min(in, out / sections); }

// Makes an adapter for a weight, and freezes the weight. The id tells it from the model's other adapters.
inline Adapter make_adapter(uint32_t id, Parameter& weight, const AdapterConfig& config, int bucket) {
    Adapter a{.id = id,
              .sections = config.sections,
              .rank = config.rank,
              .in = weight.cols,
              .out = weight.rows,
              .scale = float(config.scale(weight.cols)),
              .dropout = float(config.dropout),
              .route = config.taken_route(),
              .weight = &weight};
    CHECK(a.sections > 0, "an adapter of ", weight.name, " has ", a.sections, " sections");
    const int64_t most = most_rank(a.in, a.out, a.sections);
    CHECK(a.rank > 0 && a.rank <= most, "rank ", a.rank, " is not in 1..", most, ", the most that an adapter of ",
          weight.name, " can have");
    const std::string base = weight.name.substr(0, weight.name.rfind('.'));
    const auto describe = [&](Parameter& p, const char* name, Role role, int64_t rows, int64_t cols) {
        p.name = base + name;
        p.role = role;
        p.rows = p.file_rows = rows;
        p.cols = cols;
        p.bucket = bucket;
        p.stage = weight.stage;
    };
    describe(a.A, ".lora_A", Role::adapter_A, a.sections * a.rank, a.in);
    describe(a.B, ".lora_B", Role::adapter_B, a.out, a.rank);
    weight.trains = false;
    return a;
}

// Memory shared by all adapters of a model.
struct Scratch {
    Tensor u;        // (N, max sections * r), for merged adapters
    Tensor du;       // (N, max sections * r), for merged and factored ones
    Tensor dropped;  // (N, max in), planned only with dropout
    Tensor delta;    // (1, max out * in): s B A in fp32 or s dW in the compute type, of one linear
};

// Whether W + s B A is stored over the rounded W. A bf16 run on a CPU does so, since the fp32 W lies beside it. On a
// GPU the fp32 W is in host memory, and ranks share it: there the rounded one is all that the device has of W.
inline bool replaces_weight(const Adapter& a, DType type, Device device) {
    return type != DType::f32 && device == Device::cpu && !a.weight->shared;
}

// Plans what adapters need for N rows besides their parameters: effective weights, u, and the scratch that they share.
inline void plan_adapters(MemoryPlan& plan, std::vector<Adapter>& adapters, Scratch& scratch, DType type, int64_t N) {
    int64_t u = 0, du = 0, dropped = 0, delta = 0;
    for (Adapter& a : adapters) {
        const int64_t stacked = a.sections * a.rank;
        if (!a.factored() && !replaces_weight(a, type, plan.device()))
            plan.add(&a.effective, MemoryCategory::weights, type, a.out, a.in);
        if (a.factored() && !a.u_of) plan.add(&a.u, MemoryCategory::activations, type, N, stacked);
        if (a.route == Route::merged) u = std::max(u, stacked);
        if (a.route != Route::project) du = std::max(du, stacked);
        if (a.dropout > 0) dropped = std::max(dropped, a.in);
        delta = std::max(delta, a.in * a.out);
    }
    if (u > 0) plan.add(&scratch.u, MemoryCategory::workspaces, type, N, u);
    if (du > 0) plan.add(&scratch.du, MemoryCategory::workspaces, type, N, du);
    if (delta > 0) plan.add(&scratch.delta, MemoryCategory::workspaces, DType::f32, 1, delta);
    if (dropped > 0) plan.add(&scratch.dropped, MemoryCategory::workspaces, type, N, dropped);
}

// Sets the tensors that share memory with others, once the plan of plan_adapters() and the weights are allocated.
inline void place_adapters(std::vector<Adapter>& adapters, const Scratch& scratch, DType type, Device device,
                           int64_t N) {
    for (Adapter& a : adapters) {
        if (!a.factored() && replaces_weight(a, type, device)) a.effective = a.weight->weight;
        if (a.route == Route::merged) a.u = scratch.u.reuse(type, N, a.sections * a.rank);
        if (a.factored() && a.u_of) a.u = a.u_of->u;
    }
}

// Elements of the largest result of an adapter's products that is rounded to the compute type, over N rows.
inline int64_t largest_result(const Adapter& a, int64_t N) {
    return std::max(N * std::max(a.in, a.out), a.route == Route::project ? a.in * a.out : 0);
}

// FLOPs of an adapter by its route, beside the 4 in out that forward and input gradient of a frozen weight take per
// token.
struct RouteFlops {
    double low_rank = 0;    // per token, by products with a side of r
    double dense = 0;       // per token, by a product of the weight's size
    double projection = 0;  // per micro-batch, from dW to dA and dB
    double formation = 0;   // per update, of W + s B A
    double per_token() const { return low_rank + dense; }
};
inline RouteFlops flops_by_route(Route route, int64_t in, int64_t out, int64_t rank, int sections) {
    const double k = double(in), m = double(out), r = double(rank), one_product = 2 * r * (sections * k + m);
    switch (route) {
        case Route::merged: return {.low_rank = 2 * one_product, .formation = 2 * r * k * m};
        case Route::factored: return {.low_rank = 3 * one_product};
        case Route::project: return {.dense = 2 * k * m, .projection = 4 * r * k * m, .formation = 2 * r * k * m};
    }
    FAIL("unknown route");
}

// What varies from one forward pass to the next, for dropout masks that the backward can draw again.
struct Pass {
    uint64_t seed = 0, index = 0;
    bool training = false;
};

// One linear layer of a block: weight, bias, and in the low-rank phase perhaps an adapter.
struct Linear {
    Parameter* weight = nullptr;  // [out, in]
    Parameter* bias = nullptr;    // [out]
    Adapter* adapter = nullptr;
};

// What an adapter multiplies: x (N, in) itself, or in training with dropout a copy with elements dropped.
inline Tensor adapter_input(const Adapter& adapter, const Tensor& x, const Scratch& scratch, const Pass& pass) {
    if (adapter.dropout == 0 || !pass.training) return x;
    Tensor dropped = scratch.dropped.reuse(x.dtype, x.rows, x.cols);
    kernels::dropout(dropped, x, adapter.dropout, adapter.stream(rng::Purpose::dropout, pass.seed, 0, pass.index),
                     false);
    return dropped;
}

// The parts of a tensor that belong to an adapter's sections: the first, and how far apart they are.
struct Sections {
    Tensor first;
    int64_t distance = 0;
};
// The sections of a tensor that are ranges of its rows, and of one whose sections are ranges of its columns.
inline Sections by_rows(const Adapter& adapter, const Tensor& t) {
    const int64_t rows = t.rows / adapter.sections;
    return {t.row_range(0, rows), rows * t.ld};
}
inline Sections by_cols(const Adapter& adapter, const Tensor& t) {
    const int64_t cols = t.cols / adapter.sections;
    return {t.col_range(0, cols), cols};
}
// Computes c = a b for all sections in one call; `how` says what matmul() may do besides.
inline void multiply_sections(const Adapter& adapter, const Sections& a, const Sections& b, const Sections& c,
                              kernels::Matmul how) {
    how.a = a.first, how.b = b.first, how.c = c.first;
    how.batch = {.count = adapter.sections, .a = a.distance, .b = b.distance, .c = c.distance};
    kernels::matmul(how);
}

// Computes s B A (out, in) in fp32, into the scratch, from the A and B that forward and backward see.
inline Tensor low_rank_update(const Adapter& adapter, const Scratch& scratch) {
    const Tensor delta = scratch.delta.reuse(DType::f32, adapter.out, adapter.in);
    multiply_sections(adapter, by_rows(adapter, adapter.B.weight), by_rows(adapter, adapter.A.weight),
                      by_rows(adapter, delta), {.alpha = adapter.scale});
    return delta;
}

// W + s B A, summed in fp32 and rounded once: to be called when W, A or B have changed. A factored adapter has none.
// Where only the rounded W is at hand, most of an update below half its unit in the last place would be rounded away
// again: there an offset of each element's own, the same at every call, decides on the direction, and the update passes
// whole in the mean.
inline void form_effective_weight(const Adapter& adapter, const Scratch& scratch) {
    if (adapter.factored()) return;
    const Parameter& w = *adapter.weight;
    if (adapter.effective.data != w.weight.data && w.weight.dtype == DType::bf16)
        return kernels::add_low_rank({.out = adapter.effective,
                                      .w = w.weight,
                                      .B = adapter.B.weight,
                                      .A = adapter.A.weight,
                                      .scratch = scratch.delta.reuse(DType::f32, adapter.out, adapter.in),
                                      .sections = adapter.sections,
                                      .scale = adapter.scale,
                                      .stream = adapter.stream(rng::Purpose::dither, 0, 0, 0)});
    const Tensor delta = low_rank_update(adapter, scratch);
    kernels::add(adapter.effective, w.weight.dtype == DType::f32 ? w.weight : w.master, delta);
}

// Whether an adapter's products are added to those of the weight.
inline bool is_factored(const Linear& linear) { return linear.adapter && linear.adapter->factored(); }
// The weight that forward and the input's gradient multiply by.
inline const Tensor& weight_of(const Linear& linear) {
    return linear.adapter && !linear.adapter->factored() ? linear.adapter->effective : linear.weight->weight;
}

// u = s x A^T (N, sections * r)
inline void project_input(const Tensor& u, const Tensor& input, const Adapter& adapter) {
    kernels::matmul({.a = input, .b = adapter.A.weight, .c = u, .transpose_b = true, .alpha = adapter.scale});
}

// What comes after a linear, in its product unless a factored adapter adds to y after that: a sum, or an activation.
struct After {
    Tensor residual;   // (N, out), added to y
    Tensor activated;  // (N, out), becomes gelu(y)
};

// y (N, out) = x (N, in) W^T + b [+ s (x A^T) B^T] [+ residual].
inline void linear_forward(const Tensor& y, const Tensor& x, const Linear& linear, const Scratch& scratch,
                           const Pass& pass, const After& after = {}) {
    kernels::Matmul product{.a = x, .b = weight_of(linear), .c = y, .bias = linear.bias->weight, .transpose_b = true};
    if (!is_factored(linear)) {
        product.residual = after.residual;
        if (!after.activated.empty()) {
            product.c = after.activated;
            product.epilogue = kernels::Epilogue::gelu;
            product.aux = y;
        }
        return kernels::matmul(product);
    }
    kernels::matmul(product);
    const Adapter& adapter = *linear.adapter;
    const Tensor input = adapter_input(adapter, x, scratch, pass);
    const Tensor u = adapter.u.row_range(0, x.rows);
    project_input(u, input, adapter);
    multiply_sections(adapter, by_cols(adapter, u), by_rows(adapter, adapter.B.weight), by_cols(adapter, y),
                      {.transpose_b = true, .accumulate = true});
    if (!after.residual.empty()) kernels::add(y, y, after.residual);
    if (!after.activated.empty()) kernels::gelu_forward(after.activated, y);
}

// dA, dB of a linear from s dW = s dY^T x, which the scratch holds only until they are known. In bf16 dW is rounded, as
// u and du are on the other routes: products of fp32 run at less than a tenth of the rate on a GPU.
inline void project_gradient(const Tensor& dy, const Tensor& x, const Adapter& adapter, const Scratch& scratch,
                             bool accumulate) {
    const Tensor dw = scratch.delta.reuse(x.dtype, adapter.out, adapter.in);
    kernels::matmul({.a = dy, .b = x, .c = dw, .transpose_a = true, .alpha = adapter.scale});
    const Sections A = by_rows(adapter, adapter.A.weight), B = by_rows(adapter, adapter.B.weight),
                   dW = by_rows(adapter, dw);
    multiply_sections(adapter, dW, A, by_rows(adapter, adapter.B.gradient),
                      {.transpose_b = true, .accumulate = accumulate});
    multiply_sections(adapter, B, dW, by_rows(adapter, adapter.A.gradient),
                      {.transpose_a = true, .accumulate = accumulate});
}

// What comes before a linear whose input is an activation, x = gelu(preactivation).
struct Before {
    Tensor preactivation;  // (N, in)
    Tensor bias_gradient;  // (1, in) fp32: of the bias that was the last to be added to the preactivation
};

// dx (N, in) = gradient of the input, or of the preactivation; weight, adapter and `before`'s bias gradients are added
// to, or overwritten unless `accumulate`. The bias's own gradient, the column sums of dy, is that of what makes dy.
inline void linear_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, const Linear& linear,
                            const Scratch& scratch, const Pass& pass, bool accumulate, const Before& before = {}) {
    if (linear.weight->trains)
        kernels::matmul({.a = dy, .b = x, .c = linear.weight->gradient, .transpose_a = true, .accumulate = accumulate});
    kernels::Matmul product{.a = dy, .b = weight_of(linear), .c = dx};
    if (!is_factored(linear) && !before.preactivation.empty()) {
        product.epilogue = kernels::Epilogue::gelu_backward;
        product.aux = before.preactivation;
        product.column_sums = before.bias_gradient;
        product.accumulate_sums = accumulate;
    }
    kernels::matmul(product);
    if (!linear.adapter) return;
    const Adapter& adapter = *linear.adapter;
    if (adapter.route == Route::project) return project_gradient(dy, x, adapter, scratch, accumulate);
    const Tensor u = adapter.u.row_range(0, x.rows);
    const Tensor du = scratch.du.reuse(x.dtype, x.rows, adapter.sections * adapter.rank);
    if (!adapter.factored()) project_input(u, x, adapter);
    multiply_sections(adapter, by_cols(adapter, dy), by_rows(adapter, adapter.B.weight), by_cols(adapter, du),
                      {.alpha = adapter.scale});
    multiply_sections(adapter, by_cols(adapter, dy), by_cols(adapter, u), by_rows(adapter, adapter.B.gradient),
                      {.transpose_a = true, .accumulate = accumulate});
    const Tensor input = adapter_input(adapter, x, scratch, pass);
    kernels::matmul({.a = du, .b = input, .c = adapter.A.gradient, .transpose_a = true, .accumulate = accumulate});
    if (!adapter.factored()) return;
    if (adapter.dropout == 0 || !pass.training) {
        kernels::matmul({.a = du, .b = adapter.A.weight, .c = dx, .accumulate = true});
    } else {
        kernels::matmul({.a = du, .b = adapter.A.weight, .c = input});  // the dropped input is not needed any more
        kernels::dropout(dx, input, adapter.dropout, adapter.stream(rng::Purpose::dropout, pass.seed, 0, pass.index),
                         true);
    }
    if (before.preactivation.empty()) return;
    kernels::gelu_backward(dx, dx, before.preactivation);
    kernels::bias_backward(before.bias_gradient, dx, accumulate);
}

// Rounds this rank's part of a master that has changed to the weight that computes; does nothing where there is no
// master.
inline void round_weight(const Parameter& p) {
    if (p.has_master && p.kept_size() > 0) kernels::convert(p.kept_of(p.weight), p.master.as_row());
}

// Gives a parameter these values (rows, cols): rounded to the weight, and this rank's part to the master.
inline void set_value(const Parameter& p, const Tensor& values) {
    if (values.data != p.weight.data) kernels::convert(p.weight, values);
    if (p.has_master && p.kept_size() > 0 && values.data != p.master.data)
        kernels::convert(p.master.as_row(), p.kept_of(values));
}

// Sets B = 0, and draws A ~ U(-1/sqrt(in), 1/sqrt(in)) (Kaiming-uniform with a = sqrt 5) unless it stays as it is: at
// the switch (restart 0) and at every restart. Every rank draws all of it, and keeps its part of the master.
inline void initialise(const Adapter& adapter, const Scratch& scratch, uint64_t seed, uint64_t restart, bool keeps_A) {
    for (const Parameter* p : {&adapter.A, &adapter.B}) {
        if (p == &adapter.A && keeps_A) continue;
        const Tensor values = p->has_master ? scratch.delta.reuse(DType::f32, p->rows, p->cols) : p->weight;
        if (p == &adapter.B)
            kernels::zero(values);
        else
            for (int i = 0; i < adapter.sections; i++)
                kernels::fill_uniform(adapter.A_section(values, i), float(1.0 / std::sqrt(double(adapter.in))),
                                      adapter.stream(rng::Purpose::lora_init, seed, i, restart));
        set_value(*p, values);
    }
}

// W <- W + s B A in fp32, rounded to the compute type afterwards; of a master that ranks share, this rank's part.
// Returns the squared Frobenius norm of s B A. A and B are left as they are: initialise() follows, except for a last
// export.
inline double merge(const Adapter& adapter, const Scratch& scratch) {
    const Tensor delta = low_rank_update(adapter, scratch);
    const double squared = kernels::norm_squared(delta);
    const Parameter& w = *adapter.weight;
    if (!w.has_master) {
        kernels::add(w.weight, w.weight, delta);
    } else if (w.kept_size() > 0) {
        kernels::add(w.master.as_row(), w.master.as_row(), w.kept_of(delta));
        round_weight(w);
    }
    return squared;
}

// ---- partial optimizer reset ---------------------------------------------------------------------------------------

enum class ResetKind { none, zero, random, magnitude };

struct Reset {
    ResetKind kind = ResetKind::magnitude;
    double fraction = 0.99;  // the share of entries that random and magnitude zero
    bool adam_step = false;  // whether the bias correction begins anew, too
};

// Entries that are zero after a reset, of all that were looked at.
struct ZeroedCount {
    int64_t zeroed = 0, total = 0;
    double fraction() const { return total ? double(zeroed) / double(total) : 0; }
};

// Prunes one moment tensor and checks that what is zero afterwards is what was asked for.
inline ZeroedCount reset_moment(const Tensor& t, const Reset& reset, const Tensor& scratch, const rng::Stream& stream) {
    const int64_t n = t.size(), zeros_before = kernels::count_zeros(t);
    int64_t least = n, most = n;
    if (reset.kind == ResetKind::zero) {
        kernels::zero(t);
    } else if (reset.kind == ResetKind::magnitude) {
        least = most =
            std::max(zeros_before, kernels::prune_magnitude(t, reset.fraction, scratch.reuse(DType::f32, 1, n)));
    } else {
        least = kernels::prune_random(t, float(reset.fraction), stream);
        most = std::min(n, least + zeros_before);
    }
    const int64_t zeros = kernels::count_zeros(t);
    CHECK(zeros >= least && zeros <= most, "an optimizer reset left ", zeros, " of ", n,
          " moments at zero, it should be ", least, most == least ? "" : str(" to ", most));
    return {zeros, n};
}

// Lets a function change the whole of a parameter's moment, (rows, cols), of which ranks may keep parts.
using ChangeWhole = std::function<void(Parameter&, Tensor Parameter::*, const std::function<void(const Tensor&)>&)>;

// Resets the AdamW moments of A and B after update `update`; each stacked tensor, m and v, is pruned on its own.
inline ZeroedCount reset_moments(Adapter& adapter, const Reset& reset, const Scratch& scratch, uint64_t seed,
                                 uint64_t update, const ChangeWhole& change) {
    ZeroedCount sum;
    if (reset.kind == ResetKind::none) return sum;
    for (int which = 0; which < 4; which++) {
        const bool is_A = which < 2;
        change(is_A ? adapter.A : adapter.B, which % 2 == 0 ? &Parameter::m : &Parameter::v, [&](const Tensor& moment) {
            for (int i = 0; i < adapter.sections; i++) {
                rng::Stream stream = adapter.stream(rng::Purpose::prune, seed, i, update);
                stream.id = stream.id * 4 + uint32_t(which);
                const Tensor section = is_A ? adapter.A_section(moment, i) : adapter.B_section(moment, i);
                const ZeroedCount count = reset_moment(section, reset, scratch.delta, stream);
                sum.zeroed += count.zeroed;
                sum.total += count.total;
            }
        });
    }
    if (reset.adam_step) adapter.A.adam_step = adapter.B.adam_step = 0;
    return sum;
}

}  // namespace relora
