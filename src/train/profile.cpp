#include "profile.h"

#include "../kernels/kernels.h"
#include "console.h"

std::string Profile::table() const {
    double total = 0;
    for (const auto& [name, seconds] : phases_) total += seconds;
    std::string text = "profile      seconds   share\n";
    for (const auto& [name, seconds] : phases_)
        text += format("  %-10s %8.2f  %5.1f %%\n", name.c_str(), seconds, 100 * seconds / total);
    return text;
}

double measure_matmul_ceiling(DType type) {
    constexpr int64_t kSize = 1024;
    MemoryPlan memory;
    Tensor a, b, c;
    memory.add(&a, MemoryCategory::workspaces, type, kSize, kSize);
    memory.add(&b, MemoryCategory::workspaces, type, kSize, kSize);
    memory.add(&c, MemoryCategory::workspaces, DType::f32, kSize, kSize);
    memory.allocate();
    for (const Tensor& t : {a, b}) kernels::fill_uniform(t, 1.0f, {1, rng::Purpose::init, 0, 0});
    double best = 1e30;
    for (int i = 0; i < 20; i++) {
        const double start = seconds_now();
        kernels::matmul({.a = a, .b = b, .c = c, .transpose_b = true});
        best = std::min(best, seconds_now() - start);
    }
    return 2.0 * kSize * kSize * kSize / best;
}
