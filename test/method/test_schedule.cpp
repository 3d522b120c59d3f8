// Jagged schedules against golden values computed from the formula outside the program.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "relora.cuh"

namespace {

using relora::Schedule;
using relora::ScheduleKind;

TEST(Schedule, JaggedCosineLong) {
    const Schedule s{.num_steps = 15000, .warmup = 500, .cycle = 5000, .rewarm = 100, .floor = 0.1};
    const std::vector<std::pair<int64_t, double>> golden = {{0, 0},
                                                            {1, .002},
                                                            {250, .5},
                                                            {499, .998},
                                                            {500, 1},
                                                            {501, .999999989},
                                                            {2500, .958408939},
                                                            {4999, .802614871},
                                                            {5000, 0},
                                                            {5001, .007944058},
                                                            {5050, .397202881},
                                                            {5099, .786461705},
                                                            {5100, .794405763},
                                                            {5101, .794323893},
                                                            {9999, .339302347},
                                                            {10000, 0},
                                                            {10001, .003306523},
                                                            {10050, .165326154},
                                                            {10100, .330652307},
                                                            {12500, .164414271},
                                                            {14999, .100000011}};
    for (const auto& [step, value] : golden) EXPECT_NEAR(s.multiplier(step), value, 1e-9) << step;
}

TEST(Schedule, JaggedCosineShort) {
    const Schedule s{.num_steps = 40, .warmup = 4, .cycle = 10, .rewarm = 3, .floor = 0.1};
    const double golden[] = {
        0, .25,        .5,         .75,        1,          .998287614, .993163489, .984666622, .972861679, .957838504,
        0, .289399351, .578798701, .868198052, .839254424, .808109396, .775,       .740178218, .703909064, .66646857,
        0, .170259972, .340519944, .510779916, .47185832,  .43353143,  .396090936, .359821782, .325,       .291890604,
        0, .060460527, .120921053, .18138158,  .160288568, .142161496, .127138321, .115333378, .106836511, .101712386};
    for (int64_t step = 0; step < 40; step++) EXPECT_NEAR(s.multiplier(step), golden[step], 1e-9) << step;
}

TEST(Schedule, WithoutCycleItIsThePlainCosine) {
    const Schedule s{.num_steps = 100, .warmup = 10, .floor = 0.2};
    EXPECT_DOUBLE_EQ(s.multiplier(10), 1);
    EXPECT_NEAR(s.multiplier(55), 0.6, 1e-12);  // half-way: the mean of 1 and the floor
    EXPECT_NEAR(s.multiplier(100), 0.2, 1e-12);
}

TEST(Schedule, OtherBasesRestartAndMeetTheirBase) {
    for (const ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::constant, ScheduleKind::wsd}) {
        const Schedule plain{.kind = kind, .num_steps = 60, .warmup = 5, .floor = 0.1};
        Schedule jagged = plain;
        jagged.cycle = 20;
        jagged.rewarm = 4;
        for (int64_t k : {1, 2}) {
            const double met = plain.multiplier(20 * k + 4);
            for (int q = 0; q < 4; q++) EXPECT_NEAR(jagged.multiplier(20 * k + q), met * q / 4.0, 1e-12);
            EXPECT_DOUBLE_EQ(jagged.multiplier(20 * k + 4), met);
        }
    }
    const Schedule linear{.kind = ScheduleKind::linear, .num_steps = 100, .floor = 0.1};
    EXPECT_NEAR(linear.multiplier(50), 0.55, 1e-12);
    const Schedule wsd{.kind = ScheduleKind::wsd, .num_steps = 100, .floor = 0.0, .decay_fraction = 0.2};
    EXPECT_DOUBLE_EQ(wsd.multiplier(79), 1);
    EXPECT_NEAR(wsd.multiplier(90), 0.5, 1e-12);
}

TEST(Schedule, SkippingTheZeroRateStartsAtOneStep) {
    const Schedule s{.num_steps = 40, .warmup = 4, .cycle = 10, .rewarm = 3, .floor = 0.1, .skip_zero_rate = true};
    EXPECT_NEAR(s.multiplier(10), .868198052 / 3, 1e-9);
    EXPECT_NEAR(s.multiplier(12), .868198052, 1e-9);
}

}  // namespace
