#include "train/sample.h"

#include <algorithm>

std::vector<int> first_tokens(const Tokenizer& tokenizer, const std::string& prompt) {
    return prompt.empty() ? std::vector<int>{tokenizer.end_of_text()} : tokenizer.encode(prompt);
}

std::string sample_text(GPT2& model, const Tokenizer& tokenizer, const SampleConfig& config) {
    const int64_t V = std::min<int64_t>(model.config().vocab_size, tokenizer.vocab_size());
    std::vector<int> ids = first_tokens(tokenizer, config.prompt);
    const rng::Stream stream{config.seed, rng::Purpose::sample, 0, config.index};
    for (int64_t i = 0; i < config.tokens; i++) {
        const int64_t T = std::min<int64_t>(int64_t(ids.size()), config.context);
        const std::vector<int32_t> window(ids.end() - T, ids.end());
        const float uniform = rng::to_uniform(stream.bits(uint64_t(i)));
        const int32_t id = model.sample_next(
            window.data(), T, V, {.temperature = config.temperature, .top_k = config.top_k, .uniform = uniform});
        if (id == tokenizer.end_of_text()) break;
        ids.push_back(id);
    }
    if (config.prompt.empty()) ids.erase(ids.begin());
    return tokenizer.decode(ids);
}
