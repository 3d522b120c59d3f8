// Where the time of the ops goes: while timing is on, each public op of kernels.h adds its time, the bytes it has to
// move and the FLOPs it has to do to the totals under its name. Off, it costs a branch. On a GPU every op is an NVTX
// range as well.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <string>

#include "runtime/tensor.h"

namespace kernels {

// All that the calls of one op took, moved and computed.
struct OpTotals {
    int64_t calls = 0;
    double seconds = 0, bytes = 0, flops = 0;
};

// Switches timing on, which empties the totals, or off. On a GPU ops are timed by events on their stream; no op may be
// captured meanwhile.
void set_op_timing(bool on);
// What has been timed so far, by op. Waits for the GPU.
std::map<std::string, OpTotals> op_totals();

// Gives the name that an op is added up under instead of its own, chosen by what it moves; the string has to stay. An
// empty function: their own names again.
using OpNamer = std::function<const char*(const char* op, std::initializer_list<Tensor> moved)>;
void set_op_namer(OpNamer namer);

// Lives as long as the op runs, or takes to launch.
class OpTimer {
  public:
    // `moved`: every tensor that is read or written, twice if both; empty ones count nothing. The first is on the op's
    // device.
    OpTimer(const char* op, std::initializer_list<Tensor> moved, double flops = 0);
    void also_moves(double bytes) { bytes_ += bytes; }
    ~OpTimer();
    OpTimer(const OpTimer&) = delete;
    OpTimer& operator=(const OpTimer&) = delete;

  private:
    const char* op_ = nullptr;  // null while timing is off
    const bool on_gpu_;
    double bytes_ = 0, flops_ = 0, start_ = 0;
    int first_event_ = 0;
};

}  // namespace kernels
