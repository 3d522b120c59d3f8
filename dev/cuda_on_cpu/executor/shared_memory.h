// The shared memory of the block that runs on one OS thread. It is filled with 0xFF (NaN) at the start of a block, so
// that reading what nobody wrote shows.
#pragma once

#include <cstddef>
#include <vector>

namespace executor {

class SharedMemory {
  public:
    ~SharedMemory() { end_grid(); }
    void begin_block(size_t dynamic_bytes);
    void end_block();
    void end_grid();
    void* variable(const void* key, size_t bytes, size_t alignment);
    void* dynamic() const { return dynamic_; }
    // The address that stands for barrier number `i` in TSan's order of memory; a new one in every block.
    void* barrier_tag(int i) const { return tags_ + 8 * i; }
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

    static constexpr int kMaxVariables = 64, kTags = 2 + 2 * 32;
    Variable variables_[kMaxVariables];
    int num_variables_ = 0;
    void* dynamic_ = nullptr;
    char* tags_ = nullptr;
    size_t used_bytes_ = 0;  // by this block
    std::vector<Chunk> chunks_;
    size_t offset_ = 0;  // into the last chunk
};

}  // namespace executor
