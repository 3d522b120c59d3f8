// Where the optimizer's tensors lie: a bucket is contiguous, so that what one rank keeps of it is a range.
#include <gtest/gtest.h>

#include <map>

#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"

namespace {

constexpr GPT2Config kConfig{.vocab_size = 61, .max_positions = 12, .layers = 2, .heads = 3, .channels = 24};

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

TEST(Buckets, AreContiguousAndAlikeForEveryCategory) {
    for (const DType type : {DType::f32, DType::bf16})
        for (const bool low_rank : {false, true}) {
            GPT2 model(kConfig, type);
            Masters masters(type, Device::cpu);
            Optimizer optimizer(type, Device::cpu, {});
            if (low_rank) {
                LoraConfig lora{.rank = 4};
                lora.targets[kMlpProj] = false;  // its weights train on
                model.wrap(lora);
            }
            model.allocate_weights();
            masters.allocate(model.parameters());
            model.allocate_phase({.B = 1, .T = 12});
            const std::vector<Parameter*> trained = model.trained_parameters();
            optimizer.allocate(trained);
            int found = 0;
            for (int bucket = 0; bucket < kBuckets; bucket++) {
                const Extent gradients = extent_of(trained, bucket, &Parameter::gradient);
                if (gradients.begin.empty()) continue;
                found++;
                for (const auto tensor : {&Parameter::m, &Parameter::v, &Parameter::weight})
                    EXPECT_EQ(extent_of(trained, bucket, tensor).begin, gradients.begin) << bucket;
                if (type == DType::bf16) {
                    EXPECT_EQ(extent_of(trained, bucket, &Parameter::master).begin, gradients.begin) << bucket;
                }
            }
            // What always trains, and the linears of each kind; or one kind of linears and the adapters.
            EXPECT_EQ(found, low_rank ? 3 : 5);
            ASSERT_EQ(optimizer.buckets().size(), size_t(found));
            // All that is between a bucket's tensors is zero: a sum over a range of it is one over its tensors.
            for (const Tensor& whole : {optimizer.buckets()[0].gradients, optimizer.buckets()[0].v})
                EXPECT_EQ(kernels::count_zeros(whole), whole.size());
        }
}

}  // namespace
