// GPT-2's initial values: N(0, 0.02), for projections onto the residual stream N(0, 0.02 / sqrt(2 L)), norms 1, biases
// 0.
#include "model/parameters.h"

#include <cmath>

Parameter* ParameterTable::add(const std::string& name, Role role, int64_t num_rows, int64_t cols) {
    rows.push_back(std::make_unique<Parameter>());
    Parameter* p = rows.back().get();
    p->name = "transformer." + name;
    p->role = role;
    p->rows = p->file_rows = num_rows;
    p->cols = cols;
    p->stddev = p->is_matrix() ? 0.02f : 0.0f;
    p->bucket = kAlwaysTrained;
    p->stage = int(num_layers);  // with the embeddings, which come last
    return p;
}

ParameterTable::ParameterTable(const GPT2Config& config) {
    CHECK(config.layers > 0 && config.heads > 0 && config.channels > 0, "a model of ", config.layers, " layers, ",
          config.heads, " heads and ", config.channels, " channels: all should be positive");
    CHECK(config.channels % config.heads == 0, config.heads, " heads don't divide ", config.channels, " channels");
    const int64_t C = config.channels;
    num_layers = config.layers;
    const float residual_stddev = float(0.02 / std::sqrt(2.0 * double(config.layers)));
    const auto norm_weight = [&](const std::string& name) {
        Parameter* p = add(name, Role::norm, 1, C);
        p->constant = 1;
        return p;
    };
    wte = add("wte.weight", Role::token_embedding, config.padded_vocab(), C);
    wte->file_rows = config.vocab_size;
    wpe = add("wpe.weight", Role::position_embedding, config.max_positions, C);
    for (int64_t layer = 0; layer < config.layers; layer++) {
        const std::string prefix = "h." + std::to_string(layer) + ".";
        Block block{};
        block.ln1_weight = norm_weight(prefix + "ln_1.weight");
        block.ln1_bias = add(prefix + "ln_1.bias", Role::bias, 1, C);
        block.ln2_weight = norm_weight(prefix + "ln_2.weight");
        block.ln2_bias = add(prefix + "ln_2.bias", Role::bias, 1, C);
        for (int i = 0; i < kLinears; i++) {
            const std::string name = prefix + linear_name(i);
            relora::Linear& linear = block.linear[i];
            linear.weight = add(name + ".weight", Role::linear, linear_out(config, i), linear_in(config, i));
            linear.weight->bucket = kLinearBuckets + i;
            linear.weight->stage = int(config.layers - 1 - layer);
            if (i == kAttnProj || i == kMlpProj) linear.weight->stddev = residual_stddev;
            linear.bias = add(name + ".bias", Role::bias, 1, linear_out(config, i));
        }
        blocks.push_back(block);
    }
    lnf_weight = norm_weight("ln_f.weight");
    lnf_bias = add("ln_f.bias", Role::bias, 1, C);
}
