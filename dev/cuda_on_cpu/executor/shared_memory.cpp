// A block's shared memory comes from the heap under ASan, so that every variable has red zones, else from an arena.
#include "dev/cuda_on_cpu/executor/shared_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"

namespace executor {

namespace {

// Fills memory by a loop: a memset would go through TSan, which would see a write by whichever thread came first.
void fill_with_nan(void* memory, size_t bytes) {
#if defined(__x86_64__)
    asm volatile("rep stosb" : "+D"(memory), "+c"(bytes) : "a"(0xFF) : "memory");
#else
    for (volatile char *p = static_cast<char*>(memory), *end = p + bytes; p != end; p++) *p = char(0xFF);
#endif
}

}  // namespace

void SharedMemory::begin_block(size_t dynamic_bytes) {
    num_variables_ = 0;
    // TSan knows memory by its address: blocks that shared an address would seem to race or, worse, to be ordered.
    if (under_tsan())
        tags_ = bump(8 * kTags, 64);
    else
        offset_ = 0;
    regions_.clear();
    regions_.reserve(kMaxVariables + 1);  // here, as an allocation on a fiber would look like a race to TSan
    dynamic_ = dynamic_block_ = nullptr;
    dynamic_bytes_ = dynamic_bytes;
    used_bytes_ = dynamic_bytes;
}

void SharedMemory::end_block() {
    peak_bytes = std::max(peak_bytes, used_bytes_);
    if (!under_asan()) return;
    for (int i = 0; i < num_variables_; i++) free(variables_[i].memory);
    free(dynamic_block_);
}

void SharedMemory::end_grid() {
    peak_bytes = 0;
    if (!under_tsan()) return;
    for (const Chunk& chunk : chunks_) munmap(chunk.memory, chunk.bytes);  // TSan forgets what it knew of it
    chunks_.clear();
    offset_ = 0;
}

void* SharedMemory::variable(const void* key, size_t bytes, size_t alignment) {
    for (int i = 0; i < num_variables_; i++)
        if (variables_[i].key == key) return variables_[i].memory;
    if (num_variables_ == kMaxVariables) kernel_error("more than %d shared variables", kMaxVariables);
    variables_[num_variables_] = {key, allocate(bytes, alignment)};
    return variables_[num_variables_++].memory;
}

void* SharedMemory::dynamic(size_t alignment) {
    constexpr size_t kMostAligned = 1024;
    if (!dynamic_bytes_) return nullptr;
    if (!dynamic_) {
        const size_t offset = alignment < kMostAligned ? alignment : 0;
        dynamic_block_ = allocate(offset + dynamic_bytes_, kMostAligned);
        used_bytes_ -= offset + dynamic_bytes_;  // they count from the launch on
        if (offset && under_asan()) __asan_poison_memory_region(dynamic_block_, offset);
        dynamic_ = static_cast<char*>(dynamic_block_) + offset;
        regions_.back() = {static_cast<char*>(dynamic_), dynamic_bytes_};
    }
    if (uintptr_t(dynamic_) % alignment)
        kernel_error("dynamic shared memory is asked for with an alignment of %zu, and was with a smaller one",
                     alignment);
    return dynamic_;
}

SharedMemory::Region* SharedMemory::region_of(const void* p, size_t bytes) {
    for (Region& region : regions_)
        if (p >= region.memory && static_cast<const char*>(p) + bytes <= region.memory + region.bytes) return &region;
    return nullptr;
}

void* SharedMemory::allocate(size_t bytes, size_t alignment) {
    void* memory = nullptr;
    if (!under_asan())
        memory = bump(bytes, alignment);
    else if (posix_memalign(&memory, alignment, bytes))
        kernel_error("no memory for %zu bytes of shared memory", bytes);
    fill_with_nan(memory, bytes);
    used_bytes_ += bytes;
    regions_.push_back({static_cast<char*>(memory), bytes});
    return memory;
}

char* SharedMemory::bump(size_t bytes, size_t alignment) {
    const size_t chunk_bytes = under_tsan() ? size_t(64) << 20 : size_t(1) << 20;
    offset_ = (offset_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || offset_ + bytes > chunks_.back().bytes) {
        if (bytes > chunk_bytes || (!under_tsan() && !chunks_.empty()))
            kernel_error("a block uses more than %zu bytes of shared memory", chunk_bytes);
        // The bare system call: TSan takes an mmap that it sees for a write by the caller.
        void* memory = reinterpret_cast<void*>(syscall(SYS_mmap, nullptr, chunk_bytes, PROT_READ | PROT_WRITE,
                                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L));
        if (memory == MAP_FAILED) kernel_error("no memory for a block's shared memory");
        chunks_.push_back({static_cast<char*>(memory), chunk_bytes});
        offset_ = 0;
    }
    char* memory = chunks_.back().memory + offset_;
    offset_ += bytes;
    return memory;
}

}  // namespace executor
