#include "dev/cuda_on_cpu/executor/async_proxy.h"

#include <cstring>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

constexpr uint32_t kWindowBytes = 1 << 18;  // what the 14 bits of a descriptor reach

// Copies by an instruction: a memcpy would go through TSan, which would see an access of the running thread.
void copy_unseen(void* to, const void* from, size_t bytes) {
#if defined(__x86_64__)
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    for (size_t i = 0; i < bytes; i++) static_cast<volatile char*>(to)[i] = static_cast<const volatile char*>(from)[i];
#endif
}

}  // namespace

__attribute__((noinline, noclone)) void copy_as_thread(void* to, const void* from, size_t bytes) {
    memcpy(to, from, bytes);
}
__attribute__((noinline, noclone)) void fill_as_thread(void* to, int byte, size_t bytes) { memset(to, byte, bytes); }

void AsyncProxy::begin_block() {
    shadows_.clear();
    window_end_ = 0;
}

// A region that was never fenced looks to the asynchronous proxy as it did at the start of the block.
std::vector<char>& AsyncProxy::shadow(size_t region) {
    Unseen unseen;
    if (shadows_.size() <= region) shadows_.resize(region + 1);
    const size_t bytes = Multiprocessor::mine().shared.regions()[region].bytes;
    if (shadows_[region].empty()) shadows_[region].assign(bytes, char(0xFF));
    return shadows_[region];
}

void AsyncProxy::fence() {
    const auto& regions = Multiprocessor::mine().shared.regions();
    for (size_t i = 0; i < regions.size(); i++) copy_unseen(shadow(i).data(), regions[i].memory, regions[i].bytes);
}

void AsyncProxy::wrote(const void* p, size_t bytes) {
    SharedMemory& shared = Multiprocessor::mine().shared;
    const SharedMemory::Region* region = shared.region_of(p, bytes);
    const size_t offset = size_t(static_cast<const char*>(p) - region->memory);
    copy_unseen(shadow(size_t(region - shared.regions().data())).data() + offset, p, bytes);
}

bool AsyncProxy::differs(const void* p, size_t bytes) {
    SharedMemory& shared = Multiprocessor::mine().shared;
    const SharedMemory::Region* region = shared.region_of(p, bytes);
    const char* memory = static_cast<const char*>(p);
    const char* seen = shadow(size_t(region - shared.regions().data())).data() + (memory - region->memory);
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != seen[i]) return true;
    return false;
}

uint32_t AsyncProxy::window_address(const void* p) {
    SharedMemory::Region* region = Multiprocessor::mine().shared.region_of(p, 1);
    if (!region) kernel_error("address %p is not in shared memory", p);
    // cppcheck-suppress nullPointerRedundantCheck  // kernel_error() does not return
    if (!region->window) {
        const uint32_t alignment = uint32_t(uintptr_t(region->memory) % 1024);  // the same as in the memory itself
        region->window = (window_end_ + 1023) / 1024 * 1024 + 1024 + alignment;
        window_end_ = region->window + uint32_t(region->bytes);
        if (window_end_ > kWindowBytes) kernel_error("descriptors reach no more than %u bytes", kWindowBytes);
    }
    return region->window + uint32_t(static_cast<const char*>(p) - region->memory);
}

char* AsyncProxy::at_window_address(uint32_t address, size_t bytes) {
    for (const SharedMemory::Region& region : Multiprocessor::mine().shared.regions())
        if (region.window && address >= region.window && address + bytes <= region.window + region.bytes)
            return region.memory + (address - region.window);
    return nullptr;
}

void fence_proxy_async() {
    HopperUnits& hopper = Multiprocessor::mine().hopper;
    hopper.proxy.fence();
    hopper.mbarriers.fence_init();
}
uint32_t shared_address(const void* p) { return Multiprocessor::mine().hopper.proxy.window_address(p); }

}  // namespace executor
