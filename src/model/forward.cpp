// The forward pass, and what needs nothing else: losses, logits and samples.
#include <algorithm>
#include <functional>
#include <vector>

#include "model/gpt2.h"

// Computes a block's output from its input.
void GPT2::block_forward(int layer, int64_t B, int64_t T, const relora::Pass& pass) {
    const int64_t N = B * T;
    const Block& w = table_.blocks[size_t(layer)];
    const BlockActivations& a = a_.block(layer);
    const auto rows = [&](const Tensor& t) { return t.row_range(0, N); };
    const auto linear = [&](int i, const Tensor& y, const Tensor& x, const relora::After& after = {}) {
        relora::linear_forward(rows(y), rows(x), w.linear[i], scratch_, pass, after);
    };

    kernels::layernorm_forward({.out = rows(a.ln1),
                                .mean = a.ln1_mean.col_range(0, N),
                                .rstd = a.ln1_rstd.col_range(0, N),
                                .x = rows(a_.block_input(layer)),
                                .weight = w.ln1_weight->weight,
                                .bias = w.ln1_bias->weight});
    linear(kAttnQKV, a.qkv, a.ln1);
    kernels::attention_forward(attention(layer, B, T));
    linear(kAttnProj, a.residual2, a.attention, {.residual = rows(a_.block_input(layer))});
    kernels::layernorm_forward({.out = rows(a.ln2),
                                .mean = a.ln2_mean.col_range(0, N),
                                .rstd = a.ln2_rstd.col_range(0, N),
                                .x = rows(a.residual2),
                                .weight = w.ln2_weight->weight,
                                .bias = w.ln2_bias->weight});
    linear(kMlpFc, a.fch, a.ln2, {.activated = rows(a.fch_gelu)});
    linear(kMlpProj, a_.block_input(layer + 1), a.fch_gelu, {.residual = rows(a.residual2)});
}

kernels::Attention GPT2::attention(int layer, int64_t B, int64_t T) {
    const BlockActivations& a = a_.block(layer);
    return {.B = B,
            .T = T,
            .NH = config_.heads,
            .kernel = attention_kernel_,
            .qkv = a.qkv.row_range(0, B * T),
            .out = a.attention.row_range(0, B * T),
            .lse = a.lse.col_range(0, B * T * config_.heads),
            .scratch = a_.attention_scratch};
}

void GPT2::upload(const TokenBatch& batch) {
    const int64_t N = batch.size();
    CHECK(N <= a_.max_rows, "a batch of ", N, " tokens in memory planned for ", a_.max_rows);
    int32_t* host = static_cast<int32_t*>(tokens_upload_.host());
    std::copy_n(batch.tokens, N, host);
    if (batch.targets) std::copy_n(batch.targets, N, host + N);
    tokens_upload_.send(a_.tokens.col_range(0, batch.targets ? 2 * N : N));
}

void GPT2::embed_and_run_blocks(int64_t B, int64_t T, const relora::Pass& pass) {
    const int64_t N = B * T;
    kernels::embedding_forward(a_.block_input(0).row_range(0, N), tokens(), table_.wte->weight, table_.wpe->weight, T);
    for (int layer = 0; layer < config_.layers; layer++) block_forward(layer, B, T, pass);
    kernels::layernorm_forward({.out = a_.lnf.row_range(0, N),
                                .mean = a_.lnf_mean.col_range(0, N),
                                .rstd = a_.lnf_rstd.col_range(0, N),
                                .x = a_.block_input(int(config_.layers)).row_range(0, N),
                                .weight = table_.lnf_weight->weight,
                                .bias = table_.lnf_bias->weight});
}

// Takes a chunk of rows at a time, forward and backward together, so that no logits are kept. A pass that trains rounds
// the logits to the compute type, and puts their gradient in their place; one that only measures keeps them in fp32.
void GPT2::head(const Tensor& loss, int64_t N, float scale, bool backward, bool accumulate) {
    const Tensor& all = backward ? a_.trained_logits : a_.logits;
    const int64_t chunk = all.rows;
    const int32_t* targets = tokens() + N;
    for (int64_t first = 0; first < N; first += chunk) {
        const int64_t count = std::min(chunk, N - first);
        const Tensor logits = all.row_range(0, count), x = a_.lnf.row_range(first, count);
        kernels::matmul({.a = x, .b = table_.wte->weight, .c = logits, .transpose_b = true});
        kernels::cross_entropy({.losses = a_.losses.col_range(first, count),
                                .logits = logits,
                                .dlogits = backward ? logits : Tensor{},
                                .targets = targets + first,
                                .V = config_.vocab_size,
                                .scale = scale / float(N)});
        if (!backward) continue;
        kernels::matmul({.a = logits, .b = table_.wte->weight, .c = a_.dbuffer.row_range(first, count)});
        kernels::matmul({.a = logits,
                         .b = x,
                         .c = table_.wte->gradient,
                         .transpose_a = true,
                         .accumulate = accumulate || first > 0});
    }
    kernels::sum(loss, a_.losses.col_range(0, N), scale / float(N), backward);
}

// The passes that don't train run this many times with the same shape.
void GPT2::embed_and_run_blocks_again(int64_t B, int64_t T) {
    const auto launches = [&] { embed_and_run_blocks(B, T, {}); };
    if (graphs_)
        blocks_graph_of_[{B, T}].run(device_, std::ref(launches));
    else
        launches();
}

double GPT2::forward(const TokenBatch& batch) {
    upload(batch);
    embed_and_run_blocks_again(batch.B, batch.T);
    head(a_.mean_loss, batch.size(), 1.0f, false, false);
    float loss = 0;
    device::download(&loss, a_.mean_loss);
    return loss;
}

// Tokens behind the sequence don't change what comes before them, so that on a GPU, where each length is captured by
// itself, a sample that grows by a token at a time takes few lengths.
Tensor GPT2::logits_at(const TokenBatch& sequence, int64_t position) {
    constexpr int64_t kStep = 64;
    const int64_t most = std::min(a_.max_rows, config_.max_positions),
                  longer = (sequence.T + kStep - 1) / kStep * kStep;
    const int64_t T = device_ == Device::cuda ? std::max(sequence.T, std::min(longer, most)) : sequence.T;
    std::vector<int32_t> tokens(sequence.tokens, sequence.tokens + sequence.T);
    tokens.resize(size_t(T));
    upload({.tokens = tokens.data(), .B = 1, .T = T});
    embed_and_run_blocks_again(1, T);
    const Tensor logits = a_.logits.row_range(0, 1);
    kernels::matmul({.a = a_.lnf.row_range(position, 1), .b = table_.wte->weight, .c = logits, .transpose_b = true});
    return logits.col_range(0, config_.vocab_size);
}

int32_t GPT2::sample_next(const TokenBatch& sequence, int64_t V, kernels::SampleToken how) {
    how.logits = logits_at(sequence, sequence.T - 1).col_range(0, V);
    how.token = a_.sampled;
    kernels::sample_token(how);
    int32_t token = 0;
    device::download(&token, a_.sampled);
    return token;
}
