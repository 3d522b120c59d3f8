// Are the low-rank products of an adapter faster stacked on those of its weight, so that x and dY are read once? x [W;
// A]^T gives y and u, dY [W | B] gives dX and du. Each is timed in turn with the two products apart, at rank 128.
#include <algorithm>
#include <cstdio>

#include "kernels/kernels.h"
#include "model/config.h"
#include "runtime/clock.h"
#include "runtime/memory.h"

namespace {

constexpr int kRounds = 9;
constexpr int64_t kRows = 1024, kRank = 128;

struct Product {
    int64_t columns, depth;
    bool transpose_b;
};

class Products {
  public:
    Products(DType type, int64_t largest) : type_(type) {
        for (Tensor* t : {&a_, &b_, &c_}) memory_.add(t, MemoryCategory::workspaces, type, 1, largest);
        if (const int64_t floats = kernels::workspace_floats(Device::cpu, type, largest); floats > 0)
            memory_.add(&workspace_, MemoryCategory::workspaces, DType::f32, 1, floats);
        memory_.allocate();
        for (const Tensor* t : {&a_, &b_}) kernels::fill_normal(*t, 1.0f, {});
        kernels::set_workspace(Device::cpu, workspace_);
    }
    ~Products() { kernels::set_workspace(Device::cpu, {}); }
    double seconds(const Product& p) const {
        const double start = seconds_now();
        kernels::matmul({.a = a_.reuse(type_, kRows, p.depth),
                         .b = b_.reuse(type_, p.transpose_b ? p.columns : p.depth, p.transpose_b ? p.depth : p.columns),
                         .c = c_.reuse(type_, kRows, p.columns),
                         .transpose_b = p.transpose_b});
        return seconds_now() - start;
    }

  private:
    const DType type_;
    MemoryPlan memory_;
    Tensor a_, b_, c_, workspace_;
};

}  // namespace

int main() {
    std::printf("%lld rows, r = %lld; least of %d rounds, ms\n", (long long)kRows, (long long)kRank, kRounds);
    std::printf("%-6s %-5s %-12s %-7s %9s %9s %9s %9s\n", "C", "type", "linear", "product", "weight", "low-rank",
                "stacked", "/ apart");
    for (const char* name : {"gpt2", "gpt2-medium", "gpt2-large"})
        for (const DType type : {DType::f32, DType::bf16}) {
            const GPT2Config config = named_config(name);
            const int64_t C = config.channels;
            const Products products(type, std::max(kRows, 4 * C + kRank) * (4 * C + kRank));
            for (int i = 0; i < kLinears; i++)
                for (const bool forward : {true, false}) {
                    if (i == kAttnQKV && !forward) continue;  // the adapters of q, k and v see a part of dY each
                    const int64_t in = linear_in(config, i), out = linear_out(config, i),
                                  rank = (i == kAttnQKV ? 3 : 1) * kRank;
                    const int64_t columns = forward ? out : in, depth = forward ? in : out;
                    double weight = 1e9, low_rank = 1e9, stacked = 1e9;
                    for (int round = 0; round < kRounds; round++) {
                        weight = std::min(weight, products.seconds({columns, depth, forward}));
                        low_rank = std::min(low_rank, products.seconds({rank, depth, forward}));
                        stacked = std::min(stacked, products.seconds({columns + rank, depth, forward}));
                    }
                    std::printf("%-6lld %-5s %-12s %-7s %9.3f %9.3f %9.3f %9.3f\n", (long long)C, dtype_name(type),
                                linear_name(i), forward ? "[W; A]" : "[W | B]", 1e3 * weight, 1e3 * low_rank,
                                1e3 * stacked, stacked / (weight + low_rank));
                    std::printf(
                        "{\"bench\": \"low_rank_products\", \"channels\": %lld, \"dtype\": \"%s\", \"linear\": \"%s\", "
                        "\"forward\": %s, "
                        "\"weight_seconds\": %g, \"low_rank_seconds\": %g, \"stacked_seconds\": %g}\n",
                        (long long)C, dtype_name(type), linear_name(i), forward ? "true" : "false", weight, low_rank,
                        stacked);
                }
        }
}
