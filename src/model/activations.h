// The memory of a forward and backward pass: what each block keeps, what all share. N = B*T rows.
#pragma once

#include <vector>

#include "model/config.h"
#include "runtime/memory.h"
#include "runtime/tensor.h"

// What the backward computes again instead of keeping it.
enum class Recompute {
    none,
    pointwise,  // what LayerNorm and GELU give: six of the sixteen activations of width C, for little time
    block,      // all but the blocks' inputs: each block's forward runs again
};

// The largest micro-batch that there must be memory for.
struct BatchLimits {
    int64_t B = 1, T = 1;
    Recompute recompute = Recompute::none;
    bool backward = true;  // false: forward only (evaluation, sampling, export)
};

// How many of N rows the head computes the logits of at once, if they are of this type.
int64_t logit_rows(const GPT2Config& config, Device device, DType type, int64_t N);

// What one block keeps for its backward.
struct BlockActivations {
    Tensor ln1, ln1_mean, ln1_rstd;  // (N, C), (1, N), (1, N)
    Tensor qkv, attention, lse;      // (N, 3C), (N, C), (1, B*NH*T)
    Tensor residual2;                // (N, C): after attention
    Tensor ln2, ln2_mean, ln2_rstd;  // (N, C), (1, N), (1, N)
    Tensor fch, fch_gelu;            // (N, 4C) both
};

struct Activations {
    std::vector<Tensor> residual;  // (N, C) each: the input of every block, then of the final norm
    std::vector<BlockActivations> blocks;
    Tensor lnf, lnf_mean, lnf_rstd;         // (N, C), (1, N), (1, N)
    Tensor losses, mean_loss;               // (1, N) by row, (1, 1) of a forward without backward
    Tensor logits;                          // (rows, Vp) fp32: for losses and samples
    Tensor trained_logits;                  // (chunk, Vp) compute type in the same memory: then their gradient
    Tensor dresidual, dbuffer, dqkv, dfch;  // (N, C), (N, C), (N, 3C), (N, 4C)
    Tensor tokens;                          // (1, 2N) int32: tokens, then targets
    Tensor sampled;                         // (1, 1) int32
    Tensor attention_scratch, workspace;    // (1, n) fp32: what ops need for themselves
    int64_t max_rows = 0, chunk = 0;        // of the batch, of trained_logits
    Recompute recompute = Recompute::none;

    // Plans all tensors; `largest_result`: elements of the largest product's result.
    void plan(MemoryPlan& plan, const GPT2Config& config, DType type, const BatchLimits& limits,
              int64_t largest_result);
    // Sets the tensors that share memory with others, once the plan is allocated.
    void place();
    BlockActivations& block(int layer) { return blocks[size_t(layer) % blocks.size()]; }
    // Input of a block, or of the final norm for layer L.
    const Tensor& block_input(int layer) const { return residual[size_t(layer) % residual.size()]; }
};
