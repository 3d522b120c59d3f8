// The update of what is trained: the gradients' norm, and AdamW.
#include "kernels/dispatch.h"

namespace kernels {
namespace {

// Checks what adamw is given.
void check_trained(const char* op, const Tensor& scalars, const TrainedTensors& trained) {
    check(op, {{"scalars", scalars, 1, kStepScalars, DType::f32}});
    for (const TrainedTensor& t : trained.tensors) {
        const int64_t rows = t.parameter().rows, cols = t.parameter().cols;
        check(op, {{"scalars", scalars, 1, kStepScalars, DType::f32},
                   {t.master.empty() ? "weight" : "master", t.parameter(), rows, cols,
                    t.master.empty() ? DType::bf16 : DType::f32},
                   {"gradient", t.gradient, rows, cols, DType::f32},
                   {"m", t.m, rows, cols, DType::f32},
                   {"v", t.v, rows, cols, DType::f32}});
        CHECK(t.group >= 0 && t.group < kGroups, op, ": group ", t.group, " of ", kGroups);
        CHECK(t.first >= 0 && t.first % 4 == 0, op, ": a range of a tensor begins at ", t.first,
              ", which is no multiple of 4");
        if (t.weight.empty()) continue;
        check(op, {{"weight", t.weight, rows, cols}});
        CHECK(t.weight.device == t.parameter().device, op, ": weight is on another device than master");
    }
    if (!on_cpu(scalars))
        check(op, {{"table", trained.table, 1, trained_table_ints(int64_t(trained.tensors.size())), DType::i32}});
}

void check_sums(const char* op, const NormSums& s, const Tensor& scalars) {
    CHECK(s.rank >= 0 && s.rank < s.ranks && s.units >= 0, op, ": rank ", s.rank, " of ", s.ranks, " with ", s.units,
          " units");
    check(op, {{"scalars", scalars, 1, kStepScalars, DType::f32},
               {"sums", s.sums, 1, norm_sums_ints(s.units, s.ranks), DType::i32}});
}
// The sums as what they are; memory of int32 is all that ranks know how to add.
double* doubles(const Tensor& sums) { return reinterpret_cast<double*>(sums.get<int32_t>()); }

}  // namespace

int64_t trained_table_ints(int64_t num_tensors) { return cuda::kTableInts * num_tensors; }

void TrainedTensors::prepare() const {
    if constexpr (kBuiltWithCuda)
        if (!tensors.empty() && !on_cpu(tensors[0].parameter()))
            on_gpu("write_trained_table", [&] { cuda::write_trained_table(table.get<int32_t>(), tensors); });
}

int64_t gradient_table_ints(int64_t num_ranges) { return cuda::kTableInts * num_ranges; }

void GradientRanges::prepare() const {
    if constexpr (kBuiltWithCuda)
        if (!ranges.empty() && !on_cpu(ranges[0].gradients))
            on_gpu("write_gradient_table", [&] { cuda::write_gradient_table(table.get<int32_t>(), ranges); });
}

int64_t norm_sums_ints(int64_t units, int ranks) { return 2 * (units + ranks); }

void gradient_squares(const NormSums& s, const GradientRanges& gradients, const Tensor& scalars) {
    check_sums("gradient_squares", s, scalars);
    OpTimer timer("gradient_squares", {s.sums});
    for (const GradientRange& range : gradients.ranges) {
        const int64_t n = range.gradients.size();
        check("gradient_squares",
              {{"scalars", scalars, 1, kStepScalars, DType::f32}, {"gradients", range.gradients, 1, n, DType::f32}});
        CHECK(range.first >= 0 && range.first + norm_units(n) <= s.units, "gradient_squares: units ", range.first, "+",
              norm_units(n), " of ", s.units);
        timer.also_moves(double(range.gradients.bytes()));
    }
    if (!on_cpu(scalars) && !gradients.ranges.empty())
        check("gradient_squares",
              {{"table", gradients.table, 1, gradient_table_ints(int64_t(gradients.ranges.size())), DType::i32}});
    ON_DEVICE_OF(scalars, gradient_squares(doubles(s.sums), scalars.get<float>(), optional<int32_t>(gradients.table),
                                           gradients.ranges, s.units, s.rank, s.ranks));
}

void gradient_norm(const Tensor& scalars, const NormSums& s, float max_norm) {
    check_sums("gradient_norm", s, scalars);
    const OpTimer timer("gradient_norm", {scalars, s.sums});
    ON_DEVICE_OF(scalars, gradient_norm(scalars.get<float>(), doubles(s.sums), s.units, s.ranks, max_norm));
}

void adamw(const Tensor& scalars, const TrainedTensors& trained, const AdamW& hyper) {
    check_trained("adamw", scalars, trained);
    OpTimer timer("adamw", {scalars});
    // Parameters and moments are read and written, gradients read, weights beside a master written.
    for (const TrainedTensor& t : trained.tensors)
        timer.also_moves(
            double(2 * t.parameter().bytes() + 5 * t.gradient.bytes() + (t.master.empty() ? 0 : t.weight.bytes())));
    ON_DEVICE_OF(scalars, adamw(scalars.get<float>(), optional<int32_t>(trained.table), trained.tensors, hyper));
}

}  // namespace kernels
