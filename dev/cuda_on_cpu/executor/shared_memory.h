// The shared memory of the block that runs on one OS thread. It is filled with 0xFF (NaN) at the start of a block, so
// that reading what nobody wrote shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace executor {

class SharedMemory {
  public:
    ~SharedMemory() { end_grid(); }
    void begin_block(size_t dynamic_bytes);
    void end_block();
    void end_grid();
    void* variable(const void* key, size_t bytes, size_t alignment);
    // The dynamic part, at a multiple of `alignment`. Where a kernel asks for less than 1024, it gets no more by
    // chance.
    void* dynamic(size_t alignment);
    // A variable or the dynamic part, with the address that it has in the block's window of shared memory.
    struct Region {
        char* memory;
        size_t bytes;
        uint32_t window = 0;  // 0: nobody has asked for it yet
    };
    std::vector<Region>& regions() { return regions_; }
    // The region that all these bytes lie in; null if there is none.
    Region* region_of(const void* p, size_t bytes);
    // The address that stands for barrier number `i` in TSan's order of memory; a new one in every block.
    void* barrier_tag(int i) const { return tags_ + 8 * i; }
    // Further addresses of this kind: for mbarriers, named barriers and warpgroups.
    static constexpr int kAsyncTags = 192;
    void* async_tag(int i) const { return barrier_tag(2 + 2 * 32 + i % kAsyncTags); }
    size_t peak_bytes = 0;  // the most that a block of this grid has used

  private:
    struct Variable {
        const void* key;
        void* memory;
    };
    struct Chunk {
        char* memory;
        size_t bytes;
    };
    void* allocate(size_t bytes, size_t alignment);
    char* bump(size_t bytes, size_t alignment);

    static constexpr int kMaxVariables = 64, kTags = 2 + 2 * 32 + kAsyncTags;
    Variable variables_[kMaxVariables];
    int num_variables_ = 0;
    std::vector<Region> regions_;
    size_t dynamic_bytes_ = 0;
    void *dynamic_ = nullptr, *dynamic_block_ = nullptr;  // the second is what was allocated
    char* tags_ = nullptr;
    size_t used_bytes_ = 0;  // by this block
    std::vector<Chunk> chunks_;
    size_t offset_ = 0;  // into the last chunk
};

}  // namespace executor
