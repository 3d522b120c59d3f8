// How parameters lie in buckets, how buckets are cut into segments, and what a rank keeps of them.
#include <gtest/gtest.h>

#include <map>

#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"

namespace {

constexpr GPT2Config kConfig{.vocab_size = 61, .max_positions = 12, .layers = 3, .heads = 3, .channels = 24};

LoraConfig without_projection() {
    LoraConfig lora{.rank = 4};
    lora.targets[kMlpProj] = false;  // its weights train on
    return lora;
}

// Where one tensor of each of a bucket's parameters begins, counted from the first, and how far all reach.
struct Extent {
    std::map<const Parameter*, int64_t> begin;
    int64_t end = 0;
};
Extent extent_of(const std::vector<Parameter*>& parameters, int bucket, Tensor Parameter::*tensor) {
    const char* first = nullptr;
    Extent extent;
    for (const Parameter* p : parameters) {
        if (p->bucket != bucket) continue;
        const Tensor& t = p->*tensor;
        const char* data = static_cast<const char*>(t.data);
        if (!first) first = data;
        const int64_t begin = (data - first) / int64_t(dtype_size(t.dtype));
        // A tensor follows the one before, with less than a unit between them.
        EXPECT_GE(begin, extent.end) << p->name;
        EXPECT_LT(begin - extent.end, MemoryPlan::kMemberUnit) << p->name;
        extent.begin[p] = begin;
        extent.end = begin + t.size();
    }
    return extent;
}

TEST(Buckets, AreContiguousAndAlikeForGradientsAndWeights) {
    for (const DType type : {DType::f32, DType::bf16})
        for (const bool low_rank : {false, true}) {
            GPT2 model(kConfig, type);
            Optimizer optimizer(type, Device::cpu, {});
            if (low_rank) model.wrap(without_projection());
            model.allocate_weights();
            model.allocate_phase({.B = 1, .T = 12});
            const std::vector<Parameter*> trained = model.trained_parameters();
            optimizer.allocate(trained, model.weights());
            int found = 0;
            for (int bucket = 0; bucket < kBuckets; bucket++) {
                const Extent gradients = extent_of(trained, bucket, &Parameter::gradient);
                if (gradients.begin.empty()) continue;
                found++;
                EXPECT_EQ(extent_of(trained, bucket, &Parameter::weight).begin, gradients.begin) << bucket;
            }
            // What always trains, and the linears of each kind; or one kind of linears and the adapters.
            EXPECT_EQ(found, low_rank ? 3 : 5);
        }
}

// Each element of a bucket is in one segment and belongs to one rank, shares begin at whole units, and the segments
// come as the backward pass completes them.
TEST(Segments, CoverEveryBucketOnceForAnyNumberOfRanks) {
    GPT2 model(kConfig, DType::f32);
    model.wrap(without_projection());
    const std::vector<Parameter*> trained = model.trained_parameters();
    for (const int ranks : {1, 2, 3, 7, 64}) {
        std::map<int, int64_t> next;  // by bucket
        int stage = 0;
        std::map<int, std::map<int64_t, int64_t>> found;
        for (const Segment& s : segments_of(trained, ranks)) {
            EXPECT_GE(s.stage, stage);
            stage = s.stage;
            found[s.bucket][s.first] = s.size;
            int64_t end = 0;
            for (int rank = 0; rank < ranks; rank++) {
                const ElementRange part = s.part(rank);
                if (part.count == 0) continue;
                EXPECT_EQ(part.first, end);
                EXPECT_EQ(part.first % kernels::kNormUnit, 0);
                end = part.first + part.count;
            }
            EXPECT_EQ(end, s.size);
        }
        EXPECT_EQ(stage, kConfig.layers);
        EXPECT_EQ(found[kAlwaysTrained].size(), 1u);
        EXPECT_EQ(found[kAdapters].size(), 3u);
        EXPECT_EQ(found[int(kLinearBuckets) + int(kMlpProj)].size(), 3u);
        EXPECT_EQ(found.count(int(kLinearBuckets) + int(kMlpFc)), 0u);
        for (const auto& [bucket, segments] : found) {
            int64_t end = 0, elements = 0;
            for (const auto& [first, size] : segments) {
                EXPECT_EQ(first, end) << bucket;
                end = first + size;
            }
            for (const Parameter* p : trained)
                if (p->bucket == bucket) elements += (p->size() + 127) / 128 * 128;
            EXPECT_EQ(end, elements) << bucket;
        }
    }
}

// The parts of all ranks are the parameter, and together they take the memory of one rank that keeps all.
TEST(Sharing, GivesEachElementToOneRank) {
    const LoraConfig lora = without_projection();
    const auto planned = [&](int rank, int ranks, std::map<std::string, int64_t>& kept) {
        GPT2 model(kConfig, DType::bf16, Device::cuda);
        model.wrap(lora);
        const Sharing sharing{.rank = rank, .ranks = ranks, .on = true};
        sharing.divide(model.parameters());
        MemoryPlan plan(Device::cuda);
        Masters(DType::bf16, Device::cuda).plan(plan, model.parameters());
        Optimizer(DType::bf16, Device::cuda, {.sharing = sharing}).plan(plan, model.trained_parameters());
        for (const Parameter* p : model.parameters()) {
            EXPECT_EQ(p->has_master, true);
            kept[p->name] += p->kept_size();
        }
        return plan.bytes(MemoryCategory::moments) + plan.bytes(MemoryCategory::masters) +
               plan.bytes(MemoryCategory::host);
    };
    std::map<std::string, int64_t> whole;
    const size_t all = planned(0, 1, whole);
    for (const int ranks : {2, 3, 5}) {
        std::map<std::string, int64_t> kept;
        size_t sum = 0, most = 0;
        for (int rank = 0; rank < ranks; rank++) {
            const size_t bytes = planned(rank, ranks, kept);
            sum += bytes;
            most = std::max(most, bytes);
        }
        EXPECT_EQ(kept, whole);
        EXPECT_EQ(sum, all);
        EXPECT_LT(most, all);
    }
}

}  // namespace
