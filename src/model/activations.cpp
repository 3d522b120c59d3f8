#include "model/activations.h"

#include <algorithm>

#include "kernels/kernels.h"

namespace {
// Bytes of logits that are computed at once: enough for efficient products, few enough that they never exist whole. A
// GPU spends relatively more on what every chunk repeats, which is to read and write the embedding's whole gradient.
constexpr int64_t logit_bytes(Device device) { return int64_t(device == Device::cuda ? 1024 : 128) << 20; }
// A GPU's chunk fills tiles of so many rows.
constexpr int64_t tile_rows(Device device) { return device == Device::cuda ? 256 : 1; }
}  // namespace

// The chunks are equal but for tiles, since a short last one would cost nearly as much as a whole one.
int64_t logit_rows(const GPT2Config& config, Device device, DType type, int64_t N) {
    // A bf16 result of the CPU is an fp32 one first (cpu/matmul.cpp).
    const int64_t row_bytes = config.padded_vocab() * int64_t(device == Device::cuda ? dtype_size(type) : 4);
    int64_t most = std::max<int64_t>(logit_bytes(device) / row_bytes, 1), tile = tile_rows(device);
    if (most < tile) tile = 1;
    most -= most % tile;
    const int64_t chunks = (N + most - 1) / most, rows = (N + chunks - 1) / chunks;
    return std::min((rows + tile - 1) / tile * tile, N);
}

void Activations::plan(MemoryPlan& plan, const GPT2Config& config, DType type, const BatchLimits& limits,
                       int64_t largest_result) {
    const int64_t B = limits.B, T = limits.T, N = B * T, C = config.channels, L = config.layers;
    max_rows = N;
    recompute = limits.recompute;
    const auto activation = [&](Tensor& t, int64_t cols) { plan.add(&t, MemoryCategory::activations, type, N, cols); };
    const auto statistic = [&](Tensor& t, int64_t n) { plan.add(&t, MemoryCategory::activations, DType::f32, 1, n); };
    const auto workspace_of = [&](Tensor& t, DType dtype, int64_t rows, int64_t cols) {
        plan.add(&t, MemoryCategory::workspaces, dtype, rows, cols);
    };
    // Without a backward two blocks' inputs are enough; without recomputation every block keeps its own activations.
    residual.assign(size_t(limits.backward ? L + 1 : 2), {});
    blocks.assign(size_t(recompute == Recompute::block || !limits.backward ? 1 : L), {});
    for (Tensor& t : residual) activation(t, C);
    for (BlockActivations& a : blocks) {
        activation(a.qkv, 3 * C);
        activation(a.attention, C);
        activation(a.residual2, C);
        activation(a.fch, 4 * C);
        if (recompute != Recompute::pointwise || &a == &blocks[0]) {
            activation(a.ln1, C);
            activation(a.ln2, C);
            activation(a.fch_gelu, 4 * C);
        }
        for (Tensor* t : {&a.ln1_mean, &a.ln1_rstd, &a.ln2_mean, &a.ln2_rstd}) statistic(*t, N);
        statistic(a.lse, N * config.heads);
    }
    activation(lnf, C);
    for (Tensor* t : {&lnf_mean, &lnf_rstd, &losses}) statistic(*t, N);

    const DType in_training = limits.backward ? type : DType::f32;
    chunk = logit_rows(config, plan.device(), in_training, N);
    const int64_t per_float = int64_t(sizeof(float) / dtype_size(in_training));
    workspace_of(logits, DType::f32, (chunk + per_float - 1) / per_float, config.padded_vocab());
    if (limits.backward) {
        activation(dresidual, C);
        activation(dbuffer, C);
        activation(dqkv, 3 * C);
        activation(dfch, 4 * C);
    }
    workspace_of(attention_scratch, DType::f32, 1,
                 kernels::attention_scratch_floats(plan.device(), B, T, config.heads, config.head_size()));
    if (const int64_t floats = kernels::workspace_floats(plan.device(), type, largest_result); floats > 0)
        workspace_of(workspace, DType::f32, 1, floats);
    workspace_of(sampled, DType::i32, 1, 1);
    workspace_of(tokens, DType::i32, 1, 2 * N);
    workspace_of(mean_loss, DType::f32, 1, 1);
}

void Activations::place() {
    if (recompute == Recompute::pointwise)
        for (BlockActivations& a : blocks) {
            a.ln1 = blocks[0].ln1;
            a.ln2 = blocks[0].ln2;
            a.fch_gelu = blocks[0].fch_gelu;
        }
    if (!dresidual.empty()) trained_logits = logits.reuse(lnf.dtype, chunk, logits.cols);
}
