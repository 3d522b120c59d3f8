#include "memory.h"

#include <numeric>

#include "device.h"

// Every tensor starts on a border that suits cache lines, packed loads, cuBLASLt and the ops' workspace.
constexpr size_t kAlignment = 256;

const char* memory_category_name(MemoryCategory category) {
    constexpr const char* kNames[kMemoryCategories] = {"weights", "masters",     "adapters",  "gradients",
                                                       "moments", "activations", "workspaces"};
    return kNames[size_t(category)];
}

void MemoryPlan::add(Tensor* tensor, MemoryCategory category, DType dtype, int64_t rows, int64_t cols) {
    CHECK(rows > 0 && cols > 0, "a planned tensor has shape (", rows, ", ", cols, ")");
    CHECK(!block_, "memory was planned after it was allocated");
    const size_t bytes = size_t(rows) * size_t(cols) * dtype_size(dtype);
    entries_.push_back({tensor, dtype, rows, cols, end_});
    category_bytes_[size_t(category)] += bytes;
    end_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

size_t MemoryPlan::total_bytes() const {
    return std::accumulate(category_bytes_.begin(), category_bytes_.end(), size_t(0));
}

void MemoryPlan::allocate() {
    CHECK(!block_, "a memory plan was allocated twice");
    void* const block = device::allocate(device_, end_);
    CHECK(block, "can't allocate ", end_ >> 20, " MiB on the ", device_ == Device::cuda ? "GPU" : "CPU",
          "; a smaller --batch-size or --seq-len, or --recompute pointwise or block, needs less");
    block_ = block;
    block_bytes_ = end_;
    for (const Entry& entry : entries_)
        *entry.tensor = make_tensor(static_cast<char*>(block_) + entry.offset, entry.dtype, entry.rows, entry.cols, device_);
}

MemoryPlan::~MemoryPlan() { give_back(); }

void MemoryPlan::give_back() {
    if (block_) device::release(device_, block_, block_bytes_);
    block_ = nullptr;
}

void MemoryPlan::release() {
    if (block_)
        for (const Entry& entry : entries_) *entry.tensor = {};
    give_back();
    entries_.clear();
    category_bytes_.fill(0);
    end_ = 0;
}
