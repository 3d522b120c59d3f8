// Cases of pruning, and of the numbers about a tensor that the host asks for.
#include "dev/kernels/cases.h"

namespace registry {

void add_pruning(Cases& all) {
    for (const DType type : kTypes)
        for (const int64_t n : {1, 31, 1000, 4097, 70001})
            for (const double p : {0.0, 0.5, 0.99, 1.0}) {
                const std::string shape = str(dtype_name(type), "_", n, "_p", int(100 * p));
                all.push_back({"prune_magnitude", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor t = m.random(1, n, type), ties = m.values(1, n, type, tied(n)),
                                                scratch = m.scratch(1, n, DType::f32);
                                   return [=] {
                                       kernels::prune_magnitude(t, p, scratch);
                                       kernels::prune_magnitude(ties, p, scratch);
                                   };
                               }});
                all.push_back({"prune_random", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor t = m.random(1, n, type), count = m.output(1, 1, DType::f32);
                                   return [=] {
                                       kernels::fill(count, float(kernels::prune_random(
                                                                t, float(p), {7, rng::Purpose::prune, 5, 6})));
                                   };
                               }});
            }
    // What the host gets is compared as an operand.
    for (const DType type : kTypes)
        for (const int64_t n : {1, 31, 1000, 4097, 70001}) {
            const std::string shape = str(dtype_name(type), "_", n);
            all.push_back({"norm_squared", shape, 1e-6, [=](Memory& m) -> Run {
                               const Tensor t = m.random(1, n, type), norm = m.output(1, 1, DType::f32);
                               return [=] { kernels::fill(norm, float(kernels::norm_squared(t))); };
                           }});
            all.push_back({"count_zeros", shape, 0, [=](Memory& m) -> Run {
                               const Tensor t = m.values(1, n, type, tied(n)), zeros = m.output(1, 1, DType::f32);
                               return [=] { kernels::fill(zeros, float(kernels::count_zeros(t))); };
                           }});
        }
}

}  // namespace registry
