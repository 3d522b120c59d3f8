// What ranks agree on: what each was started with, and, again and again, the bits of the weights.
#pragma once

#include <string>
#include <vector>

#include "runtime/memory.h"
#include "runtime/parameter.h"
#include "runtime/ranks.h"
#include "train/options.h"

// What has to be the same on all ranks before they begin, a line for each thing.
std::string start_agreement(const Options& options);

// Compares the weights of all ranks by fingerprints.
class WeightCheck {
  public:
    WeightCheck(const Ranks& ranks, Device device) : ranks_(ranks), memory_(device) {}

    // Prepares the check of these parameters' weights.
    void prepare(const std::vector<Parameter*>& parameters);
    // Throws, on every rank, where the weights differ: names the first parameter that does, and the ranks. `when` is
    // for the message. Waits for the device.
    void check(const std::string& when) const;

  private:
    const Ranks& ranks_;
    MemoryPlan memory_;
    std::vector<Parameter*> parameters_;
    Tensor prints_;  // (parameters, 2) int32
};
