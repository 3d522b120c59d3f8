// MemoryPlan: tensors are first named and sized, then allocated together in one block on one device, but for those of
// the category `host`. The table that a dry run prints and the memory that training uses come from the same entries.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "runtime/tensor.h"

enum class MemoryCategory {
    weights,
    masters,
    adapters,
    gradients,
    moments,
    activations,
    workspaces,
    host,  // page-locked host memory, which the GPU's kernels reach over the bus, for what is touched once in many
           // updates
};
inline constexpr int kMemoryCategories = 8;
const char* memory_category_name(MemoryCategory category);

class MemoryPlan {
  public:
    explicit MemoryPlan(Device device = Device::cpu) : device_(device) {}
    ~MemoryPlan();  // gives the block back; the tensors may be gone already and are left alone
    MemoryPlan(const MemoryPlan&) = delete;
    MemoryPlan& operator=(const MemoryPlan&) = delete;

    // Plans a (rows, cols) tensor; allocate() sets *tensor. The tensor must stay where it is until release().
    void add(Tensor* tensor, MemoryCategory category, DType dtype, int64_t rows, int64_t cols);
    // Plans tensors of one type as one contiguous tensor `*whole` (1, n). Each member starts at a multiple of
    // kMemberUnit elements whatever the type, so that the same members lie alike in fp32 and in bf16; what lies between
    // is zero.
    struct Member {
        Tensor* tensor;
        int64_t rows, cols;
    };
    static constexpr int64_t kMemberUnit = 128;
    static constexpr int64_t padded(int64_t elements) {
        return (elements + kMemberUnit - 1) / kMemberUnit * kMemberUnit;
    }
    void add_side_by_side(Tensor* whole, MemoryCategory category, DType dtype, const std::vector<Member>& members);
    size_t bytes(MemoryCategory category) const { return category_bytes_[size_t(category)]; }
    // All categories but `host`.
    size_t total_bytes() const;
    Device device() const { return device_; }

    // One zero-filled block for everything planned, one more for the category `host`; throws OutOfMemory when there is
    // not that much.
    void allocate();
    // Gives the memory back to the system, empties the tensors, and forgets the plan.
    void release();

  private:
    struct Entry {
        Tensor* tensor;
        DType dtype;
        int64_t rows, cols;
        bool on_host;
        size_t offset;
    };
    struct Block {
        size_t planned = 0, bytes = 0;
        void* memory = nullptr;
    };
    void give_back();
    void place(Tensor* tensor, Block& block, size_t offset, DType dtype, int64_t rows, int64_t cols);
    Block& block_of(MemoryCategory category) { return category == MemoryCategory::host ? on_host_ : on_device_; }

    const Device device_;
    std::vector<Entry> entries_;
    std::array<size_t, kMemoryCategories> category_bytes_{};
    Block on_device_, on_host_;
};
