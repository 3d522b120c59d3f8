#include "model/flops.h"

namespace {

struct LowRankFlops {
    double frozen = 0;    // elements of the weights with adapters
    double adapters = 0;  // FLOPs per token
};

LowRankFlops low_rank_flops(const GPT2Config& config, const LoraConfig* lora) {
    LowRankFlops sum;
    for (int i = 0; lora && i < kLinears; i++) {
        if (!lora->targets[i]) continue;
        const int64_t in = linear_in(config, i), out = linear_out(config, i);
        const relora::AdapterConfig adapter = lora->adapter(i);
        sum.frozen += double(config.layers * in * out);
        sum.adapters +=
            double(config.layers) *
            relora::flops_by_route(adapter.taken_route(), in, out, adapter.rank, adapter.sections).per_token();
    }
    return sum;
}

// A weight's element costs 2 FLOPs, a multiplication and an addition, in each of forward, input gradient and, unless it
// is frozen, weight gradient.
double weight_flops(double elements, double frozen) { return 6 * elements - 2 * frozen; }

}  // namespace

double flops_per_token(const GPT2Config& config, const LoraConfig* lora, int64_t T) {
    const LowRankFlops low_rank = low_rank_flops(config, lora);
    return weight_flops(double(config.num_parameters()), low_rank.frozen) + low_rank.adapters +
           12 * double(config.layers * config.channels * T);
}

double product_flops_per_token(const GPT2Config& config, const LoraConfig* lora, int64_t T) {
    const LowRankFlops low_rank = low_rank_flops(config, lora);
    const double linears = 12 * double(config.layers * config.channels * config.channels),
                 head = double(config.padded_vocab() * config.channels);
    return weight_flops(linears + head, low_rank.frozen) + low_rank.adapters +
           6 * double(config.layers * config.channels * T);
}
