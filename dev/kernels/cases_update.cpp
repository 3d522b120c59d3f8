// Cases of the update of what is trained, and of what ranks do to agree on it.
#include <cmath>

#include "dev/kernels/cases.h"

namespace registry {

void add_adamw(Cases& all) {
    struct Update {
        std::string name;
        std::vector<Shape> shapes;
        int64_t each;  // tensors of each shape
        float loss, max_norm;
    };
    const std::vector<Shape> several = {{1, 1}, {67, 1000}, {1, 31}, {3, 4096}};
    enum class Kind { fp32, bf16, bf16_without_masters };
    for (const Kind kind : {Kind::fp32, Kind::bf16, Kind::bf16_without_masters})
        for (const Update& update : {Update{"", several, 1, 3, 1}, Update{"_not_finite", several, 1, INFINITY, 1},
                                     Update{"_one", {{1, 31}}, 1, 3, 0}, Update{"_many", {{1, 3}}, 300, 3, 1000}}) {
            const bool masters = kind != Kind::bf16_without_masters;
            const std::string name = kind == Kind::fp32 ? "fp32" : masters ? "bf16" : "bf16_without_masters";
            // Stochastic rounding turns the last bit of an fp32 result into one of a bf16, so those have to be the
            // same.
            all.push_back(
                {"adamw", name + update.name, masters ? 2e-6 : 0, [=](Memory& m) -> Run {
                     kernels::TrainedTensors trained;
                     kernels::GradientRanges gradients;
                     int64_t units = 0;
                     for (const auto [R, C] : update.shapes) {
                         const int64_t rows = R * update.each;
                         const Tensor master = masters ? m.random(rows, C, DType::f32) : Tensor{};
                         const Tensor gradient = m.random(rows, C, DType::f32);
                         const Tensor means = m.random(rows, C, DType::f32, 0.1),
                                      squares = m.random(rows, C, DType::f32, 0.01, 0.1);
                         const Tensor weight = kind == Kind::fp32 ? Tensor{}
                                               : masters          ? m.output(rows, C, DType::bf16)
                                                                  : m.random(rows, C, DType::bf16);
                         const auto part = [=](const Tensor& t, int64_t first) {
                             return t.empty() ? t : t.row_range(first, R);
                         };
                         // The update's ranges of gradients are those of a rank that keeps all but a unit.
                         const int64_t n = rows * C, kept = n > 3 * kernels::kNormUnit ? kernels::kNormUnit : 0;
                         gradients.ranges.push_back({gradient.reuse(DType::f32, 1, n).col_range(kept, n - kept),
                                                     units + kept / kernels::kNormUnit});
                         units += kernels::norm_units(n);
                         for (int64_t first = 0; first < rows; first += R)
                             trained.tensors.push_back({.master = part(master, first),
                                                        .weight = part(weight, first),
                                                        .gradient = part(gradient, first),
                                                        .m = part(means, first),
                                                        .v = part(squares, first),
                                                        .decays = R > 1,
                                                        .group = R > 3 ? 1 : 0,
                                                        .id = uint32_t(first),
                                                        .first = 4 * R});
                     }
                     const auto aligned = [&m](int64_t ints) {
                         Tensor t =
                             make_tensor(m.scratch(1, ints + 16, DType::i32).data, DType::i32, 1, ints, m.device());
                         t.data = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(t.data) + 63) / 64 * 64);
                         return t;
                     };
                     trained.table = aligned(kernels::trained_table_ints(int64_t(trained.tensors.size())));
                     gradients.table = aligned(kernels::gradient_table_ints(int64_t(gradients.ranges.size())));
                     const kernels::NormSums sums{aligned(kernels::norm_sums_ints(units, 3)), units, 1, 3};
                     std::vector<float> s(kernels::kStepScalars, 0.0f);
                     s[kernels::kLoss] = update.loss;
                     s[kernels::kRates] = 1e-2f, s[kernels::kRates + 1] = 3e-3f;
                     s[kernels::kCorrections] = 1.5f, s[kernels::kCorrections + 1] = 2.5f;
                     s[kernels::kCorrections + 2] = 1.1f, s[kernels::kCorrections + 3] = 1.2f;
                     s[kernels::kUpdate] = 1234567;
                     const Tensor scalars = m.values(1, kernels::kStepScalars, DType::f32, s);
                     return [=] {
                         trained.prepare();
                         gradients.prepare();
                         kernels::gradient_squares(sums, gradients, scalars);
                         kernels::gradient_norm(scalars, sums, update.max_norm);
                         kernels::adamw(scalars, trained,
                                        {.eps = 0.01, .weight_decay = 0.1, .seed = 0x123456789ABCDEFu});
                     };
                 }});
        }
}

void add_ranks(Cases& all) {
    for (const DType type : kTypes)
        for (const auto [R, C] : kShapes) {
            const auto shape = label(type, R, C);
            for (const int64_t own : {int64_t(-1), R / 2})
                all.push_back({"sum_in_order", str(shape, own < 0 ? "" : "_own"), 0, [=](Memory& m) -> Run {
                                   const Tensor out = m.random(1, C, DType::f32), rows = m.random(R, C, type);
                                   return [=] { kernels::sum_in_order(out, rows, int(own)); };
                               }});
            all.push_back({"fingerprint", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(1, 2, DType::i32), t = m.random(R, C, type);
                               return [=] { kernels::fingerprint(out, t); };
                           }});
        }
}

}  // namespace registry
