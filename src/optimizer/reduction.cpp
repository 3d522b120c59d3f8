#include "optimizer/reduction.h"

#include <algorithm>

#include "kernels/kernels.h"

namespace {

// Bytes that come in at once, from all ranks together.
constexpr int64_t kStagedBytes = int64_t(32) << 20;

// Elements of each share that are exchanged at once.
int64_t part_of_share(int64_t share, int ranks, DType wire) {
    const int64_t most = kStagedBytes / int64_t(dtype_size(wire)) / ranks;
    return std::min(share, std::max<int64_t>(1, most / kernels::kNormUnit) * kernels::kNormUnit);
}

}  // namespace

Reduction::Reduction(const Ranks& ranks, Device device, DType wire, bool to_all)
    : ranks_(ranks), device_(device), wire_(wire), to_all_(to_all) {}

void Reduction::plan(MemoryPlan& plan, const std::vector<Segment>& segments, int ranks) {
    int64_t part = 0;
    for (const Segment& s : segments) part = std::max(part, part_of_share(s.share, ranks, wire_));
    plan.add(&received_, MemoryCategory::workspaces, wire_, 1, ranks * part);
    if (wire_ != DType::f32) plan.add(&sent_, MemoryCategory::workspaces, wire_, 1, ranks * part);
    for (Tensor* clock : {&side_clock_, &waiting_clock_}) plan.add(clock, MemoryCategory::workspaces, DType::i32, 1, 2);
}

void Reduction::prepare(const std::vector<Segment>& segments, const Buckets& gradients, const Tensor& scalars) {
    if (ranks_.alone()) return;
    side_.prepare(device_);
    int last = 0;
    for (const Segment& s : segments) last = std::max(last, s.stage);
    stages_.assign(size_t(last) + 1, {});
    for (int stage = 0; stage <= last; stage++) {
        std::vector<std::pair<Segment, Tensor>> own;
        for (const Segment& s : segments)
            if (s.stage == stage) own.push_back({s, gradients[size_t(s.bucket)].col_range(s.first, s.size)});
        if (own.empty()) continue;
        stages_[size_t(stage)] = [this, own, scalars] {
            kernels::clock_start(side_clock_);
            for (const auto& [segment, whole] : own) reduce(segment, whole);
            kernels::clock_stop(side_clock_, scalars.col_range(kernels::kReduceSeconds, 1));
        };
    }
    completed_ = [this, last, scalars](int stage) {
        if (stages_[size_t(stage)]) side_.run(stages_[size_t(stage)]);
        if (stage < last) return;
        kernels::clock_start(waiting_clock_);
        side_.join();
        kernels::clock_stop(waiting_clock_, scalars.col_range(kernels::kExposedSeconds, 1));
    };
}

void Reduction::reduce(const Segment& s, const Tensor& gradients) {
    const int ranks = ranks_.size(), rank = ranks_.rank();
    const bool converts = wire_ != DType::f32;
    const int64_t part = part_of_share(s.share, ranks, wire_);
    for (int64_t done = 0; done < s.share; done += part) {
        const int64_t cols = std::min(part, s.share - done);
        // Row q of what is sent: this part of rank q's share.
        Transport::Exchange e{
            .sent = {static_cast<float*>(gradients.data) + done, DType::f32, device_, ranks, cols, s.share},
            .received = received_.reuse(wire_, ranks, cols),
            .left = s.size - done,
            .share = s.share};
        if (converts) {
            e.sent = sent_.reuse(wire_, ranks, cols);
            for (int q = 0; q < ranks; q++)
                if (const int64_t n = e.count(q); n > 0)
                    kernels::convert(e.sent.row_range(q, 1).col_range(0, n),
                                     gradients.col_range(q * s.share + done, n));
        }
        ranks_.transport().exchange(e);
        const int64_t n = e.count(rank);
        if (n == 0) continue;
        const Tensor own = gradients.col_range(rank * s.share + done, n);
        // What a rank sends to itself is rounded too, so that all ranks count alike.
        if (converts) kernels::convert(e.received.row_range(rank, 1).col_range(0, n), own);
        kernels::sum_in_order(own, e.received.col_range(0, n), converts ? -1 : rank);
    }
    if (to_all_) ranks_.transport().all_gather(gradients, {.share = s.share}, received_);
}
