#include "dev/cuda_on_cpu/executor/device_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "dev/cuda_on_cpu/executor/guard.h"
#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"

namespace executor {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t(2) << 20;  // locking a range costs time per page
constexpr size_t kReservedBytes = size_t(256) << 30;
constexpr size_t kMaxDeviceBytes = size_t(80) << 30;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

struct Allocation {
    size_t bytes;
    bool device, freed;
    CallStack made, freed_at;
};

struct Heap {
    std::recursive_mutex mutex;
    std::map<uintptr_t, Allocation> allocations;  // by address; of device memory the freed ones, too
    uintptr_t begin = 0, end = 0, limit = 0;      // of the reserved range: [begin, end) is in use
    size_t used_bytes = 0;
    int accesses = 0;  // DeviceAccess objects alive

    Heap() {
        for (size_t bytes = kReservedBytes; bytes >= kHugePage && !begin; bytes /= 2) {
            // The bare system call: TSan takes an mmap that it sees for a write by the caller.
            const auto address =
                syscall(SYS_mmap, nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
            if (address == -1) continue;
            begin = end = round_up(uintptr_t(address), kHugePage);
            limit = uintptr_t(address) + bytes;
        }
        if (!begin) die("no address space for device memory");
        madvise(reinterpret_cast<void*>(begin), limit - begin, MADV_HUGEPAGE);
        end += kPage;  // a red zone before the first allocation, filled as those behind each
        protect(PROT_READ | PROT_WRITE);
        memset(reinterpret_cast<void*>(begin), 0xFF, kPage);
        if (options().guard) protect(PROT_NONE);
        if (under_asan()) __asan_poison_memory_region(reinterpret_cast<void*>(begin), kPage);
        CallStack::here();  // loads the unwinder now rather than in a signal handler
        install_fault_handler();
    }
    bool reserved(const void* p) const { return uintptr_t(p) - begin < limit - begin; }
    void protect(int protection) {
        if (end > begin) mprotect(reinterpret_cast<void*>(begin), round_up(end - begin, kHugePage), protection);
    }
    // The allocation that a pointer belongs to: the last one that begins at or before it.
    const std::pair<const uintptr_t, Allocation>* find(const void* p) const {
        auto next = allocations.upper_bound(uintptr_t(p));
        if (next == allocations.begin()) return nullptr;
        const auto& found = *--next;
        // Behind a device allocation there is nothing but its red zone; behind a pinned one other host memory.
        const bool belongs = found.second.device ? reserved(p) : uintptr_t(p) - found.first <= found.second.bytes;
        return belongs ? &found : nullptr;
    }
};

// Never destroyed: destructors of other static objects may still free device memory.
Heap* the_heap = nullptr;
Heap& heap() {
    static const bool made = (the_heap = new Heap);
    (void)made;
    return *the_heap;
}

size_t offset_in(const std::pair<const uintptr_t, Allocation>& allocation, const void* p) {
    return uintptr_t(p) - allocation.first;
}

}  // namespace

// ---- allocation --------------------------------------------------------------------------------------------------

size_t device_bytes_total() {
    if (options().memory_mib > 0) return std::min(kMaxDeviceBytes, options().memory_mib << 20);
    const size_t host_bytes = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
    return std::min(kMaxDeviceBytes, host_bytes);
}
size_t device_bytes_used() { return heap().used_bytes; }

void* allocate_device(size_t bytes) {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    const size_t padded = round_up(bytes, kPage) + kPage;  // a red zone of a page or more behind each
    if (bytes > device_bytes_total() - h.used_bytes || padded > h.limit - h.end - kHugePage) return nullptr;
    const uintptr_t address = h.end;
    h.end += padded;
    h.used_bytes += bytes;
    h.allocations[address] = {bytes, true, false, CallStack::here(), {}};
    void* const memory = reinterpret_cast<void*>(address);
    const bool open = h.accesses > 0 || !options().guard;
    h.protect(PROT_READ | PROT_WRITE);
    memset(memory, 0xFF, padded);  // NaN, behind the end as well
    if (!open) h.protect(PROT_NONE);
    if (under_asan()) __asan_poison_memory_region(reinterpret_cast<void*>(address + bytes), padded - bytes);
    return memory;
}

void free_device(void* pointer) {
    if (!pointer) return;
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    const auto found = h.allocations.find(uintptr_t(pointer));
    if (found == h.allocations.end() || !found->second.device)
        die("cudaFree of " + describe(pointer) + ", which cudaMalloc did not return");
    Allocation& allocation = found->second;
    if (allocation.freed) die("double cudaFree of " + describe(pointer));
    allocation.freed = true;
    allocation.freed_at = CallStack::here();
    h.used_bytes -= allocation.bytes;
    if (under_asan()) __asan_poison_memory_region(pointer, allocation.bytes);
    madvise(pointer, round_up(allocation.bytes, kPage), MADV_DONTNEED);
}

void* allocate_pinned(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kPage, std::max<size_t>(bytes, 1))) return nullptr;
    memset(memory, 0xFF, bytes);
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    h.allocations[uintptr_t(memory)] = {bytes, false, false, CallStack::here(), {}};
    return memory;
}

void free_pinned(void* pointer) {
    if (!pointer) return;
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    const auto found = h.allocations.find(uintptr_t(pointer));
    if (found == h.allocations.end() || found->second.device)
        die("cudaFreeHost of " + describe(pointer) + ", which cudaMallocHost did not return");
    h.allocations.erase(found);
    free(pointer);
}

// Runs after the destructors of all static objects.
__attribute__((destructor)) static void report_leaks() {
    if (!the_heap) return;
    size_t bytes = 0, count = 0;
    std::map<std::string, size_t> by_place;
    for (const auto& [address, allocation] : the_heap->allocations) {
        if (allocation.freed) continue;
        bytes += allocation.bytes;
        if (++count <= 10) by_place[allocation.made.text(3)] += allocation.bytes;
    }
    if (!count) return;
    std::string message =
        std::to_string(bytes) + " bytes in " + std::to_string(count) + " allocations were never freed";
    for (const auto& [place, n] : by_place) message += "\n  " + std::to_string(n) + " bytes at" + place;
    leaked(message);
}

// ---- the lock ----------------------------------------------------------------------------------------------------

DeviceAccess::DeviceAccess() {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    if (h.accesses++ == 0 && options().guard) h.protect(PROT_READ | PROT_WRITE);
}
DeviceAccess::~DeviceAccess() {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    if (--h.accesses == 0 && options().guard) h.protect(PROT_NONE);
}

FaultCause cause_of_fault(const void* address) {
    Heap& h = heap();
    if (!h.reserved(address)) return FaultCause::other;
    return h.accesses > 0 ? FaultCause::kernel_outside_allocations : FaultCause::host_on_device_memory;
}

// ---- checks ------------------------------------------------------------------------------------------------------

Memory kind_of(const void* pointer) {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    if (h.reserved(pointer)) return Memory::device;
    return h.find(pointer) ? Memory::pinned : Memory::pageable;
}

std::string describe(const void* pointer) {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    char text[64];
    snprintf(text, sizeof text, "address %p, ", pointer);
    const auto* found = h.find(pointer);
    if (!found) return std::string(text) + (h.reserved(pointer) ? "no allocated device memory" : "host memory");
    const Allocation& allocation = found->second;
    return text + std::to_string(offset_in(*found, pointer)) + " bytes into " +
           (allocation.device ? "a device" : "a pinned host") + " allocation of " + std::to_string(allocation.bytes) +
           " bytes made at" + allocation.made.text(3) +
           (allocation.freed ? "\n  and freed at" + allocation.freed_at.text(3) : "");
}

std::string device_range_fault(const void* pointer, size_t bytes) {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    if (!h.reserved(pointer)) return "is not device memory: " + describe(pointer);
    const auto* found = h.find(pointer);
    if (!found) return "is not allocated: " + describe(pointer);
    if (found->second.freed) return "has been freed: " + describe(pointer);
    const size_t offset = offset_in(*found, pointer);
    if (offset <= found->second.bytes && bytes <= found->second.bytes - offset) return "";
    return "ends beyond its allocation, " + std::to_string(bytes) + " bytes from " + describe(pointer);
}

std::string host_range_fault(const void* pointer, size_t bytes) {
    Heap& h = heap();
    std::lock_guard<std::recursive_mutex> lock(h.mutex);
    if (h.reserved(pointer)) return "is not host memory: " + describe(pointer);
    const auto* found = h.find(pointer);
    if (!found || uintptr_t(pointer) == found->first + found->second.bytes) return "";  // pageable: not ours to know
    if (bytes <= found->second.bytes - offset_in(*found, pointer)) return "";
    return "ends beyond its allocation, " + std::to_string(bytes) + " bytes from " + describe(pointer);
}

std::string kernel_pointer_fault(const void* pointer) {
    if (!pointer || kind_of(pointer) == Memory::pinned) return "";
    return device_range_fault(pointer, 0);
}

}  // namespace executor
