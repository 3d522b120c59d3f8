// The backward pass: gradients of one micro-batch.
#include <functional>

#include "model/gpt2.h"

// Takes the gradient of the block's output in `dresidual` to the gradient of its input, in the same place. A bias's
// gradient is summed where the gradient of its linear's output is made: by the op that comes after it.
void GPT2::block_backward(int layer, int64_t B, int64_t T, const relora::Pass& pass, bool accumulate) {
    const int64_t N = B * T;
    const Block& w = table_.blocks[size_t(layer)];
    const BlockActivations& a = a_.block(layer);
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
    const auto norm = [&](Parameter* weight, Parameter* bias, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                          const Tensor& dx_sums) {
        kernels::layernorm_backward({.dx = rows(a_.dresidual),
                                     .dweight = weight->gradient,
                                     .dbias = bias->gradient,
                                     .dx_sums = dx_sums,
                                     .dout = rows(a_.dbuffer),
                                     .x = rows(x),
                                     .weight = weight->weight,
                                     .mean = mean.col_range(0, N),
                                     .rstd = rstd.col_range(0, N),
                                     .accumulate_dx = true,
                                     .accumulate = accumulate});
    };

    const bool again = a_.recompute == Recompute::pointwise;
    if (again) kernels::gelu_forward(rows(a.fch_gelu), rows(a.fch));
    relora::linear_backward(rows(a_.dfch), rows(a_.dresidual), rows(a.fch_gelu), w.linear[kMlpProj], scratch_, pass,
                            accumulate,
                            {.preactivation = rows(a.fch), .bias_gradient = w.linear[kMlpFc].bias->gradient});
    if (again) normalise(rows(a.ln2), a.ln2_mean, a.ln2_rstd, rows(a.residual2), w.ln2_weight, w.ln2_bias);
    linear(kMlpFc, rows(a_.dbuffer), rows(a_.dfch), rows(a.ln2));
    norm(w.ln2_weight, w.ln2_bias, a.residual2, a.ln2_mean, a.ln2_rstd, w.linear[kAttnProj].bias->gradient);
    linear(kAttnProj, rows(a_.dbuffer), rows(a_.dresidual), rows(a.attention));
    kernels::attention_backward(attention(layer, B, T), rows(a_.dqkv), rows(a_.dbuffer));
    kernels::bias_backward(w.linear[kAttnQKV].bias->gradient, rows(a_.dqkv), accumulate);
    if (again) normalise(rows(a.ln1), a.ln1_mean, a.ln1_rstd, rows(a_.block_input(layer)), w.ln1_weight, w.ln1_bias);
    linear(kAttnQKV, rows(a_.dbuffer), rows(a_.dqkv), rows(a.ln1));
    norm(w.ln1_weight, w.ln1_bias, a_.block_input(layer), a.ln1_mean, a.ln1_rstd, output_bias_gradient(layer - 1));
}

// Where the gradient of a block's last bias is summed; nowhere for what comes before the first block.
Tensor GPT2::output_bias_gradient(int layer) const {
    return layer < 0 ? Tensor{} : table_.blocks[size_t(layer)].linear[kMlpProj].bias->gradient;
}

void GPT2::forward_backward(const TokenBatch& batch, const Tensor& loss, float gradient_scale, bool accumulate,
                            const relora::Pass& pass, const std::function<void(int)>& completed) {
    upload(batch);
    const auto launches = [&] {
        launch_forward_backward(batch.B, batch.T, loss, gradient_scale, accumulate, pass, completed);
    };
    const bool draws = wrapped() && adapters_[0].dropout > 0;
    if (graphs_ && !draws)
        graph_of_[{batch.B, batch.T, gradient_scale, accumulate, bool(completed)}].run(device_, std::ref(launches));
    else
        launches();
}

void GPT2::launch_forward_backward(int64_t B, int64_t T, const Tensor& loss, float scale, bool accumulate,
                                   const relora::Pass& pass, const std::function<void(int)>& completed) {
    const int64_t N = B * T;
    embed_and_run_blocks(B, T, pass);
    head(loss, N, scale, true, accumulate);
    kernels::layernorm_backward({.dx = a_.dresidual.row_range(0, N),
                                 .dweight = table_.lnf_weight->gradient,
                                 .dbias = table_.lnf_bias->gradient,
                                 .dx_sums = output_bias_gradient(int(config_.layers) - 1),
                                 .dout = a_.dbuffer.row_range(0, N),
                                 .x = a_.block_input(int(config_.layers)).row_range(0, N),
                                 .weight = table_.lnf_weight->weight,
                                 .mean = a_.lnf_mean.col_range(0, N),
                                 .rstd = a_.lnf_rstd.col_range(0, N),
                                 .accumulate_dx = false,
                                 .accumulate = accumulate});
    for (int layer = int(config_.layers) - 1; layer >= 0; layer--) {
        // The last block's activations are still those of the forward pass.
        if (a_.recompute == Recompute::block && layer < int(config_.layers) - 1) block_forward(layer, B, T, pass);
        block_backward(layer, B, T, pass, accumulate);
        if (completed) completed(table_.blocks[size_t(layer)].linear[0].weight->stage);
    }
    kernels::embedding_backward(table_.wte->gradient, table_.wpe->gradient, a_.dresidual.row_range(0, N), tokens(), T,
                                accumulate);
    if (completed) completed(table_.wte->stage);
}
