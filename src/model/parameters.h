// The parameter table of a GPT-2: every weight and bias once, with its name, shape, role and initial values.
#pragma once

#include <memory>
#include <vector>

#include "model/config.h"
#include "relora.cuh"

// Parameters of one bucket train together: the linears of one kind until they get adapters, the rest always.
enum Bucket { kAlwaysTrained = 0, kLinearBuckets = 1, kAdapters = kLinearBuckets + kLinears };
static_assert(kAdapters + 1 == kBuckets);

// The parameters of one transformer block.
struct Block {
    Parameter *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;  // (1, C)
    relora::Linear linear[kLinears];
};

struct ParameterTable {
    // Throws where the configuration is no network's.
    explicit ParameterTable(const GPT2Config& config);

    std::vector<std::unique_ptr<Parameter>> rows;
    Parameter *wte = nullptr, *wpe = nullptr;  // (padded vocabulary, C), (positions, C)
    std::vector<Block> blocks;
    Parameter *lnf_weight = nullptr, *lnf_bias = nullptr;  // (1, C)

  private:
    int64_t num_layers = 0;
    Parameter* add(const std::string& name, Role role, int64_t rows, int64_t cols);
};
