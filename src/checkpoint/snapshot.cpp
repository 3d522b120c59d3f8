#include "checkpoint/snapshot.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/arrays.h"
#include "checkpoint/checkpoint.h"
#include "runtime/device.h"

namespace {

constexpr int64_t kBlock = 1 << 18;  // elements

int64_t elements_of(const std::vector<Parameter*>& parameters) {
    int64_t n = 0;
    for (const Parameter* p : parameters) n += p->size() * (p->trains ? 3 : 1);
    return n;
}

// Copies a tensor to host memory in fp32. All threads copy: one alone doesn't reach the memory's rate.
void copy_to_host(float* to, const Tensor& t) {
    if (t.device != Device::cpu && t.dtype == DType::f32) return device::download(to, t);
    std::vector<float> widened;
    const float* const from = on_host(t, widened);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t.size(); i += kBlock)
        std::memcpy(to + i, from + i, size_t(std::min(kBlock, t.size() - i)) * sizeof(float));
}

}  // namespace

void Snapshot::release() {
    if (memory_ && device_ == Device::cpu) device::release(device_, memory_, size_t(elements_) * sizeof(float));
    if (memory_ && device_ != Device::cpu) device::release_host(device_, memory_);
    memory_ = nullptr;
    elements_ = 0;
}

void Snapshot::prepare(const std::vector<Parameter*>& parameters) {
    const int64_t elements = elements_of(parameters);
    if (elements <= elements_) return;
    release();
    // The system hands out memory that it doesn't have, and ends whoever uses it.
    const size_t bytes = size_t(elements) * sizeof(float);
    if (bytes <= device::bytes_available(Device::cpu))
        memory_ = static_cast<float*>(device_ == Device::cpu ? device::allocate(device_, bytes)  // of large pages
                                                             : device::allocate_host(device_, bytes));
    if (!memory_) OUT_OF_MEMORY("no memory for a snapshot of ", bytes >> 20, " MiB");
    elements_ = elements;
}

void Snapshot::take(const std::vector<Parameter*>& parameters, const Whole& whole) {
    if (!whole.ranks().first()) return gather_for_first(parameters, whole);
    copies_.clear();
    float* next = memory_;
    const auto copy = [&](const Tensor& from) {
        Tensor to = make_tensor(next, DType::f32, from.rows, from.cols);
        copy_to_host(next, from);
        next += from.size();
        return to;
    };
    for (const Parameter* p : parameters) {
        Parameter& kept = copies_.emplace_back(*p);
        kept.weight = copy(whole.value(*p));
        kept.gradient = kept.master = kept.m = kept.v = {};
        kept.has_master = kept.shared = false;
    }
    for (size_t i = 0; i < parameters.size(); i++) {
        if (!parameters[i]->trains) continue;
        copies_[i].m = copy(whole.of(*parameters[i], &Parameter::m));
        copies_[i].v = copy(whole.of(*parameters[i], &Parameter::v));
    }
}

std::vector<Parameter*> Snapshot::parameters() {
    std::vector<Parameter*> all;
    for (Parameter& p : copies_) all.push_back(&p);
    return all;
}
