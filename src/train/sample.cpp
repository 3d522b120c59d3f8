#include "train/sample.h"

#include <algorithm>

#include "runtime/signals.h"

Sampler::Sampler(const Options& o)
    : o_(o), tokenizer_(o.tokenizer_file().empty() ? Tokenizer::byte_level() : Tokenizer::load(o.tokenizer_file())) {
    prompt_ = o.prompt.empty() ? std::vector<int>{tokenizer_.end_of_text()} : tokenizer_.encode(o.prompt);
    for (const int id : prompt_)
        USAGE_CHECK(id < o.config.vocab_size, "samples begin with token ", id,
                    " of the tokenizer, beyond the model's vocabulary of ", o.config.vocab_size,
                    " tokens; give --tokenizer, another --prompt, or --sample-tokens 0");
}

std::string Sampler::text(GPT2& model, uint64_t number) const {
    const int64_t V = std::min<int64_t>(model.config().vocab_size, tokenizer_.vocab_size());
    const rng::Stream stream{o_.seed, rng::Purpose::sample, 0, number};
    std::vector<int> ids = prompt_;
    for (int64_t i = 0; i < o_.sample_tokens && signals::stop == 0; i++) {
        const int64_t T = std::min<int64_t>(int64_t(ids.size()), o_.seq_len);
        const std::vector<int32_t> context(ids.end() - T, ids.end());
        const float uniform = rng::to_uniform(stream.bits(uint64_t(i)));
        const int32_t id = model.sample_next({.tokens = context.data(), .B = 1, .T = T}, V,
                                             {.temperature = o_.temperature, .top_k = o_.top_k, .uniform = uniform});
        if (id == tokenizer_.end_of_text()) break;
        ids.push_back(id);
    }
    if (o_.prompt.empty()) ids.erase(ids.begin());
    return tokenizer_.decode(ids);
}
