// MemoryPlan: tensors are first named and sized, then allocated together in one block. The table that a dry run prints
// and the memory that training uses come from the same entries.
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
    MemoryPlan() = default;
    ~MemoryPlan();  // unmaps; the tensors may be gone already and are left alone
    MemoryPlan(const MemoryPlan&) = delete;
    MemoryPlan& operator=(const MemoryPlan&) = delete;

    // Plans a (rows, cols) tensor; allocate() sets *tensor. The tensor must stay where it is until release().
    void add(Tensor* tensor, MemoryCategory category, DType dtype, int64_t rows, int64_t cols);
    size_t bytes(MemoryCategory category) const { return category_bytes_[size_t(category)]; }
    size_t total_bytes() const;

    // One zero-filled block for everything planned; throws when the machine has not enough memory.
    void allocate();
    // Gives the memory back to the system, empties the tensors, and forgets the plan.
    void release();

  private:
    void unmap();

    struct Entry {
        Tensor* tensor;
        DType dtype;
        int64_t rows, cols;
        size_t offset;
    };
    std::vector<Entry> entries_;
    std::array<size_t, kMemoryCategories> category_bytes_{};
    size_t end_ = 0;
    void* block_ = nullptr;
    size_t block_bytes_ = 0;
};
