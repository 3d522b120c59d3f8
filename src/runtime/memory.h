// MemoryPlan: tensors are first named and sized, then allocated together in one block on one device. The table that a dry
// run prints and the memory that training uses come from the same entries.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tensor.h"

enum class MemoryCategory { weights, masters, adapters, gradients, moments, activations, workspaces };
inline constexpr int kMemoryCategories = 7;
const char* memory_category_name(MemoryCategory category);

class MemoryPlan {
  public:
    explicit MemoryPlan(Device device = Device::cpu) : device_(device) {}
    ~MemoryPlan();  // gives the block back; the tensors may be gone already and are left alone
    MemoryPlan(const MemoryPlan&) = delete;
    MemoryPlan& operator=(const MemoryPlan&) = delete;

    // Plans a (rows, cols) tensor; allocate() sets *tensor. The tensor must stay where it is until release().
    void add(Tensor* tensor, MemoryCategory category, DType dtype, int64_t rows, int64_t cols);
    size_t bytes(MemoryCategory category) const { return category_bytes_[size_t(category)]; }
    size_t total_bytes() const;

    // One zero-filled block for everything planned; throws when the device has not enough memory.
    void allocate();
    // Gives the memory back to the system, empties the tensors, and forgets the plan.
    void release();

  private:
    void give_back();

    struct Entry {
        Tensor* tensor;
        DType dtype;
        int64_t rows, cols;
        size_t offset;
    };
    const Device device_;
    std::vector<Entry> entries_;
    std::array<size_t, kMemoryCategories> category_bytes_{};
    size_t end_ = 0;
    void* block_ = nullptr;
    size_t block_bytes_ = 0;
};
