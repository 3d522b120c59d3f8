// Whether a run is well: updates that were skipped, and losses and gradient norms far above those before.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/run_state.h"
#include "optimizer/optimizer.h"

class Health {
  public:
    struct Config {
        bool watches = true, skips = false;  // outliers; skips: updates that are outliers
        double zscore = 6;                   // standard deviations above the mean that make an outlier
        int64_t most_skipped = 20;           // in a row; 0: any number
    };
    explicit Health(const Config& config) : config_(config) {}

    // The limits of the update after `step` updates: mean + zscore standard deviations of the window, which ends two
    // updates before, as a GPU's numbers come one update late. None while the window has fewer than kLeast updates.
    static constexpr size_t kWindow = 128, kLeast = 32;
    Optimizer::Limits limits(int64_t step) const;
    // What of them skips an update.
    Optimizer::Limits skipping_limits(int64_t step) const { return config_.skips ? limits(step) : Optimizer::Limits{}; }

    // Takes in the result of the update after `step` updates. Returns what is to be said of it: "" if it is as usual.
    std::string add(int64_t step, const Optimizer::Result& result);
    // Begins the window anew: a switch or a restart changes what is usual.
    void begin_window() { state_.window.clear(); }

    bool skipped_too_many() const {
        return config_.most_skipped > 0 && state_.skipped_in_a_row >= config_.most_skipped;
    }
    const HealthState& state() const { return state_; }
    void restore(const HealthState& state) { state_ = state; }

  private:
    const Config config_;
    HealthState state_;
};

// Names the first of the parameters whose weight, or else gradient, is not finite; "" if all are. Waits for the device.
std::string first_not_finite(const std::vector<Parameter*>& parameters);
