// A copy of what a checkpoint holds, which stays as it is while training goes on.
#pragma once

#include <vector>

#include "optimizer/whole.h"
#include "runtime/parameter.h"

class Snapshot {
  public:
    // `device`: where the training is. Copies from a GPU go to page-locked memory.
    explicit Snapshot(Device device) : device_(device) {}
    ~Snapshot() { release(); }
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;

    // Gets memory for copies of such parameters, unless there is enough from before; throws OutOfMemory where there is
    // not that much.
    void prepare(const std::vector<Parameter*>& parameters);
    // Copies all of their values and moments: each rank gives its part, and the first one keeps them.
    void take(const std::vector<Parameter*>& parameters, const Whole& whole);
    // The copies, in host memory.
    std::vector<Parameter*> parameters();

  private:
    void release();

    const Device device_;
    float* memory_ = nullptr;
    int64_t elements_ = 0;
    std::vector<Parameter> copies_;
};
