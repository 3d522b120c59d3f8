// Parameter: one row of the parameter table. Allocation, initialisation, optimizer and checkpoints walk the table.
#pragma once

#include <string>
#include <vector>

#include "runtime/division.h"
#include "runtime/memory.h"
#include "runtime/tensor.h"

// What a parameter is in its network.
enum class Role { token_embedding, position_embedding, norm, bias, linear, adapter_A, adapter_B };

struct Parameter {
    std::string name;  // Hugging Face's GPT-2 name
    Role role = Role::linear;
    int64_t rows = 0, cols = 0;      // shape in memory; linear weights are [out, in], vectors have one row
    int64_t file_rows = 0;           // rows that files hold (the vocabulary is padded in memory only)
    float stddev = 0, constant = 0;  // initial values: N(0, stddev), or all `constant` where stddev is 0
    int bucket = 0;                  // parameters of one bucket lie side by side, and train or are frozen together
    int stage = 0;  // the parameters whose gradients the backward pass completes at the same time, in its order
    bool trains = true;
    int64_t adam_step = 0;  // updates that its moments have seen

    Tensor weight;    // compute type
    Tensor gradient;  // fp32, while it trains
    // What an update changes beside the weight: of all elements, or, where ranks share them, of this rank's `part`
    // only, as one row, which may be empty.
    Tensor master;            // fp32, where has_master says so
    Tensor m, v;              // fp32 AdamW moments, while it trains
    bool has_master = false;  // whether there are masters: the weight is bf16, and not rounded stochastically
    bool shared = false;      // whether ranks share them
    Division division;        // of its elements among ranks
    ElementRange part;        // this rank's elements, where it is shared

    // This rank's elements of a tensor of the parameter's shape, as one row.
    Tensor kept_of(const Tensor& whole) const {
        return shared ? whole.as_row().col_range(part.first, part.count) : whole.as_row();
    }
    int64_t kept_size() const { return shared ? part.count : size(); }

    bool is_adapter() const { return role == Role::adapter_A || role == Role::adapter_B; }
    bool is_matrix() const { return role != Role::norm && role != Role::bias; }
    // Files hold the weights of linears as [in, out].
    bool transposed_in_files() const { return role == Role::linear; }
    // What the parameter is, where this rank has all of it; the weight of one with a master is that, rounded.
    const Tensor& value() const { return has_master ? master : weight; }
    int64_t size() const { return rows * cols; }
    int64_t file_size() const { return file_rows * cols; }
};

// Where the tensors of each bucket lie, by Parameter::bucket: (1, n), n the same for every type.
inline constexpr int kBuckets = 6;
using Buckets = std::array<Tensor, kBuckets>;

// Plans one tensor of each parameter, those of a bucket as one contiguous tensor: a range of it is a share of the
// bucket.
inline void plan_buckets(MemoryPlan& plan, Buckets& buckets, const std::vector<Parameter*>& parameters,
                         Tensor Parameter::*tensor, MemoryCategory category, DType dtype) {
    for (int bucket = 0; bucket < kBuckets; bucket++) {
        std::vector<MemoryPlan::Member> members;
        for (Parameter* p : parameters)
            if (p->bucket == bucket) members.push_back({&(p->*tensor), p->rows, p->cols});
        if (!members.empty()) plan.add_side_by_side(&buckets[size_t(bucket)], category, dtype, members);
    }
}

// Plans what this rank keeps of one fp32 tensor of each parameter.
inline void plan_kept(MemoryPlan& plan, const std::vector<Parameter*>& parameters, Tensor Parameter::*tensor,
                      MemoryCategory category) {
    for (Parameter* p : parameters)
        if (p->kept_size() > 0)
            plan.add(&(p->*tensor), category, DType::f32, p->shared ? 1 : p->rows, p->shared ? p->part.count : p->cols);
}
