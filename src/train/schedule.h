// The schedule of a run: one counter of updates decides phase, rate, merges and resets.
#pragma once

#include <string>

#include "optimizer/optimizer.h"
#include "train/options.h"

class RunSchedule {
  public:
    explicit RunSchedule(const Options& options);

    // All of these take the 0-based number of an update.
    bool low_rank(int64_t step) const { return low_rank_ && step >= switch_step_; }
    bool switches_before(int64_t step) const { return low_rank_ && step == switch_step_ && switch_step_ > 0; }
    bool merges_after(int64_t step) const { return low_rank(step) && ends(step, merge_every_); }
    bool resets_after(int64_t step) const { return low_rank(step) && ends(step, reset_every_); }
    // What the peak rate is multiplied by; in the low-rank phase that of the adapters.
    double multiplier(int64_t step) const {
        return low_rank(step) ? low_schedule_.multiplier(step - switch_step_) : full_schedule_.multiplier(step);
    }
    // The learning rates; in the full-rank phase that of all parameters is the one of the others.
    Optimizer::Rates rates(int64_t step) const {
        const double full = full_schedule_.multiplier(step);
        if (!low_rank(step)) return {.others = full * full_lr_};
        const double low = multiplier(step);
        return {.A = low * low_lr_ / ratio_, .B = low * low_lr_, .others = (others_restart_ ? low : full) * other_lr_};
    }
    const char* phase(int64_t step) const { return low_rank(step) ? "lowrank" : "full"; }
    int64_t num_steps() const { return full_schedule_.num_steps; }

    // --print-schedule's table.
    std::string table() const;

  private:
    // The last cycle may have another length, and ends with the run.
    bool ends(int64_t step, int64_t period) const {
        const int64_t done = step + 1 - switch_step_;
        return period > 0 && ((done % period == 0 && done <= last_restart_) || step + 1 == num_steps());
    }

    bool low_rank_, others_restart_;
    int64_t switch_step_, merge_every_, reset_every_, last_restart_;
    bool prunes_;  // whether a reset zeroes moments; else only the rate drops
    double full_lr_, low_lr_, ratio_, other_lr_;
    relora::Schedule full_schedule_, low_schedule_;
};
