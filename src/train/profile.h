// Where the time of a run goes: the parts of the training loop, the ops, and the measured ceilings of the machine.
#pragma once

#include <map>
#include <string>

#include "runtime/clock.h"
#include "runtime/memory.h"

// The best rates that this machine reached when it was asked, on one device: what MFU and --profile refer to.
struct Ceilings {
    double flops_per_s = 0;  // a large matrix product in the compute type
    double bytes_per_s = 0;  // read and written, of a large copy
};
double measure_product(Device device, DType type);  // FLOP/s
double measure_copy(Device device);                 // bytes/s

// The time that each part of the training loop took.
class Profile {
  public:
    // Runs body and adds its time to the part.
    template <class Body>
    auto time(const char* part, const Body& body) {
        struct Timer {
            Profile& profile;
            const char* part;
            double start = seconds_now();
            ~Timer() { profile.add(part, seconds_now() - start); }
        } timer{*this, part};
        return body();
    }
    void add(const char* part, double seconds) { parts_[part] += seconds; }
    // The parts of the training loop, then every op with its rates beside the ceilings; the ops as timed since
    // kernels::set_op_timing(true).
    std::string table(const Ceilings& ceilings) const;

  private:
    std::map<std::string, double> parts_;
};
