// What the cases_*.cpp files share, and what each adds to the registry. Shapes: the smallest, tails of warps and of
// 16-byte accesses, several blocks, a model's sizes scaled down.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "dev/kernels/registry.h"

namespace registry {

using Cases = std::vector<Case>;

inline constexpr DType kTypes[] = {DType::f32, DType::bf16};
struct Shape {
    int64_t rows, cols;
};
inline constexpr Shape kShapes[] = {{1, 1}, {3, 5}, {67, 24}, {600, 24}, {67, 1000}, {257, 768}, {5, 1600}, {2, 4097}};

// How far results may differ, by a rounding of the type and by the order of fp32 sums.
inline double tolerance(DType type) { return type == DType::bf16 ? 1.0 / 128 : 3e-6; }
inline std::string label(DType type, int64_t rows, int64_t cols) { return str(dtype_name(type), "_", rows, "x", cols); }

// Values with many ties, zeros of both signs, and a NaN.
inline std::vector<float> tied(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = float((i * 7919) % 13 - 6) * 0.5f * (i % 5 == 0 ? -1.0f : 1.0f);
    if (n > 40) values[37] = NAN;
    return values;
}

void add_elementwise(Cases& all);
void add_pruning(Cases& all);
void add_rows(Cases& all);
void add_sampling(Cases& all);
void add_attention(Cases& all);
void add_not_finite(Cases& all);
void add_matmul(Cases& all);
void add_low_rank_sums(Cases& all);
void add_adamw(Cases& all);
void add_ranks(Cases& all);

}  // namespace registry
