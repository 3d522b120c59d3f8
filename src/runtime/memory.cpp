#include "memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <numeric>

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
    end_ += (bytes + 63) / 64 * 64;  // every tensor starts on a cache line
}

size_t MemoryPlan::total_bytes() const {
    return std::accumulate(category_bytes_.begin(), category_bytes_.end(), size_t(0));
}

void MemoryPlan::allocate() {
    CHECK(!block_, "a memory plan was allocated twice");
    block_bytes_ = end_;
    void* block = mmap(nullptr, block_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(block != MAP_FAILED, "can't allocate ", block_bytes_ >> 20, " MiB (", std::strerror(errno),
          "); a smaller --batch-size or --seq-len, or --recompute block, needs less");
    madvise(block, block_bytes_, MADV_HUGEPAGE);
    block_ = block;
    for (const Entry& entry : entries_)
        *entry.tensor = make_tensor(static_cast<char*>(block_) + entry.offset, entry.dtype, entry.rows, entry.cols);
}

MemoryPlan::~MemoryPlan() { unmap(); }

void MemoryPlan::unmap() {
    if (block_) munmap(block_, block_bytes_);
    block_ = nullptr;
}

void MemoryPlan::release() {
    if (block_)
        for (const Entry& entry : entries_) *entry.tensor = {};
    unmap();
    entries_.clear();
    category_bytes_.fill(0);
    end_ = 0;
}
