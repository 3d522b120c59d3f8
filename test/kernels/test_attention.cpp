// Causal attention against the fp64 formula, and its backward against the fp64 derivative of that formula.
#include "test/kernels/op_test.h"

namespace {

template <class T>
class AttentionTest : public PerType<T> {};
TYPED_TEST_SUITE(AttentionTest, StorageTypes);

struct Size {
    int64_t B, T, NH, HS;
};
// 64 queries are a block: these lengths are below, above, and several of it.
const Size kSizes[] = {{1, 1, 1, 1}, {2, 5, 3, 4}, {1, 63, 2, 8}, {1, 65, 1, 16}, {2, 150, 2, 24}};

struct Reference {
    std::vector<double> out, lse, dqkv;
};

// Computes all results from qkv (B*T, 3C) and dout (B*T, C), a row of probabilities at a time.
template <class T>
Reference reference(const Buffer<T>& qkv, const Buffer<T>& dout, const Size& s) {
    const int64_t C = s.NH * s.HS;
    Reference r{std::vector<double>(size_t(s.B * s.T * C)), std::vector<double>(size_t(s.B * s.NH * s.T)),
                std::vector<double>(size_t(s.B * s.T * 3 * C))};
    const double scale = 1 / std::sqrt(double(s.HS));
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t h = 0; h < s.NH; h++)
            for (int64_t i = 0; i < s.T; i++) {
                const auto at = [&](int64_t t, int64_t which, int64_t c) {
                    return ((b * s.T + t) * 3 + which) * C + h * s.HS + c;
                };
                const auto out_at = [&](int64_t t, int64_t c) { return (b * s.T + t) * C + h * s.HS + c; };
                std::vector<double> p(size_t(i + 1)), dp(size_t(i + 1));
                double sum = 0, dot = 0;
                for (int64_t j = 0; j <= i; j++) {
                    double score = 0;
                    for (int64_t c = 0; c < s.HS; c++) score += qkv[at(i, 0, c)] * qkv[at(j, 1, c)];
                    sum += p[size_t(j)] = std::exp(score * scale);
                }
                // cppcheck-suppress invalidFunctionArg  // it takes the sum to have no terms
                r.lse[size_t((b * s.NH + h) * s.T + i)] = std::log(sum);
                for (int64_t j = 0; j <= i; j++) {
                    p[size_t(j)] /= sum;
                    for (int64_t c = 0; c < s.HS; c++) {
                        r.out[size_t(out_at(i, c))] += p[size_t(j)] * qkv[at(j, 2, c)];
                        dp[size_t(j)] += dout[out_at(i, c)] * qkv[at(j, 2, c)];
                        r.dqkv[size_t(at(j, 2, c))] += p[size_t(j)] * dout[out_at(i, c)];
                    }
                    dot += p[size_t(j)] * dp[size_t(j)];
                }
                for (int64_t j = 0; j <= i; j++) {
                    const double ds = p[size_t(j)] * (dp[size_t(j)] - dot) * scale;
                    for (int64_t c = 0; c < s.HS; c++) {
                        r.dqkv[size_t(at(i, 0, c))] += ds * qkv[at(j, 1, c)];
                        r.dqkv[size_t(at(j, 1, c))] += ds * qkv[at(i, 0, c)];
                    }
                }
            }
    return r;
}

TYPED_TEST(AttentionTest, ForwardAndBackwardAreTheFormulas) {
    for (const Size& s : kSizes) {
        const int64_t N = s.B * s.T, C = s.NH * s.HS;
        Buffer<TypeParam> qkv(N, 3 * C), out(N, C), dout(N, C), dqkv(N, 3 * C, 9);
        Buffer<float> lse(1, N * s.NH),
            scratch(1, kernels::attention_scratch_floats(Device::cpu, s.B, s.T, s.NH, s.HS));
        qkv.randomize(1);
        dout.randomize(2);
        const Reference want = reference(qkv, dout, s);
        const kernels::Attention args{.B = s.B,
                                      .T = s.T,
                                      .NH = s.NH,
                                      .qkv = qkv.tensor(),
                                      .out = out.tensor(),
                                      .lse = lse.tensor(),
                                      .scratch = scratch.tensor()};
        const std::string where = str("B ", s.B, " T ", s.T, " NH ", s.NH, " HS ", s.HS);
        kernels::attention_forward(args);
        for (int64_t i = 0; i < out.size(); i++)
            expect_close<TypeParam>(out[i], want.out[size_t(i)], 5e-6, where + " out");
        for (int64_t i = 0; i < lse.size(); i++) expect_close<float>(lse[i], want.lse[size_t(i)], 5e-6, where + " lse");
        kernels::attention_backward(args, dqkv.tensor(), dout.tensor());
        // The backward starts from the stored output, which bf16 rounds: sum(dout * out) is off by up to HS roundings.
        const double noise = std::is_same_v<TypeParam, bf16> ? 0.05 : 2e-5;
        for (int64_t i = 0; i < dqkv.size(); i++)
            expect_close<TypeParam>(dqkv[i], want.dqkv[size_t(i)], noise, where + " dqkv");
    }
}

TEST(Attention, LaterTokensChangeNothingBefore) {
    const Size s{1, 70, 2, 8};
    Buffer<float> qkv(s.T, 48), first(s.T, 16), second(s.T, 16), lse(1, s.T * 2),
        scratch(1, kernels::attention_scratch_floats(Device::cpu, s.B, s.T, 2, 8));
    qkv.randomize(3);
    const auto run = [&](Buffer<float>& out) {
        kernels::attention_forward({.B = 1,
                                    .T = s.T,
                                    .NH = 2,
                                    .qkv = qkv.tensor(),
                                    .out = out.tensor(),
                                    .lse = lse.tensor(),
                                    .scratch = scratch.tensor()});
    };
    run(first);
    for (int64_t i = 66 * 48; i < qkv.size(); i++) qkv.set(i, 5);
    run(second);
    for (int64_t i = 0; i < 66 * 16; i++) EXPECT_EQ(first[i], second[i]);
}

TEST(Attention, WhatIsNotANumberReachesAllThatDependsOnIt) {
    const int64_t T = 70, C = 8, bad = 30;
    for (const bool in_key : {false, true}) {
        Buffer<float> qkv(T, 3 * C), out(T, C), lse(1, T),
            scratch(1, kernels::attention_scratch_floats(Device::cpu, 1, T, 1, C));
        qkv.randomize(4);
        qkv.set(bad * 3 * C + (in_key ? C : 0) + 5, NAN);
        kernels::attention_forward({.B = 1,
                                    .T = T,
                                    .NH = 1,
                                    .qkv = qkv.tensor(),
                                    .out = out.tensor(),
                                    .lse = lse.tensor(),
                                    .scratch = scratch.tensor()});
        for (int64_t t = 0; t < T; t++) {
            const bool depends = in_key ? t >= bad : t == bad;
            EXPECT_EQ(std::isnan(lse[t]), depends) << t;
            for (int64_t c = 0; c < C; c++) EXPECT_EQ(std::isnan(out[t * C + c]), depends) << t;
        }
    }
}

}  // namespace
