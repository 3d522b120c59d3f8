// The fp32 masters of bf16 weights, kept for the whole run. On a GPU those of frozen weights lie in page-locked host
// memory: only merges and checkpoints touch them, and kernels reach them over the bus.
#pragma once

#include <memory>
#include <vector>

#include "runtime/parameter.h"

class Masters {
  public:
    Masters(DType compute_type, Device device) : type_(compute_type), device_(device) {}

    // What they take of those parameters, adapters left out; fp32 weights take none, being their own masters.
    void plan(MemoryPlan& plan, const std::vector<Parameter*>& parameters);
    void allocate(const std::vector<Parameter*>& parameters);
    // To be called when some of the weights were frozen: brings their masters to where they belong now.
    void settle(const std::vector<Parameter*>& parameters);

  private:
    const DType type_;
    const Device device_;
    Buckets buckets_;
    std::unique_ptr<MemoryPlan> memory_;  // none before allocate()
};
