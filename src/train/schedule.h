// The schedule of a run: one counter of updates decides phase, rate, merges and resets.
#pragma once

#include <string>

#include "train/options.h"

class RunSchedule {
  public:
    explicit RunSchedule(const Options& options);

    // All of these take the 0-based number of an update.
    bool low_rank(int64_t step) const { return low_rank_ && step >= switch_step_; }
    bool switches_before(int64_t step) const { return low_rank_ && step == switch_step_ && switch_step_ > 0; }
    bool merges_after(int64_t step) const { return low_rank(step) && ends(step, merge_every_); }
    bool resets_after(int64_t step) const { return low_rank(step) && ends(step, reset_every_); }
    double multiplier(int64_t step) const {
        return low_rank(step) ? low_schedule_.multiplier(step - switch_step_) : full_schedule_.multiplier(step);
    }
    double rate(int64_t step) const { return multiplier(step) * (low_rank(step) ? low_lr_ : full_lr_); }
    const char* phase(int64_t step) const { return low_rank(step) ? "lowrank" : "full"; }
    int64_t num_steps() const { return full_schedule_.num_steps; }

    // --print-schedule's table.
    std::string table() const;

  private:
    // The last cycle may be shorter than the others, and ends with the run.
    bool ends(int64_t step, int64_t period) const {
        return period > 0 && ((step + 1 - switch_step_) % period == 0 || step + 1 == num_steps());
    }

    bool low_rank_;
    int64_t switch_step_, merge_every_, reset_every_;
    double full_lr_, low_lr_;
    relora::Schedule full_schedule_, low_schedule_;
};
