// The update of what is trained: the gradients' norm, and AdamW.
#include "kernels/dispatch.h"

namespace kernels {
namespace {

// Checks what gradient_norm and adamw are given.
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
        CHECK(t.counter >= 0 && t.counter < kCounters, op, ": counter ", t.counter, " of ", kCounters);
        if (t.weight.empty()) continue;
        check(op, {{"weight", t.weight, rows, cols}});
        CHECK(t.weight.device == t.parameter().device, op, ": weight is on another device than master");
    }
    if (!on_cpu(scalars))
        check(op, {{"table", trained.table, 1, trained_table_ints(int64_t(trained.tensors.size())), DType::i32}});
}

int64_t trained_elements(const TrainedTensors& trained) {
    int64_t n = 0;
    for (const TrainedTensor& t : trained.tensors) n += t.gradient.size();
    return n;
}

}  // namespace

int64_t trained_table_ints(int64_t num_tensors) { return cuda::kTableInts * num_tensors; }

void TrainedTensors::prepare() const {
    if constexpr (kBuiltWithCuda)
        if (!tensors.empty() && !on_cpu(tensors[0].parameter()))
            on_gpu("write_trained_table", [&] { cuda::write_trained_table(table.get<int32_t>(), tensors); });
}

void gradient_norm(const Tensor& scalars, const TrainedTensors& trained, float max_norm) {
    check_trained("gradient_norm", scalars, trained);
    OpTimer timer("gradient_norm", {scalars});
    timer.also_moves(4.0 * double(trained_elements(trained)));
    ON_DEVICE_OF(scalars,
                 gradient_norm(scalars.get<float>(), optional<int32_t>(trained.table), trained.tensors, max_norm));
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
