// The network: memory of a phase, forward, backward. N = B*T rows.
#include <algorithm>
#include <functional>

#include "model/gpt2.h"

namespace {
// Rows of logits computed at once: large enough for efficient products, small enough that they never exist whole. A GPU
// spends relatively more on what every chunk repeats, which is to read and write the embedding's whole gradient.
constexpr int64_t logit_bytes(Device device) { return int64_t(device == Device::cuda ? 512 : 128) << 20; }
}  // namespace

// Equal chunks: a short last one costs nearly as much.
int64_t logit_rows(const GPT2Config& config, Device device, int64_t N) {
    const int64_t most = std::clamp<int64_t>(logit_bytes(device) / (4 * config.padded_vocab()), 1, N);
    const int64_t chunks = (N + most - 1) / most;
    return (N + chunks - 1) / chunks;
}

// ---- memory ------------------------------------------------------------------------------------------------------

void GPT2::plan_adapters(MemoryPlan& plan, const PhaseShape& shape) {
    if (!wrapped()) return;
    const int64_t N = shape.B * shape.T;
    int64_t u = 0, du = 0, in = 0, delta = 0;  // columns, but for delta
    for (relora::Adapter& a : adapters_) {
        for (Parameter* p : {&a.A, &a.B}) {
            plan.add(&p->weight, MemoryCategory::adapters, type_, p->rows, p->cols);
            if (type_ != DType::f32) plan.add(&p->master, MemoryCategory::masters, DType::f32, p->rows, p->cols);
        }
        const int64_t stacked = a.sections * a.rank;
        if (!a.factored() && !replaces_weight(a)) plan.add(&a.effective, MemoryCategory::weights, type_, a.out, a.in);
        // With recomputation one block's worth is shared by all.
        if (a.factored() && (shape.recompute != Recompute::block || a.id < kLinears))
            plan.add(&a.u, MemoryCategory::activations, type_, N, stacked);
        if (a.route == relora::Route::merged) u = std::max(u, stacked);
        if (a.route != relora::Route::project) du = std::max(du, stacked);
        in = std::max(in, a.in);
        delta = std::max(delta, a.in * a.out);
    }
    if (u > 0) plan.add(&scratch_.u, MemoryCategory::workspaces, type_, N, u);
    if (du > 0) plan.add(&scratch_.du, MemoryCategory::workspaces, type_, N, du);
    plan.add(&scratch_.delta, MemoryCategory::workspaces, DType::f32, 1, delta);
    if (adapters_[0].dropout > 0) plan.add(&scratch_.dropped, MemoryCategory::workspaces, type_, N, in);
}

void GPT2::plan_activations(MemoryPlan& plan, const PhaseShape& shape) {
    const int64_t B = shape.B, T = shape.T, N = B * T, C = config_.channels, L = config_.layers;
    const auto activation = [&](Tensor& t, int64_t cols) { plan.add(&t, MemoryCategory::activations, type_, N, cols); };
    const auto statistic = [&](Tensor& t, int64_t n) { plan.add(&t, MemoryCategory::activations, DType::f32, 1, n); };
    // Without a backward two blocks' inputs are enough; without recomputation every block keeps its own activations.
    residual_.assign(size_t(shape.trains ? L + 1 : 2), {});
    blocks_activations_.assign(size_t(shape.recompute == Recompute::block || !shape.trains ? 1 : L), {});
    for (Tensor& t : residual_) activation(t, C);
    for (BlockActivations& a : blocks_activations_) {
        activation(a.qkv, 3 * C);
        activation(a.attention, C);
        activation(a.residual2, C);
        activation(a.fch, 4 * C);
        if (shape.recompute != Recompute::pointwise || &a == &blocks_activations_[0]) {
            activation(a.ln1, C);
            activation(a.ln2, C);
            activation(a.fch_gelu, 4 * C);
        }
        for (Tensor* t : {&a.ln1_mean, &a.ln1_rstd, &a.ln2_mean, &a.ln2_rstd}) statistic(*t, N);
        statistic(a.lse, N * config_.heads);
    }
    activation(projected_, C);
    activation(lnf_, C);
    for (Tensor* t : {&lnf_mean_, &lnf_rstd_, &losses_}) statistic(*t, N);

    const int64_t chunk = logit_rows(config_, device_, N);
    plan.add(&logits_, MemoryCategory::workspaces, DType::f32, chunk, config_.padded_vocab());
    if (shape.trains) {
        if (type_ != DType::f32) plan.add(&dlogits_, MemoryCategory::workspaces, type_, chunk, config_.padded_vocab());
        activation(dresidual_, C);
        activation(dbuffer_, C);
        activation(dqkv_, 3 * C);
        activation(dfch_, 4 * C);
    }
    plan.add(&attention_scratch_, MemoryCategory::workspaces, DType::f32, 1,
             kernels::attention_scratch_floats(device_, B, T, config_.heads, config_.head_size()));
    // The largest products that are rounded to the compute type are the MLP's, or its dense gradients that are
    // projected.
    const bool projects = std::any_of(adapters_.begin(), adapters_.end(),
                                      [](const relora::Adapter& a) { return a.route == relora::Route::project; });
    const int64_t workspace = kernels::workspace_floats(device_, type_, 4 * C * (projects ? std::max(N, C) : N));
    if (workspace > 0) plan.add(&workspace_, MemoryCategory::workspaces, DType::f32, 1, workspace);
    plan.add(&sampled_, MemoryCategory::workspaces, DType::i32, 1, 1);
    plan.add(&batch_, MemoryCategory::workspaces, DType::i32, 1, 2 * N);
    plan.add(&scalars_, MemoryCategory::workspaces, DType::f32, 1, kernels::kStepScalars);
    plan.add(&mean_loss_, MemoryCategory::workspaces, DType::f32, 1, 1);
}

void GPT2::plan_phase(MemoryPlan& plan, const PhaseShape& shape) {
    if (shape.trains)
        for (Parameter* p : trained_parameters()) {
            plan.add(&p->gradient, MemoryCategory::gradients, DType::f32, p->rows, p->cols);
            plan.add(&p->m, MemoryCategory::moments, DType::f32, p->rows, p->cols);
            plan.add(&p->v, MemoryCategory::moments, DType::f32, p->rows, p->cols);
        }
    if (shape.trains && device_ == Device::cuda)
        plan.add(&trained_.table, MemoryCategory::workspaces, DType::i32, 1,
                 kernels::trained_table_ints(int64_t(trained_parameters().size())));
    plan_adapters(plan, shape);
    plan_activations(plan, shape);
}

void GPT2::allocate_phase(const PhaseShape& shape) {
    recompute_ = shape.recompute;
    max_rows_ = shape.B * shape.T;
    plan_phase(phase_plan_, shape);
    phase_plan_.allocate();
    for (relora::Adapter& a : adapters_) {
        if (type_ == DType::f32)
            for (Parameter* p : {&a.A, &a.B}) p->master = p->weight;
        if (!a.factored() && replaces_weight(a)) a.effective = linear_of(a).weight->weight;
        if (a.route == relora::Route::merged)
            a.u = scratch_.u.reuse(type_, max_rows_, a.sections * a.rank);
        else if (a.factored() && shape.recompute == Recompute::block && a.id >= kLinears)
            a.u = blocks_[0].linear[a.id % kLinears].adapter->u;
    }
    if (shape.recompute == Recompute::pointwise)
        for (BlockActivations& a : blocks_activations_) {
            a.ln1 = blocks_activations_[0].ln1;
            a.ln2 = blocks_activations_[0].ln2;
            a.fch_gelu = blocks_activations_[0].fch_gelu;
        }
    if (type_ == DType::f32) dlogits_ = logits_;
    kernels::set_workspace(device_, workspace_);
    batch_upload_.prepare(device_, batch_.bytes());
    scalars_upload_.prepare(device_, scalars_.bytes());
    results_.prepare(device_, scalars_.bytes());
    stopwatch_.prepare(device_);
    trained_.tensors.clear();
    if (!shape.trains) return;
    for (Parameter* p : trained_parameters()) {
        p->adam_step = 0;
        trained_.tensors.push_back({.master = p->master,
                                    .weight = type_ == DType::f32 ? Tensor{} : p->weight,
                                    .gradient = p->gradient,
                                    .m = p->m,
                                    .v = p->v,
                                    .decays = p->is_matrix,
                                    .counter = counter(*p)});
    }
    trained_.prepare();
}

void GPT2::release_phase() {
    update_graph_.forget();
    micro_step_graphs_.clear();
    phase_plan_.release();
}

// ---- forward -----------------------------------------------------------------------------------------------------

// From the block's input to its output, left in `projected_` + residual2; the next norm adds the two.
void GPT2::block_forward(int layer, int64_t B, int64_t T, const relora::Pass& pass) {
    const int64_t N = B * T;
    const Block& w = blocks_[size_t(layer)];
    const BlockActivations& a = activations(layer);
    const auto rows = [&](const Tensor& t) { return t.row_range(0, N); };
    const auto linear = [&](int i, const Tensor& y, const Tensor& x) {
        relora::linear_forward(y, x, w.linear[i], scratch_, pass);
    };
    const Tensor projected = rows(projected_);

    kernels::layernorm_forward({.out = rows(a.ln1),
                                .mean = a.ln1_mean.col_range(0, N),
                                .rstd = a.ln1_rstd.col_range(0, N),
                                .x = rows(block_input(layer)),
                                .weight = w.ln1_weight->weight,
                                .bias = w.ln1_bias->weight});
    linear(kAttnQKV, rows(a.qkv), rows(a.ln1));
    kernels::attention_forward(attention(layer, B, T));
    linear(kAttnProj, projected, rows(a.attention));
    kernels::layernorm_forward({.out = rows(a.ln2),
                                .mean = a.ln2_mean.col_range(0, N),
                                .rstd = a.ln2_rstd.col_range(0, N),
                                .x = projected,
                                .weight = w.ln2_weight->weight,
                                .bias = w.ln2_bias->weight,
                                .residual = rows(block_input(layer)),
                                .sum = rows(a.residual2)});
    relora::linear_forward(rows(a.fch), rows(a.ln2), w.linear[kMlpFc], scratch_, pass, rows(a.fch_gelu));
    linear(kMlpProj, projected, rows(a.fch_gelu));
}

kernels::Attention GPT2::attention(int layer, int64_t B, int64_t T) {
    const BlockActivations& a = activations(layer);
    return {.B = B,
            .T = T,
            .NH = config_.heads,
            .qkv = a.qkv.row_range(0, B * T),
            .out = a.attention.row_range(0, B * T),
            .lse = a.lse.col_range(0, B * T * config_.heads),
            .scratch = attention_scratch_};
}

void GPT2::upload_batch(const int32_t* tokens, const int32_t* targets, int64_t N) {
    CHECK(N <= max_rows_, "a batch of ", N, " tokens in memory planned for ", max_rows_);
    int32_t* host = static_cast<int32_t*>(batch_upload_.host());
    std::copy_n(tokens, N, host);
    if (targets) std::copy_n(targets, N, host + N);
    batch_upload_.send(batch_.col_range(0, targets ? 2 * N : N));
}

void GPT2::embed_and_run_blocks(int64_t B, int64_t T, const relora::Pass& pass) {
    const int64_t N = B * T;
    kernels::embedding_forward(block_input(0).row_range(0, N), tokens(), wte_->weight, wpe_->weight, T);
    for (int layer = 0; layer < config_.layers; layer++) {
        block_forward(layer, B, T, pass);
        kernels::add(block_input(layer + 1).row_range(0, N), projected_.row_range(0, N),
                     activations(layer).residual2.row_range(0, N));
    }
    kernels::layernorm_forward({.out = lnf_.row_range(0, N),
                                .mean = lnf_mean_.col_range(0, N),
                                .rstd = lnf_rstd_.col_range(0, N),
                                .x = block_input(int(config_.layers)).row_range(0, N),
                                .weight = lnf_weight_->weight,
                                .bias = lnf_bias_->weight});
}

// LM head and cross-entropy, a chunk of rows at a time, forward and backward together so that no logits are kept.
void GPT2::head(int64_t N, float gradient_scale, bool backward, bool accumulate) {
    const int64_t chunk = logits_.rows;
    for (int64_t first = 0; first < N; first += chunk) {
        const int64_t count = std::min(chunk, N - first);
        const Tensor logits = logits_.row_range(0, count), x = lnf_.row_range(first, count);
        const Tensor dlogits = backward ? dlogits_.row_range(0, count) : Tensor{};
        kernels::matmul({.a = x, .b = wte_->weight, .c = logits, .transpose_b = true});
        kernels::cross_entropy({.losses = losses_.col_range(first, count),
                                .logits = logits,
                                .dlogits = dlogits,
                                .targets = targets(N) + first,
                                .V = config_.vocab_size,
                                .scale = gradient_scale / float(N)});
        if (!backward) continue;
        kernels::matmul({.a = dlogits, .b = wte_->weight, .c = dbuffer_.row_range(first, count)});
        kernels::matmul(
            {.a = dlogits, .b = x, .c = wte_->gradient, .transpose_a = true, .accumulate = accumulate || first > 0});
    }
    const Tensor losses = losses_.col_range(0, N);
    if (backward)
        kernels::sum(scalars_.col_range(kernels::kLoss, 1), losses, gradient_scale / float(N), true);
    else
        kernels::sum(mean_loss_, losses, 1.0f / float(N), false);
}

double GPT2::forward(const int32_t* tokens, const int32_t* targets, int64_t B, int64_t T) {
    upload_batch(tokens, targets, B * T);
    embed_and_run_blocks(B, T, {});
    head(B * T, 0, false, false);
    float loss = 0;
    device::download(&loss, mean_loss_);
    return loss;
}

double GPT2::loss_so_far() const {
    float loss = 0;
    device::download(&loss, scalars_.col_range(kernels::kLoss, 1));
    return loss;
}

Tensor GPT2::logits_at(const int32_t* tokens, int64_t T, int64_t position) {
    upload_batch(tokens, nullptr, T);
    embed_and_run_blocks(1, T, {});
    const Tensor logits = logits_.row_range(0, 1);
    kernels::matmul({.a = lnf_.row_range(position, 1), .b = wte_->weight, .c = logits, .transpose_b = true});
    return logits.col_range(0, config_.vocab_size);
}

int32_t GPT2::sample_next(const int32_t* tokens, int64_t T, int64_t V, kernels::SampleToken how) {
    how.logits = logits_at(tokens, T, T - 1).col_range(0, V);
    how.token = sampled_;
    kernels::sample_token(how);
    int32_t token = 0;
    device::download(&token, sampled_);
    return token;
}

// ---- backward ----------------------------------------------------------------------------------------------------

// Takes the gradient of the block's output in `dresidual_` to the gradient of its input, in the same place.
void GPT2::block_backward(int layer, int64_t B, int64_t T, const relora::Pass& pass, bool accumulate) {
    const int64_t N = B * T;
    const Block& w = blocks_[size_t(layer)];
    const BlockActivations& a = activations(layer);
    const auto rows = [&](const Tensor& t) { return t.row_range(0, N); };
    const auto linear = [&](int i, const Tensor& dx, const Tensor& dy, const Tensor& x) {
        relora::linear_backward(dx, dy, x, w.linear[i], scratch_, pass, accumulate);
    };
    const auto normalise = [&](const Tensor& out, const Tensor& mean, const Tensor& rstd, const Tensor& x,
                               Parameter* weight, Parameter* bias) {
        kernels::layernorm_forward({.out = out,
                                    .mean = mean.col_range(0, N),
                                    .rstd = rstd.col_range(0, N),
                                    .x = x,
                                    .weight = weight->weight,
                                    .bias = bias->weight});
    };
    const auto norm = [&](Parameter* weight, Parameter* bias, const Tensor& x, const Tensor& mean, const Tensor& rstd) {
        kernels::layernorm_backward({.dx = rows(dresidual_),
                                     .dweight = weight->gradient,
                                     .dbias = bias->gradient,
                                     .dout = rows(dbuffer_),
                                     .x = rows(x),
                                     .weight = weight->weight,
                                     .mean = mean.col_range(0, N),
                                     .rstd = rstd.col_range(0, N),
                                     .accumulate_dx = true,
                                     .accumulate = accumulate});
    };

    const bool again = recompute_ == Recompute::pointwise;
    if (again) kernels::gelu_forward(rows(a.fch_gelu), rows(a.fch));
    relora::linear_backward(rows(dfch_), rows(dresidual_), rows(a.fch_gelu), w.linear[kMlpProj], scratch_, pass,
                            accumulate, rows(a.fch));
    if (again) normalise(rows(a.ln2), a.ln2_mean, a.ln2_rstd, rows(a.residual2), w.ln2_weight, w.ln2_bias);
    linear(kMlpFc, rows(dbuffer_), rows(dfch_), rows(a.ln2));
    norm(w.ln2_weight, w.ln2_bias, a.residual2, a.ln2_mean, a.ln2_rstd);
    linear(kAttnProj, rows(dbuffer_), rows(dresidual_), rows(a.attention));
    kernels::attention_backward(attention(layer, B, T), rows(dqkv_), rows(dbuffer_));
    if (again) normalise(rows(a.ln1), a.ln1_mean, a.ln1_rstd, rows(block_input(layer)), w.ln1_weight, w.ln1_bias);
    linear(kAttnQKV, rows(dbuffer_), rows(dqkv_), rows(a.ln1));
    norm(w.ln1_weight, w.ln1_bias, block_input(layer), a.ln1_mean, a.ln1_rstd);
}

void GPT2::forward_backward(const int32_t* tokens, const int32_t* targets, int64_t B, int64_t T, float gradient_scale,
                            bool accumulate, const relora::Pass& pass) {
    upload_batch(tokens, targets, B * T);
    const bool draws = wrapped() && adapters_[0].dropout > 0;
    const auto launches = [&] { forward_backward_on_device(B, T, gradient_scale, accumulate, pass); };
    if (graphs_ && !draws)
        micro_step_graphs_[{B, T, gradient_scale, accumulate}].run(device_, std::ref(launches));
    else
        launches();
}

void GPT2::forward_backward_on_device(int64_t B, int64_t T, float gradient_scale, bool accumulate,
                                      const relora::Pass& pass) {
    const int64_t N = B * T;
    embed_and_run_blocks(B, T, pass);
    head(N, gradient_scale, true, accumulate);
    kernels::layernorm_backward({.dx = dresidual_.row_range(0, N),
                                 .dweight = lnf_weight_->gradient,
                                 .dbias = lnf_bias_->gradient,
                                 .dout = dbuffer_.row_range(0, N),
                                 .x = block_input(int(config_.layers)).row_range(0, N),
                                 .weight = lnf_weight_->weight,
                                 .mean = lnf_mean_.col_range(0, N),
                                 .rstd = lnf_rstd_.col_range(0, N),
                                 .accumulate_dx = false,
                                 .accumulate = accumulate});
    for (int layer = int(config_.layers) - 1; layer >= 0; layer--) {
        // The last block's activations are still those of the forward pass.
        if (recompute_ == Recompute::block && layer < int(config_.layers) - 1) block_forward(layer, B, T, pass);
        block_backward(layer, B, T, pass, accumulate);
    }
    kernels::embedding_backward(wte_->gradient, wpe_->gradient, dresidual_.row_range(0, N), tokens(), T, accumulate);
}
