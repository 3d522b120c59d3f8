#include "optimizer/kept_moments.h"

#include "runtime/device.h"

KeptMoments::KeptMoments(const std::vector<Parameter*>& parameters) {
    for (Parameter* p : parameters) kept_.push_back({.parameter = p, .adam_step = p->adam_step, .m = {}, .v = {}});
    for (Kept& k : kept_)
        for (Tensor* t : {&k.m, &k.v})
            if (!k.parameter->m.empty())
                memory_.add(t, MemoryCategory::moments, DType::f32, 1, k.parameter->kept_size());
    memory_.allocate();
    for (const Kept& k : kept_) {
        if (k.m.empty()) continue;
        device::download(k.m.data, k.parameter->m);
        device::download(k.v.data, k.parameter->v);
    }
}

void KeptMoments::restore() const {
    for (const Kept& k : kept_) {
        k.parameter->adam_step = k.adam_step;
        if (k.m.empty()) continue;
        device::upload(k.parameter->m, k.m.data);
        device::upload(k.parameter->v, k.v.data);
    }
}
