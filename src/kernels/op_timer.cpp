#include "kernels/op_timer.h"

#include <utility>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "runtime/build.h"
#include "runtime/clock.h"

namespace kernels {
namespace {

bool timing = false;
OpNamer name_of;
std::map<std::string, OpTotals> totals;

// Ops on the GPU whose time is not known yet.
struct Launched {
    const char* op;
    int first_event, last_event;
};
std::vector<Launched> launched;
constexpr size_t kMostLaunched = 4096;  // before their times are collected, which waits for the GPU

void collect() {
    if constexpr (kBuiltWithCuda) {
        for (const Launched& l : launched) totals[l.op].seconds += cuda::seconds_between(l.first_event, l.last_event);
        cuda::reuse_events();
    }
    launched.clear();
}

}  // namespace

void set_op_timing(bool on) {
    if (on) {
        collect();
        totals.clear();
    }
    timing = on;
}

std::map<std::string, OpTotals> op_totals() {
    collect();
    return totals;
}

void set_op_namer(OpNamer namer) { name_of = std::move(namer); }

OpTimer::OpTimer(const char* op, std::initializer_list<Tensor> moved, double flops)
    : on_gpu_(moved.begin()->device == Device::cuda) {
    if constexpr (kBuiltWithCuda)
        if (on_gpu_) cuda::push_range(op);
    if (!timing) return;
    op_ = name_of ? name_of(op, moved) : op;
    flops_ = flops;
    for (const Tensor& t : moved) bytes_ += double(t.bytes());
    start_ = seconds_now();
    if constexpr (kBuiltWithCuda)
        if (on_gpu_) first_event_ = cuda::record_event();
}

OpTimer::~OpTimer() {
    if constexpr (kBuiltWithCuda)
        if (on_gpu_) cuda::pop_range();
    if (!op_) return;
    OpTotals& sum = totals[op_];
    sum.calls++;
    sum.bytes += bytes_;
    sum.flops += flops_;
    if (!on_gpu_) {
        sum.seconds += seconds_now() - start_;
        return;
    }
    if constexpr (kBuiltWithCuda) {
        launched.push_back({op_, first_event_, cuda::record_event()});
        if (launched.size() >= kMostLaunched) collect();
    }
}

}  // namespace kernels
