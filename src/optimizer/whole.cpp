#include "optimizer/whole.h"

#include "kernels/kernels.h"

Tensor Whole::of(const Parameter& p, Tensor Parameter::*kept) const {
    ranks_.note_progress();  // others wait while the first rank writes what it gets
    const Tensor& own = p.*kept;
    if (!p.shared) return own;
    const Tensor memory = (p.gradient.empty() ? scratch_ : p.gradient).reuse(DType::f32, 1, p.size());
    if (p.kept_size() > 0) kernels::convert(p.kept_of(memory), own);
    ranks_.transport().all_gather(memory, p.division, {});
    return memory.reuse(DType::f32, p.rows, p.cols);
}

Tensor Whole::value(const Parameter& p) const { return p.has_master ? of(p, &Parameter::master) : p.weight; }

void Whole::change(Parameter& p, Tensor Parameter::*kept, const std::function<void(const Tensor&)>& change) const {
    const Tensor whole = of(p, kept);
    change(whole);
    if (p.shared && p.kept_size() > 0) kernels::convert(p.*kept, p.kept_of(whole));
}

void Whole::gather_weight(const Parameter& p) const {
    if (p.shared) ranks_.transport().all_gather(p.weight.as_row(), p.division, {});
}
