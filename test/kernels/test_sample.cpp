// How tokens are drawn: which ids are candidates, in which order, how often each comes.
#include <algorithm>

#include "test/kernels/op_test.h"

namespace {

int draw(Buffer<float>& logits, double temperature, int64_t top_k, float uniform) {
    int32_t token = -1;
    kernels::sample_token({.token = make_tensor(&token, DType::i32, 1, 1),
                           .logits = logits.tensor(),
                           .temperature = temperature,
                           .top_k = top_k,
                           .uniform = uniform});
    return token;
}
Buffer<float> row(const std::vector<double>& values) {
    Buffer<float> logits(1, int64_t(values.size()));
    for (size_t i = 0; i < values.size(); i++) logits.set(int64_t(i), values[i]);
    return logits;
}
constexpr float kLargest = 16777215.0f / 16777216.0f;  // the largest that to_uniform gives

}  // namespace

TEST(SampleToken, TakesTheLikeliestAtTemperatureZero) {
    Buffer<float> logits = row({-1, 3, 2, 3, -5});
    for (const float u : {0.0f, 0.5f, kLargest})
        for (const int64_t top_k : {0, 1, 3}) EXPECT_EQ(draw(logits, 0, top_k, u), 1);
    EXPECT_EQ(draw(logits, 1, 1, kLargest), 1);
}

// The smaller ids of equal logits are taken; the two zeros are equal.
TEST(SampleToken, CandidatesAreTheTopK) {
    Buffer<float> logits = row({0.0, -0.0, 1, 0.0, -2, 1});
    const std::vector<std::vector<int>> sets = {{0, 1, 2, 3, 4, 5}, {2},          {2, 5},
                                                {0, 2, 5},          {0, 1, 2, 5}, {0, 1, 2, 3, 5}};
    for (size_t top_k = 0; top_k < sets.size(); top_k++) {
        std::vector<int> drawn;
        for (int i = 0; i < 1000; i++) {
            const int id = draw(logits, 1, int64_t(top_k), float(i) / 1000);
            if (drawn.empty() || drawn.back() != id) drawn.push_back(id);  // ids come in order as the uniform grows
        }
        EXPECT_EQ(drawn, sets[top_k]) << top_k;
    }
}

// The share of [0, 1) that gives an id is its probability.
TEST(SampleToken, DrawsInProportion) {
    Buffer<float> logits(1, 50);
    logits.randomize(3, 2.0);
    const int n = 20000;
    for (const double temperature : {0.5, 1.0, 3.0})
        for (const int64_t top_k : {0, 7}) {
            std::vector<double> sorted, counts(50, 0.0);
            for (int64_t i = 0; i < 50; i++) sorted.push_back(logits[i]);
            std::sort(sorted.rbegin(), sorted.rend());
            const double least = top_k > 0 ? sorted[size_t(top_k - 1)] : -INFINITY;
            double sum = 0;
            for (int64_t i = 0; i < 50; i++) sum += logits[i] >= least ? std::exp(logits[i] / temperature) : 0;
            for (int i = 0; i < n; i++)
                counts[size_t(draw(logits, temperature, top_k, (float(i) + 0.5f) / float(n)))]++;
            for (int64_t i = 0; i < 50; i++) {
                const double p = logits[i] >= least ? std::exp(logits[i] / temperature) / sum : 0;
                EXPECT_NEAR(counts[size_t(i)] / n, p, p == 0 ? 0 : 1.01 / n) << i << " " << temperature << " " << top_k;
            }
        }
}

TEST(SampleToken, TheEndsOfTheInterval) {
    Buffer<float> logits = row({-INFINITY, 1, 2, 3, -INFINITY});
    EXPECT_EQ(draw(logits, 1, 0, 0), 1);
    EXPECT_EQ(draw(logits, 1, 0, kLargest), 3);
    Buffer<float> one = row({-7});
    EXPECT_EQ(draw(one, 0.1, 5, kLargest), 0);
}

TEST(SampleToken, RefusesWhatIsNotARow) {
    Buffer<float> logits = row({1, 2});
    EXPECT_THROW(draw(logits, -1, 0, 0), Error);
    EXPECT_THROW(draw(logits, 1, -1, 0), Error);
    EXPECT_THROW(draw(logits, 1, 0, 1), Error);
    Buffer<float> matrix(2, 2);
    EXPECT_THROW(draw(matrix, 1, 0, 0), Error);
}
