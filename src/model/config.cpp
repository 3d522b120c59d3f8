// Model sizes by name, and the size of the full-rank control.
#include "model/config.h"

#include <cmath>
#include <cstdlib>

#include "runtime/error.h"

namespace {
struct Named {
    const char* name;
    int64_t layers, heads, channels;
};
// Radford et al. 2019, and small ones with the same proportions for a CPU.
constexpr Named kConfigs[] = {{"gpt2", 12, 12, 768},     {"gpt2-medium", 24, 16, 1024}, {"gpt2-large", 36, 20, 1280},
                              {"gpt2-xl", 48, 25, 1600}, {"gpt2-small", 8, 8, 512},     {"gpt2-mini", 6, 6, 384},
                              {"gpt2-tiny", 4, 4, 256},  {"gpt2-nano", 3, 3, 192}};
constexpr const char* kLinearNames[kLinears] = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"};
}  // namespace

int64_t GPT2Config::num_parameters() const {
    const int64_t C = channels;
    return (vocab_size + max_positions) * C + layers * (12 * C * C + 13 * C) + 2 * C;
}

std::string config_names() {
    std::string names;
    for (const Named& n : kConfigs) {
        if (!names.empty()) names.append(", ");
        names.append(n.name);
    }
    return names;
}

GPT2Config named_config(const std::string& name) {
    for (const Named& n : kConfigs)
        if (name == n.name) return {50257, 1024, n.layers, n.heads, n.channels};
    FAIL(name, " is unknown; there are ", config_names());
}

const char* linear_name(int linear) { return kLinearNames[linear]; }
int64_t linear_in(const GPT2Config& config, int linear) {
    return linear == kMlpProj ? 4 * config.channels : config.channels;
}
int64_t linear_out(const GPT2Config& config, int linear) {
    return linear == kAttnQKV ? 3 * config.channels : linear == kMlpFc ? 4 * config.channels : config.channels;
}

GPT2Config control_config(const GPT2Config& like, int64_t parameters) {
    const auto aspect = [](const GPT2Config& c) { return std::log(double(c.channels) / double(c.layers)); };
    const auto error = [&](const GPT2Config& c) {
        return std::abs(double(c.num_parameters() - parameters)) / double(parameters);
    };
    GPT2Config best = like;
    const auto better = [&](const GPT2Config& a, const GPT2Config& b) {
        const bool a_close = error(a) <= 0.02, b_close = error(b) <= 0.02;
        if (a_close != b_close) return a_close;
        if (!a_close) return error(a) < error(b);
        return std::abs(aspect(a) - aspect(like)) < std::abs(aspect(b) - aspect(like));
    };
    for (int64_t layers = 1; layers <= like.layers; layers++)
        for (int64_t heads = 1; heads <= like.heads; heads++) {
            GPT2Config candidate = like;
            candidate.layers = layers;
            candidate.heads = heads;
            candidate.channels = heads * like.head_size();
            if (better(candidate, best)) best = candidate;
        }
    return best;
}
