#include "runtime/memory.h"

#include <algorithm>
#include <numeric>

#include "runtime/checked.h"
#include "runtime/device.h"

// Every tensor starts on a border that suits cache lines, wide loads, cuBLASLt and the ops' workspace.
constexpr size_t kAlignment = 256;

const char* memory_category_name(MemoryCategory category) {
    constexpr const char* kNames[kMemoryCategories] = {"weights", "masters",     "adapters",   "gradients",
                                                       "moments", "activations", "workspaces", "on the host"};
    return kNames[size_t(category)];
}

// Where a tensor ends that begins at `offset`: some bytes below what 64 bits can count, as ends are rounded up.
static size_t checked_end(size_t offset, int64_t rows, int64_t cols, DType dtype) {
    constexpr const char* kWhat = "the memory that this run would need";
    const int64_t bytes = checked_product(kWhat, {rows, cols, int64_t(dtype_size(dtype))});
    return size_t(checked_sum(kWhat, checked_sum(kWhat, int64_t(offset), bytes), kAlignment) - int64_t(kAlignment));
}

void MemoryPlan::place(Tensor* tensor, Block& block, size_t offset, DType dtype, int64_t rows, int64_t cols) {
    CHECK(rows > 0 && cols > 0, "a planned tensor has shape (", rows, ", ", cols, ")");
    CHECK(!on_device_.memory && !on_host_.memory, "memory was planned after it was allocated");
    entries_.push_back({tensor, dtype, rows, cols, &block == &on_host_, offset});
    const size_t end = checked_end(offset, rows, cols, dtype);
    block.planned = std::max(block.planned, (end + kAlignment - 1) / kAlignment * kAlignment);
}

void MemoryPlan::add(Tensor* tensor, MemoryCategory category, DType dtype, int64_t rows, int64_t cols) {
    Block& block = block_of(category);
    place(tensor, block, block.planned, dtype, rows, cols);
    category_bytes_[size_t(category)] += size_t(rows) * size_t(cols) * dtype_size(dtype);
}

void MemoryPlan::add_side_by_side(Tensor* whole, MemoryCategory category, DType dtype,
                                  const std::vector<Member>& members) {
    static_assert(kMemberUnit * 2 % kAlignment == 0);
    Block& block = block_of(category);
    const size_t begin = block.planned;
    int64_t elements = 0;
    for (const Member& m : members) {
        place(m.tensor, block, begin + size_t(elements) * dtype_size(dtype), dtype, m.rows, m.cols);
        category_bytes_[size_t(category)] += size_t(m.rows) * size_t(m.cols) * dtype_size(dtype);
        elements += padded(m.rows * m.cols);
    }
    place(whole, block, begin, dtype, 1, elements);
}

size_t MemoryPlan::total_bytes() const {
    return std::accumulate(category_bytes_.begin(), category_bytes_.end(), size_t(0)) - bytes(MemoryCategory::host);
}

void MemoryPlan::allocate() {
    CHECK(!on_device_.memory && !on_host_.memory, "a memory plan was allocated twice");
    if (on_device_.planned > 0) {
        on_device_.memory = device::allocate(device_, on_device_.planned);
        if (!on_device_.memory)
            OUT_OF_MEMORY("can't allocate ", on_device_.planned >> 20, " MiB on the ",
                          device_ == Device::cuda ? "GPU" : "CPU");
    }
    if (on_host_.planned > 0) {
        on_host_.memory = device::allocate_host(device_, on_host_.planned);
        if (!on_host_.memory) OUT_OF_MEMORY("can't lock ", on_host_.planned >> 20, " MiB of host memory");
    }
    for (Block* block : {&on_device_, &on_host_}) block->bytes = block->planned;
    for (const Entry& entry : entries_) {
        char* const memory = static_cast<char*>(entry.on_host ? on_host_.memory : on_device_.memory);
        *entry.tensor = make_tensor(memory + entry.offset, entry.dtype, entry.rows, entry.cols, device_);
    }
}

MemoryPlan::~MemoryPlan() { give_back(); }

void MemoryPlan::give_back() {
    if (on_device_.memory) device::release(device_, on_device_.memory, on_device_.bytes);
    if (on_host_.memory) device::release_host(device_, on_host_.memory);
    on_device_.memory = on_host_.memory = nullptr;
}

void MemoryPlan::release() {
    if (on_device_.memory || on_host_.memory)
        for (const Entry& entry : entries_) *entry.tensor = {};
    give_back();
    entries_.clear();
    category_bytes_.fill(0);
    on_device_ = on_host_ = {};
}
