// Where the time of a step goes: named phases of the training loop, and the machine's measured ceiling for products.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "../runtime/memory.h"

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Profile {
  public:
    // Runs body and adds its time to the phase.
    template <class Body>
    auto time(const char* phase, const Body& body) {
        struct Timer {
            Profile& profile;
            const char* phase;
            double start = seconds_now();
            ~Timer() { profile.add(phase, seconds_now() - start); }
        } timer{*this, phase};
        return body();
    }
    void add(const char* phase, double seconds) { phases_[phase] += seconds; }
    double seconds(const char* phase) const {
        const auto found = phases_.find(phase);
        return found == phases_.end() ? 0 : found->second;
    }
    std::string table() const;

  private:
    std::map<std::string, double> phases_;
};

// FLOP/s of a large matrix product in this type on this device, the best of a few: the ceiling that MFU refers to.
double measure_matmul_ceiling(DType type);
