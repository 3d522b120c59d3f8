// The plan of a run: one update counter decides phase, rate, merges and resets.
#pragma once

#include <string>

#include "train/options.h"

class RunPlan {
  public:
    explicit RunPlan(const Options& options);

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
    bool ends(int64_t step, int64_t period) const { return period > 0 && (step + 1 - switch_step_) % period == 0; }

    bool low_rank_;
    int64_t switch_step_, merge_every_, reset_every_;
    double full_lr_, low_lr_;
    relora::Schedule full_schedule_, low_schedule_;
};

// Device memory that the low-rank phase takes by these routes.
size_t low_rank_bytes(const Options& options, const Routes& routes);
// The fastest routes, or factored ones where those would take more than is available and factored ones take less. That
// they don't always do: in bf16 on a CPU an effective weight takes the place of another, and factored adapters keep
// activations.
Routes affordable_routes(const Options& options, const Routes& fastest, size_t available);
// --dry-run's report: parameters, memory by category for each phase, tokens, updates, FLOPs. Allocates none of it.
std::string dry_run_report(const Options& options);
