// Parameter: one row of the parameter table. Allocation, initialisation, optimizer, checkpoints all walk the table.
#pragma once

#include <string>

#include "runtime/tensor.h"

struct Parameter {
    std::string name;            // Hugging Face's GPT-2 name
    int64_t rows = 0, cols = 0;  // shape in memory; linear weights are [out, in]
    int64_t file_rows = 0;       // rows that files hold (the vocabulary is padded in memory only)
    bool is_matrix = false;      // 2-D: weight decay applies
    bool conv1d = false;         // files hold the transpose, [in, out]
    bool trains = true;
    int sections = 1;       // tensors stacked in this one (q, k, v adapters); each is pruned on its own
    int64_t adam_step = 0;  // updates its moments have seen

    Tensor weight;  // compute type
    // fp32; the same memory as `weight` when the compute type is fp32; none where bf16 weights are rounded
    // stochastically
    Tensor master;
    Tensor gradient;  // fp32, while it trains
    Tensor m, v;      // fp32 AdamW moments, while it trains

    // What the parameter is; its weight is that, rounded.
    const Tensor& value() const { return master.empty() ? weight : master; }
    int64_t size() const { return rows * cols; }
    int64_t file_size() const { return file_rows * cols; }
};
