// The fp32 masters of bf16 weights, kept for the whole run, or, where ranks share them, this rank's parts. On a GPU
// those of frozen weights lie in page-locked host memory: only merges and checkpoints touch them, and kernels reach
// them over the bus.
#pragma once

#include <memory>
#include <vector>

#include "runtime/parameter.h"

class Masters {
  public:
    Masters(DType compute_type, Device device) : type_(compute_type), device_(device) {}

    // Plans the masters of all these parameters but adapters; fp32 weights need none, being their own masters.
    void plan(MemoryPlan& plan, const std::vector<Parameter*>& parameters);
    void allocate(const std::vector<Parameter*>& parameters);
    // Brings the masters of weights that have been frozen to where they belong now; does nothing where there are none.
    void settle(const std::vector<Parameter*>& parameters);

  private:
    const DType type_;
    const Device device_;
    std::unique_ptr<MemoryPlan> memory_;  // none before allocate()
};
