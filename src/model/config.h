// The configuration of a GPT-2, as plain data, and the configurations that have names.
#pragma once

#include <cstdint>
#include <string>

struct GPT2Config {
    int64_t vocab_size = 50257, max_positions = 1024, layers = 12, heads = 12, channels = 768;

    // Rows of the embedding in memory: a multiple of 64, so that products have aligned sizes. The padding stays zero.
    int64_t padded_vocab() const { return (vocab_size + 63) / 64 * 64; }
    int64_t head_size() const { return channels / heads; }
    int64_t num_parameters() const;  // without padding
    bool operator==(const GPT2Config&) const = default;
};

// What a model may have at most: far more than any that was trained, so little that 64 bits count its parameters, and
// that a table of them fits in memory.
inline constexpr GPT2Config kLargest{
    .vocab_size = 65536, .max_positions = 1 << 24, .layers = 1 << 12, .heads = 1 << 12, .channels = 1 << 20};

// The configuration of that name: gpt2, gpt2-medium, gpt2-large, gpt2-xl, or a small one for the CPU. Throws for any
// other name, and lists those of config_names().
GPT2Config named_config(const std::string& name);
// Their names, with commas between.
std::string config_names();

// The full-rank model of about `parameters` parameters, with the head size, vocabulary and positions of `like`: among
// those within 2 % of it (else the closest) the one whose ratio of width to depth is nearest to `like`'s.
GPT2Config control_config(const GPT2Config& like, int64_t parameters);

// The linears of a block, which can have adapters: attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj.
enum LinearIndex { kAttnQKV = 0, kAttnProj = 1, kMlpFc = 2, kMlpProj = 3, kLinears = 4 };
// The name of a linear within its block, and the columns and rows of its weight.
const char* linear_name(int linear);
int64_t linear_in(const GPT2Config& config, int linear);
int64_t linear_out(const GPT2Config& config, int linear);
