// Defaults of a run's phases and cycles: they line up whatever its length, and are the paper's where it divides.
#include <gtest/gtest.h>

#include "test/error_of.h"
#include "train/line_up.h"
#include "train/options.h"
#include "train/schedule.h"

namespace {

Options options(int64_t max_steps, const char* mode, const char* init_from = "") {
    Options o;
    o.device = "cpu";
    o.layers = o.heads = 1;
    o.channels = o.seq_len = o.rank = 8;
    o.vocab_size = 64;
    o.max_steps = max_steps;
    o.mode = mode;
    o.init_from = init_from;
    return o;
}

void expect_lined_up(const Options& o, const std::string& what) {
    const int64_t low = o.max_steps - o.warm_start_steps;
    EXPECT_TRUE(o.warm_start_steps >= 0 && low > 0) << what;
    EXPECT_TRUE(o.warmup_steps >= 0 && (o.warmup_steps < low || low == 1)) << what;
    if (!o.restarts()) return;
    EXPECT_GE(o.merge_every, 1) << what;
    EXPECT_LE(o.merge_every, low) << what;
    // The last cycle is shorter by less than one update for each cycle.
    const int64_t cycles = (low + o.merge_every - 1) / o.merge_every;
    EXPECT_LT(cycles * o.merge_every - low, cycles) << what;
    if (o.reset_every == 0) return;
    EXPECT_TRUE(o.merge_every % o.reset_every == 0 || o.reset_every % o.merge_every == 0) << what;
    EXPECT_TRUE(o.restart_warmup_steps >= 0 && o.restart_warmup_steps < o.reset_every) << what;
    EXPECT_TRUE(o.warmup_steps <= o.reset_every || o.restart_warmup_steps == 0) << what;
}

TEST(Cycles, DefaultsLineUpForEveryLength) {
    for (int64_t steps = 1; steps <= 3000; steps++)
        for (const char* mode : {"relora", "lora", "full", "control"})
            for (const char* init_from : {"", "weights"}) {
                if (mode == std::string("control") && *init_from) continue;
                Options o = options(steps, mode, init_from);
                const std::string what = str("--max-steps ", steps, " --mode ", mode, " --init-from ", init_from);
                ASSERT_EQ(error_of([&] { o.resolve(); }), "no error") << what;
                if (o.low_rank()) expect_lined_up(o, what);
            }
}

TEST(Cycles, DefaultsLineUpWithWhatIsGiven) {
    for (int64_t steps = 1; steps <= 300; steps++)
        for (const int64_t given : {1, 2, 3, 5, 7, 8, 60, 100, 250}) {
            if (given > steps) continue;
            for (int64_t Options::*option : {&Options::merge_every, &Options::reset_every}) {
                Options o = options(steps, "relora");
                o.*option = given;
                const std::string what =
                    str("--max-steps ", steps, ", merge ", o.merge_every, ", reset ", o.reset_every);
                ASSERT_EQ(error_of([&] { o.resolve(); }), "no error") << what;
                EXPECT_EQ(o.*option, given);
                expect_lined_up(o, what);
            }
            // Any length of the full-rank phase leaves a low-rank phase that defaults fill.
            for (const char* mode : {"relora", "lora"}) {
                Options o = options(steps, mode);
                o.warm_start_steps = given;
                if (given == steps) continue;
                ASSERT_EQ(error_of([&] { o.resolve(); }), "no error") << mode << steps << " warm " << given;
                expect_lined_up(o, str("warm ", given));
            }
        }
    Options o = options(100, "relora");
    o.reset_every = 0;
    o.restart_A = "redraw";
    o.resolve();
    EXPECT_EQ(o.merge_every, 25);
}

TEST(Cycles, AreThePapersWhereTheLengthDivides) {
    for (int64_t quarter : {1, 2, 10, 250, 5000}) {
        Options o = options(4 * quarter, "relora");
        o.restart_A = "redraw", o.restart_until = 1;
        o.resolve();
        EXPECT_EQ(o.warm_start_steps, quarter);
        EXPECT_EQ(o.merge_every, quarter);
        EXPECT_EQ(o.reset_every, quarter);
    }
    // The longest run by default, from given weights: three cycles, of which the last is an update shorter.
    Options o = options(-1, "relora", "weights");
    o.restart_A = "redraw", o.restart_until = 1;
    o.resolve();
    EXPECT_EQ(o.max_steps, 20000);
    EXPECT_EQ(o.warm_start_steps, 0);
    EXPECT_EQ(o.merge_every, 6667);
    EXPECT_EQ(o.warmup_steps, 500);
    EXPECT_EQ(o.restart_warmup_steps, 100);
    // What a run has stored is accepted again.
    Options again = options(o.max_steps, "relora", "weights");
    again.restart_A = "redraw";
    again.warm_start_steps = o.warm_start_steps, again.merge_every = o.merge_every;
    again.reset_every = o.reset_every, again.restart_warmup_steps = o.restart_warmup_steps;
    again.warmup_steps = o.warmup_steps;
    EXPECT_EQ(error_of([&] { again.resolve(); }), "no error");
}

TEST(Cycles, WhereAStaysAreNineOfWhichFourEndBeforeTheHalf) {
    Options o = options(12000, "relora");
    o.resolve();
    EXPECT_EQ(o.merge_every, 1000);  // 9000 / 9
    EXPECT_EQ(o.restart_warmup_steps, 0);
    const RunSchedule schedule(o);
    std::vector<int64_t> merges;
    for (int64_t step = 0; step < 12000; step++)
        if (schedule.merges_after(step)) merges.push_back(step + 1);
    EXPECT_EQ(merges, (std::vector<int64_t>{4000, 5000, 6000, 7000, 12000}));
    // The rate drops where there are restarts.
    o.restart_warmup_steps = 100;
    const RunSchedule jagged(o);
    for (const int64_t merge : merges) {
        if (merge == 12000) continue;
        EXPECT_EQ(jagged.multiplier(merge), 0) << merge;
    }
    EXPECT_GT(jagged.multiplier(8000), 0.4);
}

TEST(Cycles, FillAPhaseWhereAllAreAsEqualAsTheyCanBe) {
    for (const int64_t period : {1, 2, 3, 4, 5, 7, 10, 20}) EXPECT_TRUE(fills(period, 20)) << period;
    for (const int64_t period : {6, 8, 9, 11, 19, 21}) EXPECT_FALSE(fills(period, 20)) << period;
}

TEST(Cycles, TheLastOneEndsWithTheRun) {
    Options o = options(20, "relora", "weights");
    o.restart_A = "redraw", o.restart_until = 1;
    o.resolve();
    const RunSchedule schedule(o);
    std::vector<int64_t> merges, resets;
    for (int64_t step = 0; step < 20; step++) {
        if (schedule.merges_after(step)) merges.push_back(step + 1);
        if (schedule.resets_after(step)) resets.push_back(step + 1);
    }
    EXPECT_EQ(merges, (std::vector<int64_t>{7, 14, 20}));
    EXPECT_EQ(resets, merges);
}

TEST(Cycles, NearestDivisorsAreFoundAtOnce) {
    EXPECT_EQ(nearest_divisors(32, 3), "2 or 4");
    EXPECT_EQ(nearest_divisors(20, 6), "5 or 10");
    EXPECT_EQ(nearest_divisors(20, 5), "5");
    EXPECT_EQ(nearest_divisors(7, 30), "7");
    EXPECT_EQ(nearest_divisors(int64_t(1) << 40, (int64_t(1) << 40) - 1), "549755813888 or 1099511627776");
}

}  // namespace
