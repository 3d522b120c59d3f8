#include "sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

int sample_token(const float* logits, int64_t V, double temperature, int64_t top_k, float uniform) {
    std::vector<int> ids(static_cast<size_t>(V));
    std::iota(ids.begin(), ids.end(), 0);
    // Ties go to the smaller id, so that the choice is the same everywhere.
    const auto likelier = [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
    if (temperature == 0) return *std::min_element(ids.begin(), ids.end(), likelier);
    if (top_k > 0 && top_k < V) {
        std::nth_element(ids.begin(), ids.begin() + top_k, ids.end(), likelier);
        ids.resize(size_t(top_k));
        std::sort(ids.begin(), ids.end());
    }
    double max = -INFINITY, sum = 0;
    for (int id : ids) max = std::max(max, double(logits[id]));
    std::vector<double> cumulative;
    for (int id : ids) cumulative.push_back(sum += std::exp((double(logits[id]) - max) / temperature));
    const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), double(uniform) * sum);
    return ids[size_t(std::min<ptrdiff_t>(found - cumulative.begin(), ptrdiff_t(ids.size()) - 1))];
}

std::string sample_text(GPT2& model, const Tokenizer& tokenizer, const SampleConfig& config) {
    const int64_t V = std::min<int64_t>(model.config().vocab_size, tokenizer.vocab_size());
    std::vector<int> ids = tokenizer.encode(config.prompt);
    const bool prompted = !ids.empty();
    if (!prompted) ids.push_back(tokenizer.end_of_text());
    const rng::Stream stream{config.seed, rng::Purpose::sample, 0, config.index};
    for (int64_t i = 0; i < config.tokens; i++) {
        const int64_t T = std::min<int64_t>(int64_t(ids.size()), config.context);
        const std::vector<int32_t> window(ids.end() - T, ids.end());
        const float* logits = model.logits_at(window.data(), T, T - 1);
        const int id = sample_token(logits, V, config.temperature, config.top_k, rng::to_uniform(stream.bits(uint64_t(i))));
        if (id == tokenizer.end_of_text()) break;
        ids.push_back(id);
    }
    if (!prompted) ids.erase(ids.begin());
    return tokenizer.decode(ids);
}
