// Shared memory as the asynchronous units see it. They read and write by a path of their own (the asynchronous proxy),
// and what a thread has written they see only behind a fence.proxy.async. A shadow of shared memory holds what they
// would see: a difference to the memory itself is a write without a fence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dev/cuda_on_cpu/executor/collectives.h"

namespace executor {

class AsyncProxy {
  public:
    void begin_block();
    void fence();                               // fence.proxy.async
    void wrote(const void* p, size_t bytes);    // an asynchronous unit has written there
    bool differs(const void* p, size_t bytes);  // has a thread written there, without a fence since?
    // The address of shared memory in the block's window, which descriptors hold, and back; null beyond all variables.
    uint32_t window_address(const void* p);
    char* at_window_address(uint32_t address, size_t bytes);

  private:
    std::vector<char>& shadow(size_t region);

    std::vector<std::vector<char>> shadows_;  // by the number of the region
    uint32_t window_end_ = 0;
};

// Accesses in the name of the running thread, which sanitizers see as the kernel's own.
void copy_as_thread(void* to, const void* from, size_t bytes);
void fill_as_thread(void* to, int byte, size_t bytes);

// The swizzle of tensor maps and descriptors: within 32, 64 or 128 bytes, the number of the piece of 16 bytes is
// changed by address bits from 7 on. `bits` is 0 (none) to 3 (128 bytes).
inline uintptr_t swizzled(uintptr_t address, int bits) {
    return address ^ ((address >> 7 & ((uintptr_t(1) << bits) - 1)) << 4);
}

}  // namespace executor
