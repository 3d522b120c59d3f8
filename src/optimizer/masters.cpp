#include "optimizer/masters.h"

#include "runtime/device.h"

void Masters::plan(MemoryPlan& plan, const std::vector<Parameter*>& parameters) {
    if (type_ == DType::f32) return;
    std::vector<Parameter*> on_device, on_host;
    for (Parameter* p : parameters) {
        if (p->is_adapter()) continue;
        (device_ == Device::cuda && !p->trains ? on_host : on_device).push_back(p);
        p->has_master = true;
    }
    plan_kept(plan, on_device, &Parameter::master, MemoryCategory::masters);
    plan_kept(plan, on_host, &Parameter::master, MemoryCategory::host);
}

void Masters::allocate(const std::vector<Parameter*>& parameters) {
    memory_ = std::make_unique<MemoryPlan>(device_);
    plan(*memory_, parameters);
    memory_->allocate();
}

void Masters::settle(const std::vector<Parameter*>& parameters) {
    if (!memory_ || type_ == DType::f32 || device_ == Device::cpu) return;
    std::vector<Tensor> before;
    for (const Parameter* p : parameters) before.push_back(p->master);
    const std::unique_ptr<MemoryPlan> old = std::move(memory_);
    allocate(parameters);
    for (size_t i = 0; i < before.size(); i++)
        if (!before[i].empty()) device::copy(parameters[i]->master, before[i]);
}
