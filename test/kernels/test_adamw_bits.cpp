// AdamW gives the same bits on every CPU and in every build: those of its formula with each product that is fused with
// a sum rounded once. test/kernels/adamw_bits.sh runs this file alone, built for several CPUs.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/cpu/cpu.h"

namespace {

using kernels::AdamWFactors;
using kernels::StepFactors;

// A type with 64 bits of mantissa at least, and 113 in most cases: the product of two floats is exact in it. Rounding
// the sum twice, to this type and to float, could only matter where the sum lies within 2^-64 of the middle between two
// floats.
#ifdef __SIZEOF_FLOAT128__
using Wide = __float128;
#else
using Wide = long double;
#endif
float fused(float a, float b, float c) { return float(Wide(a) * Wide(b) + Wide(c)); }
// A product that the compiler can't fuse with anything.
float product(float a, float b) {
    volatile float result = a * b;
    return result;
}

constexpr AdamWFactors kFactors = {.beta1 = 0.9f,
                                   .one_minus_beta1 = 1 - 0.9f,
                                   .beta2 = 0.95f,
                                   .one_minus_beta2 = 1 - 0.95f,
                                   .m_bound = 1.166f,
                                   .eps = 1e-8f,
                                   .weight_decay = 0.1f};
constexpr StepFactors kStep = {.rate = 3e-3f, .gradient_scale = 0.37f, .m_correction = 1.8f, .root_correction = 2.3f};

struct State {
    float p, g, m, v;
};

// The update as dev/FORMATS.md has it.
State expected(State s) {
    const AdamWFactors& f = kFactors;
    const float g = product(s.g, kStep.gradient_scale);
    s.v = fused(f.beta2, s.v, product(product(f.one_minus_beta2, g), g));
    const float root = std::sqrt(s.v), bound = product(f.m_bound, root);
    s.m = std::clamp(fused(f.beta1, s.m, product(f.one_minus_beta1, g)), -bound, bound);
    const float step = product(s.m, kStep.m_correction) / fused(root, kStep.root_correction, f.eps);
    s.p = fused(-kStep.rate, fused(f.weight_decay, s.p, step), s.p);
    return s;
}

// Values of many magnitudes.
std::vector<State> states() {
    std::vector<State> all;
    const rng::Stream stream{7, rng::Purpose::init, 0, 0};
    const auto value = [&](uint64_t i) {
        return (2 * rng::to_uniform(stream.bits(i)) - 1) * std::ldexp(1.0f, int(stream.bits(i + 1) % 24) - 20);
    };
    for (uint64_t i = 0; i < 20000; i++)
        all.push_back({value(8 * i), value(8 * i + 2), 0.1f * value(8 * i + 4), std::abs(value(8 * i + 6))});
    return all;
}

// How many of n elements differ in any bit of what `update` makes of p, m and v.
template <class Update>
int different(const std::vector<State>& start, const Update& update) {
    std::vector<float> p, g, m, v;
    for (const State& s : start) p.push_back(s.p), g.push_back(s.g), m.push_back(s.m), v.push_back(s.v);
    update(p.data(), g.data(), m.data(), v.data());
    int count = 0;
    const auto differs = [](float a, float b) { return std::bit_cast<uint32_t>(a) != std::bit_cast<uint32_t>(b); };
    for (size_t i = 0; i < start.size(); i++) {
        const State want = expected(start[i]);
        count += differs(p[i], want.p) || differs(m[i], want.m) || differs(v[i], want.v);
    }
    return count;
}

TEST(AdamWBits, AreThoseOfTheFormulaFusedOnEveryCpu) {
    const std::vector<State> start = states();
    EXPECT_EQ(different(start,
                        [&](float* p, const float* g, float* m, float* v) {
                            kernels::cpu::adamw_tensor<float>(p, nullptr, g, m, v, int64_t(start.size()), kFactors,
                                                              kStep);
                        }),
              0);
}

// A range that begins at element 4 of its tensor.
TEST(AdamWBits, AreRoundedFromThoseWithoutMasters) {
    std::vector<State> start = states();
    for (State& s : start) s.p = float(bf16(s.p));
    const rng::Stream stream{3, rng::Purpose::rounding, 1, 2};
    std::vector<bf16> weights;
    for (const State& s : start) weights.push_back(bf16(s.p));
    std::vector<uint16_t> want;
    for (size_t i = 0; i < start.size(); i++)
        want.push_back(rng::round_to_bf16(std::bit_cast<uint32_t>(expected(start[i]).p), stream.bits(i + 4)));
    EXPECT_EQ(different(start,
                        [&](float* p, const float* g, float* m, float* v) {
                            kernels::cpu::adamw_tensor_rounding(weights.data(), g, m, v, int64_t(start.size()),
                                                                kFactors, kStep, stream, 4);
                            for (size_t i = 0; i < start.size(); i++)
                                p[i] = expected(start[i]).p;  // m and v are compared here
                        }),
              0);
    for (size_t i = 0; i < start.size(); i++) ASSERT_EQ(weights[i].bits, want[i]) << "element " << i;
}

}  // namespace
