// The sanitizers' entry points, if the program was linked with one: weak symbols that are null otherwise. The executor
// itself is always compiled without -fsanitize, so that its bookkeeping is neither checked nor taken for a kernel's.
#pragma once

#include <cstddef>

#define EXECUTOR_WEAK extern "C" __attribute__((weak))
EXECUTOR_WEAK void __sanitizer_start_switch_fiber(void** fake_stack, const void* stack, size_t bytes);
EXECUTOR_WEAK void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_stack, size_t* old_bytes);
EXECUTOR_WEAK void __asan_poison_memory_region(const volatile void* begin, size_t bytes);
EXECUTOR_WEAK void __asan_unpoison_memory_region(const volatile void* begin, size_t bytes);
EXECUTOR_WEAK void* __tsan_get_current_fiber();
EXECUTOR_WEAK void* __tsan_create_fiber(unsigned flags);
EXECUTOR_WEAK void __tsan_switch_to_fiber(void* fiber, unsigned flags);
EXECUTOR_WEAK void __tsan_acquire(void* variable);
EXECUTOR_WEAK void __tsan_release(void* variable);
#undef EXECUTOR_WEAK

namespace executor {

inline bool under_asan() { return __asan_poison_memory_region != nullptr; }
inline bool under_tsan() { return __tsan_create_fiber != nullptr; }

// ThreadSanitizer's order of memory: what came before a release(x) is seen by what follows a later acquire(x).
inline void acquire(void* variable) {
    if (under_tsan()) __tsan_acquire(variable);
}
inline void release(void* variable) {
    if (under_tsan()) __tsan_release(variable);
}
// Runs what follows in the name of another TSan fiber, without ordering memory between the two.
inline void switch_tsan_fiber(void* fiber) {
    constexpr unsigned kNoSync = 1;
    if (under_tsan()) __tsan_switch_to_fiber(fiber, kNoSync);
}

}  // namespace executor
