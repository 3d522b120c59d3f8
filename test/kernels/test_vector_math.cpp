// The vector functions against libm in fp64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/vector_math.h"

using namespace kernels::cpu;

TEST(VectorMath, ExponentialOverItsNormalRange) {
    double worst = 0;
    for (double x = -87.3; x <= 88.7; x += 0.00037) {
        const double want = std::exp(double(float(x)));
        worst = std::max(worst, std::abs(vexp(float(x)) - want) / want);
    }
    EXPECT_LT(worst, 1.5e-7);
    EXPECT_EQ(vexp(0.0f), 1.0f);
}

TEST(VectorMath, ExponentialAtTheEnds) {
    const float inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(vexp(inf), inf);
    EXPECT_EQ(vexp(89.0f), inf);
    EXPECT_EQ(vexp(-inf), 0.0f);
    EXPECT_EQ(vexp(-1000.0f), 0.0f);
    EXPECT_TRUE(std::isnan(vexp(std::nanf(""))));
    EXPECT_NEAR(vexp(-95.0f), std::exp(-95.0), 1.5e-45);  // subnormal: one unit is 1.4e-45
}

TEST(VectorMath, Logarithm) {
    double worst = 0;
    for (double x = 1.2e-38; x < 3e38; x *= 1.0003) {
        const double want = std::log(double(float(x)));
        worst = std::max(worst, std::abs(vlog(float(x)) - want) / std::max(std::abs(want), 1e-30));
    }
    for (double x = 0.5; x < 1.5; x += 1e-5)
        if (float(x) != 1.0f) {
            const double want = std::log(double(float(x)));
            worst = std::max(worst, std::abs(vlog(float(x)) - want) / std::abs(want));
        }
    EXPECT_LT(worst, 2.5e-7);
    EXPECT_EQ(vlog(1.0f), 0.0f);
}

TEST(VectorMath, CosineAndSineOfAWholeTurn) {
    for (int i = 0; i <= 1 << 16; i++) {
        const float u = float(i) / float(1 << 16);
        float cosine, sine;
        vcos_sin(u, cosine, sine);
        ASSERT_NEAR(cosine, std::cos(2 * M_PI * double(u)), 1.5e-7) << u;
        ASSERT_NEAR(sine, std::sin(2 * M_PI * double(u)), 1.5e-7) << u;
    }
}
