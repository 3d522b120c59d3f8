// Device and pinned memory: who owns which address. Device memory lies in one reserved range that the host cannot touch
// except while work of a stream runs; addresses are never used twice, so that a stale one is always recognised.
#pragma once

#include <cstddef>
#include <string>

namespace executor {

void* allocate_device(size_t bytes);  // null if there is no room
void free_device(void* pointer);
void* allocate_pinned(size_t bytes);
void free_pinned(void* pointer);
size_t device_bytes_total();
size_t device_bytes_used();

// Opens device memory to this process, for as long as an object of this class lives.
class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess&) = delete;
};

enum class Memory { pageable, pinned, device };
Memory kind_of(const void* pointer);
// Says where a pointer points: "address 0x..., 16 bytes into a device allocation of 1024 bytes made at ...".
std::string describe(const void* pointer);
// These say what is wrong with using the bytes as device memory, or as the host's; empty if nothing.
std::string device_range_fault(const void* pointer, size_t bytes);
std::string host_range_fault(const void* pointer, size_t bytes);
// Says what is wrong with a kernel's argument. Its size isn't known, so null and the end of an allocation pass.
std::string kernel_pointer_fault(const void* pointer);

}  // namespace executor
