#include "train/profile.h"

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/op_timer.h"
#include "runtime/device.h"
#include "train/console.h"

namespace {

// After so many seconds of measuring no start waits longer for a better figure.
constexpr double kEnough = 0.1;

// Seconds of the fastest of a few runs.
template <class Body>
double fastest(Device device, const Body& body) {
    double best = 1e30, spent = 0;
    for (int i = 0; i < 20 && spent < kEnough; i++) {
        device::wait(device);
        const double start = seconds_now();
        body();
        device::wait(device);
        const double seconds = seconds_now() - start;
        best = std::min(best, seconds);
        spent += seconds;
    }
    return best;
}

// Sizes grow on a GPU, whose speed can be anything, until a run takes this many seconds: launches hardly count then.
constexpr double kLongEnough = 4e-3;

}  // namespace

double measure_product(Device device, DType type) {
    for (int64_t size = device == Device::cuda ? 256 : 1024;; size *= 2) {
        MemoryPlan memory(device);
        Tensor a, b, c, workspace;
        memory.add(&a, MemoryCategory::workspaces, type, size, size);
        memory.add(&b, MemoryCategory::workspaces, type, size, size);
        memory.add(&c, MemoryCategory::workspaces, device == Device::cuda ? type : DType::f32, size, size);
        if (const int64_t floats = kernels::workspace_floats(device, type, 0); floats > 0)
            memory.add(&workspace, MemoryCategory::workspaces, DType::f32, 1, floats);
        memory.allocate();
        const Tensor before = kernels::set_workspace(device, workspace);
        for (const Tensor& t : {a, b}) kernels::fill_uniform(t, 1.0f, {1, rng::Purpose::init, 0, 0});
        const double seconds = fastest(device, [&] { kernels::matmul({.a = a, .b = b, .c = c, .transpose_b = true}); });
        kernels::set_workspace(device, before);
        if (device == Device::cpu || seconds > kLongEnough || size == 8192)
            return 2.0 * double(size) * double(size) * double(size) / seconds;
    }
}

double measure_copy(Device device) {
    for (int64_t size = int64_t(1) << (device == Device::cuda ? 18 : 24);; size *= 2) {
        MemoryPlan memory(device);
        Tensor from, to;
        memory.add(&from, MemoryCategory::workspaces, DType::f32, 1, size);
        memory.add(&to, MemoryCategory::workspaces, DType::f32, 1, size);
        memory.allocate();
        kernels::fill(from, 1.0f);
        const double seconds = fastest(device, [&] { kernels::convert(to, from); });
        if (device == Device::cpu || seconds > kLongEnough || size == int64_t(1) << 28)
            return double(from.bytes() + to.bytes()) / seconds;
    }
}

std::string Profile::table(const Ceilings& ceilings) const {
    double total = 0;
    for (const auto& [name, seconds] : parts_) total += seconds;
    std::string text = "part                     seconds   share\n";
    for (const auto& [name, seconds] : parts_)
        text += format("  %-20s %9.2f  %5.1f %%\n", name.c_str(), seconds, 100 * seconds / total);

    std::vector<std::pair<std::string, kernels::OpTotals>> ops;
    for (const auto& op : kernels::op_totals()) ops.push_back(op);
    std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    double in_ops = 0;
    for (const auto& [name, op] : ops) in_ops += op.seconds;
    text += format("op                       seconds   share     calls     GB/s  of %4.0f   GFLOP/s  of %6.0f\n",
                   ceilings.bytes_per_s * 1e-9, ceilings.flops_per_s * 1e-9);
    for (const auto& [name, op] : ops) {
        const double bytes_per_s = op.bytes / op.seconds, flops_per_s = op.flops / op.seconds;
        text += format("  %-20s %9.2f  %5.1f %%  %8lld  %7.1f  %5.1f %%", name.c_str(), op.seconds,
                       100 * op.seconds / in_ops, (long long)op.calls, bytes_per_s * 1e-9,
                       100 * bytes_per_s / ceilings.bytes_per_s);
        if (op.flops > 0)
            text += format("  %8.0f   %5.1f %%", flops_per_s * 1e-9, 100 * flops_per_s / ceilings.flops_per_s);
        text += "\n";
    }
    return text;
}
