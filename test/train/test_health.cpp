// Limits of what is usual in a run, and what Health says of updates that are above them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "train/health.h"

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Optimizer::Result result(double loss, double norm, bool taken = true) {
    return {.loss = loss, .gradient_norm = norm, .taken = taken};
}
// Losses of 3 and 5 in turn have a mean of 4 and a standard deviation of 1; norms are a tenth of that.
Optimizer::Result usual(int64_t step) { return result(step % 2 ? 5 : 3, step % 2 ? 0.5 : 0.3); }

Health after(int64_t steps, const Health::Config& config) {
    Health health(config);
    for (int64_t step = 0; step < steps; step++) EXPECT_EQ(health.add(step, usual(step)), "") << step;
    return health;
}

TEST(Health, KnowsNoLimitsBeforeThereIsEnoughToCompareWith) {
    const int64_t least = int64_t(Health::kLeast);
    EXPECT_EQ(after(least, {}).limits(least).loss, 0);
    EXPECT_EQ(after(least + 1, {}).limits(least + 1).loss, 4 + 6);
    EXPECT_FLOAT_EQ(after(least + 1, {}).limits(least + 1).norm, 0.4f + 0.6f);
    EXPECT_EQ(after(least + 1, {.watches = false}).limits(least + 1).loss, 0);
}

TEST(Health, SkipsOnlyWhereItIsTold) {
    EXPECT_EQ(after(65, {}).skipping_limits(65).loss, 0);
    EXPECT_EQ(after(65, {.skips = true}).skipping_limits(65).loss, 10);
}

// A GPU's numbers come an update late, a save waits for them: neither may change what is skipped.
TEST(Health, LimitsDoNotDependOnWhetherTheUpdateBeforeIsKnown) {
    Health health({.skips = true});
    for (int64_t step = 0; step < 400; step++) {
        const double value = 4 + std::sin(double(step * step));
        const Optimizer::Limits early = health.limits(step + 1);
        health.add(step, result(value, value / 10));
        const Optimizer::Limits late = health.limits(step + 1);
        EXPECT_EQ(early.loss, late.loss) << step;
        EXPECT_EQ(early.norm, late.norm) << step;
    }
}

TEST(Health, LimitsAreThoseOfTheLastUpdatesOnly) {
    Health health({});
    int64_t step = 0;
    for (; step < 50; step++) health.add(step, result(100, 100));
    for (; step < 50 + int64_t(Health::kWindow) + 1; step++) health.add(step, usual(step));
    EXPECT_EQ(health.limits(step).loss, 10);
}

TEST(Health, CountsOutliersAndSkippedUpdates) {
    Health health = after(65, {.skips = true, .most_skipped = 2});
    EXPECT_NE(health.add(65, result(10.5, 0.4, false)).find("the loss 10.5000 is an outlier"), std::string::npos);
    EXPECT_EQ(health.add(66, usual(66)), "");
    EXPECT_NE(health.add(67, result(4, 1.1, false)).find("the gradient norm 1.1 is an outlier"), std::string::npos);
    EXPECT_FALSE(health.skipped_too_many());
    EXPECT_NE(health.add(68, result(kInfinity, 1, false)).find("the loss is not finite"), std::string::npos);
    EXPECT_TRUE(health.skipped_too_many());
    EXPECT_EQ(health.state().outliers, 2);
    EXPECT_EQ(health.state().skipped, 3);
    for (const WatchedUpdate& update : health.state().window) EXPECT_LE(update.loss, 5);
    health.add(69, usual(69));
    EXPECT_FALSE(health.skipped_too_many());
    EXPECT_EQ(health.state().skipped, 3);
}

TEST(Health, WarnsOfAnOutlierThatIsTaken) {
    Health health = after(65, {});
    EXPECT_EQ(health.add(65, result(10.5, 0.4)), "the loss 10.5000 is an outlier: usual here is less than 10.0000");
    EXPECT_EQ(health.state().outliers, 1);
    EXPECT_EQ(health.state().skipped, 0);
}

TEST(Health, GoesOnFromItsState) {
    Health whole({.skips = true}), resumed({.skips = true});
    for (int64_t step = 0; step < 300; step++) {
        const double value = 4 + std::sin(double(step * step));
        whole.add(step, result(value, value));
        if (step == 150)
            resumed.restore(whole.state());
        else if (step > 150)
            resumed.add(step, result(value, value));
    }
    EXPECT_EQ(whole.limits(300).loss, resumed.limits(300).loss);
    EXPECT_EQ(whole.state().window.size(), resumed.state().window.size());
}

}  // namespace
