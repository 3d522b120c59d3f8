#include "dev/cuda_on_cpu/executor/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"

namespace executor {

namespace context = boost::context::detail;

namespace {

constexpr size_t kGuardBytes = 4 << 20;  // below every stack: more than any frame, which could jump over it

// What a switch between fibers takes along.
struct Switch {
    Fiber *from, *to;
};
thread_local char* last_guard = nullptr;  // of the fiber that runs

}  // namespace

Fiber::Fiber() {
    if (under_tsan()) tsan_fiber_ = __tsan_get_current_fiber();
}

Fiber::Fiber(void (*body)(), int pool) : pool(pool), body_(body), stack_bytes_(kStackBytes) {
    void* memory = mmap(nullptr, kGuardBytes + stack_bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) die("no memory for a CUDA thread's stack");
    mprotect(memory, kGuardBytes, PROT_NONE);
    stack_ = static_cast<char*>(memory) + kGuardBytes;
    context_ = context::make_fcontext(stack_ + stack_bytes_, stack_bytes_, &Fiber::entry);
    if (under_tsan()) tsan_fiber_ = __tsan_create_fiber(0);
}

Fiber::~Fiber() {
    if (!body_) return;
    if (under_asan()) __asan_unpoison_memory_region(stack_, stack_bytes_);  // it was left in the middle of functions
    munmap(stack_ - kGuardBytes, kGuardBytes + stack_bytes_);
}

void Fiber::switch_from(Fiber& from) {
    if (under_asan()) __sanitizer_start_switch_fiber(&from.fake_stack_, stack_, stack_bytes_);
    switch_tsan_fiber(tsan_fiber_);
    last_guard = body_ ? stack_ - kGuardBytes : nullptr;
    Switch switching{&from, this};
    from.arrived(context::jump_fcontext(context_, &switching));
}

// The first code that runs on the stack of a fiber that was switched to.
void Fiber::arrived(context::transfer_t transfer) {
    Fiber& from = *static_cast<Switch*>(transfer.data)->from;
    from.context_ = transfer.fctx;
    if (!under_asan()) return;
    const void* old_stack;
    size_t old_bytes;
    __sanitizer_finish_switch_fiber(fake_stack_, &old_stack, &old_bytes);
    if (!from.body_) {
        from.stack_ = const_cast<char*>(static_cast<const char*>(old_stack));
        from.stack_bytes_ = old_bytes;
    }
}

void Fiber::entry(context::transfer_t transfer) {
    Fiber& self = *static_cast<Switch*>(transfer.data)->to;
    self.arrived(transfer);
    self.body_();
}

bool is_stack_guard(const void* address) {
    const uintptr_t guard = uintptr_t(last_guard);
    return guard && uintptr_t(address) - guard < kGuardBytes;
}

}  // namespace executor
