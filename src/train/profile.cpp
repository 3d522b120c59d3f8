#include "profile.h"

#include <algorithm>
#include <vector>

#include "../kernels/kernels.h"
#include "../kernels/op_timer.h"
#include "../runtime/device.h"
#include "console.h"

namespace {

// Seconds of the fastest of a few runs.
template <class Body>
double fastest(Device device, const Body& body) {
    double best = 1e30;
    for (int i = 0; i < 20; i++) {
        device::wait(device);
        const double start = seconds_now();
        body();
        device::wait(device);
        best = std::min(best, seconds_now() - start);
    }
    return best;
}

}  // namespace

Ceilings measure_ceilings(Device device, DType type) {
    // Large enough to fill the device and, for the copy, to lie beyond its caches.
    const int64_t size = device == Device::cuda ? 8192 : 1024;
    const int64_t copied = int64_t(device == Device::cuda ? 128 : 16) << 20;
    MemoryPlan memory(device);
    Tensor a, b, c, from, to;
    memory.add(&a, MemoryCategory::workspaces, type, size, size);
    memory.add(&b, MemoryCategory::workspaces, type, size, size);
    memory.add(&c, MemoryCategory::workspaces, device == Device::cuda ? type : DType::f32, size, size);
    memory.add(&from, MemoryCategory::workspaces, DType::f32, 1, copied);
    memory.add(&to, MemoryCategory::workspaces, DType::f32, 1, copied);
    memory.allocate();
    for (const Tensor& t : {a, b, from, to}) kernels::fill_uniform(t, 1.0f, {1, rng::Purpose::init, 0, 0});
    const double product = fastest(device, [&] { kernels::matmul({.a = a, .b = b, .c = c, .transpose_b = true}); });
    const double copy = fastest(device, [&] { kernels::convert(to, from); });
    return {.flops_per_s = 2.0 * double(size) * double(size) * double(size) / product,
            .bytes_per_s = double(from.bytes() + to.bytes()) / copy};
}

std::string Profile::table(const Ceilings& ceilings) const {
    double total = 0;
    for (const auto& [name, seconds] : phases_) total += seconds;
    std::string text = "phase                    seconds   share\n";
    for (const auto& [name, seconds] : phases_) text += format("  %-20s %9.2f  %5.1f %%\n", name.c_str(), seconds, 100 * seconds / total);

    std::vector<std::pair<std::string, kernels::OpTotals>> ops;
    for (const auto& op : kernels::op_totals()) ops.push_back(op);
    std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    double in_ops = 0;
    for (const auto& [name, op] : ops) in_ops += op.seconds;
    text += format("op                       seconds   share     calls     GB/s  of %4.0f   GFLOP/s  of %6.0f\n",
                   ceilings.bytes_per_s * 1e-9, ceilings.flops_per_s * 1e-9);
    for (const auto& [name, op] : ops) {
        const double bytes_per_s = op.bytes / op.seconds, flops_per_s = op.flops / op.seconds;
        text += format("  %-20s %9.2f  %5.1f %%  %8lld  %7.1f  %5.1f %%", name.c_str(), op.seconds, 100 * op.seconds / in_ops,
                       (long long)op.calls, bytes_per_s * 1e-9, 100 * bytes_per_s / ceilings.bytes_per_s);
        if (op.flops > 0) text += format("  %8.0f   %5.1f %%", flops_per_s * 1e-9, 100 * flops_per_s / ceilings.flops_per_s);
        text += "\n";
    }
    return text;
}
