#include "optimizer/segments.h"

#include <algorithm>

#include "kernels/kernels.h"

namespace {

// Calls body(segment, parameter, the parameter's place in the segment) for the parameters of a bucket in their order,
// where a segment has the size that it has so far.
template <class Body>
void walk(const std::vector<Parameter*>& parameters, int bucket, const Body& body) {
    Segment segment{.bucket = bucket, .stage = -1};
    for (Parameter* p : parameters) {
        if (p->bucket != bucket) continue;
        if (p->stage != segment.stage)
            segment = {.bucket = bucket, .stage = p->stage, .first = segment.first + segment.size};
        const int64_t place = segment.size;
        segment.size += MemoryPlan::padded(p->size());
        body(segment, *p, place);
    }
}

}  // namespace

std::vector<Segment> segments_of(const std::vector<Parameter*>& parameters, int ranks) {
    std::vector<Segment> all;
    for (int bucket = 0; bucket < kBuckets; bucket++)
        walk(parameters, bucket, [&](const Segment& segment, const Parameter&, int64_t place) {
            if (place == 0) all.push_back({});
            all.back() = segment;
        });
    for (Segment& s : all) {
        const int64_t units = kernels::norm_units(s.size);
        s.share = (units + ranks - 1) / ranks * kernels::kNormUnit;
    }
    std::stable_sort(all.begin(), all.end(), [](const Segment& a, const Segment& b) { return a.stage < b.stage; });
    return all;
}

void Sharing::divide(const std::vector<Parameter*>& parameters) const {
    for (const Segment& s : segments_of(parameters, ranks))
        walk(parameters, s.bucket, [&](const Segment& segment, Parameter& p, int64_t place) {
            if (segment.first != s.first) return;
            p.division = {.share = s.share, .offset = place};
            p.part = p.division.range(rank, p.size());
            p.shared = on;
        });
}
