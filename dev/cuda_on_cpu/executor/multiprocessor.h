// One OS thread's scheduler: it runs one block at a time, its CUDA threads as fibers that hand over to each other only
// where a CUDA thread may have to wait. A kernel that never synchronises therefore costs no switch at all.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "dev/cuda_on_cpu/executor/collectives.h"
#include "dev/cuda_on_cpu/executor/executor.h"
#include "dev/cuda_on_cpu/executor/fiber.h"
#include "dev/cuda_on_cpu/executor/guard.h"
#include "dev/cuda_on_cpu/executor/hopper_units.h"
#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"
#include "dev/cuda_on_cpu/executor/shared_memory.h"

namespace executor {

// What a warp does once all its lanes have met: the last lane to arrive runs it, on its fiber.
using Collective = void (*)(void* const* operands, unsigned lanes);

class Multiprocessor {
  public:
    // cppcheck-suppress uninitMemberVar  // a grid begins with what it needs of them
    Multiprocessor() { give_fault_handler_a_stack(); }
    // The scheduler of the calling OS thread.
    static Multiprocessor& mine() { return __builtin_expect(mine_ != nullptr, true) ? *mine_ : make_mine(); }
    void begin_grid(const Launch& launch, const std::function<void()>& thread);
    void run_block(size_t block);
    void end_grid();
    bool in_kernel() const { return current_ != &host_; }

    // The running CUDA thread calls these.
    unsigned lane() const { return unsigned(thread_->number) % 32; }
    int block_barrier(Place place, bool vote);
    void warp_collective(unsigned mask, void* operand, Collective collective, bool orders_memory, Place place);
    void cp_async(void* shared, const void* global, size_t bytes, size_t source_bytes, Place place);
    void cp_async_commit() { thread_->copy_group++; }
    void cp_async_wait(int groups_left);
    int number() const { return thread_->number; }
    int num_threads() const { return num_threads_; }
    // Puts the running thread to sleep until somebody wakes those that wait for this object.
    void wait_on(const void* object, const char* what, Place place);
    void wake(const void* object);
    void yield();
    // Lets others run after a look at the object that was in vain, and ends the program where all look in vain.
    void looked_in_vain(const void* object, const char* what, Place place);
    // Counts what orders memory between the block's threads, or those of the running thread's warp.
    unsigned orders_of_block() const { return orders_; }
    unsigned orders_of_warp() const { return warps_[thread_->number / 32].meetings; }
    void block_was_ordered() { orders_++; }
    void enter_tsan_fiber() { switch_tsan_fiber(current_->tsan_fiber()); }
    void leave_tsan_fiber() { switch_tsan_fiber(host_.tsan_fiber()); }
    SharedMemory shared;
    HopperUnits hopper;

  private:
    static inline constinit thread_local Multiprocessor* mine_ = nullptr;
    enum class State : uint8_t { fresh, running, at_barrier, at_collective, at_object, ready, exited };
    struct Thread {
        Fiber* fiber;
        State state;
        int number;
        uint3 index;  // threadIdx
        // Place, mask, operand and collective are those of the barrier or collective that the thread waits at.
        Place place;
        unsigned mask;
        void* operand;
        Collective collective;
        const void* object;  // that it waits for, and what it waits for in words
        const char* what;
        int num_copies, copy_group;  // asynchronous copies under way; the group that the next one joins
    };
    struct Copy {
        void* shared;
        const void* global;
        size_t bytes, source_bytes;
        int group;
    };
    struct Warp {
        unsigned waiting, exited;  // lanes
        unsigned meetings;
    };
    static constexpr int kMaxThreads = 1024, kMaxCopies = 64;
    static constexpr int kStartFresh = -1, kNobody = -2;  // answers of choose(), besides a ready thread's number

    static Multiprocessor& make_mine();
    static void fiber_body();
    void run_threads();
    void thread_exited(int k);
    void sleep();
    void switch_to(Fiber& fiber);
    int choose();
    void make_ready(int k);
    void release_barrier();
    static bool all_wait(const Warp& warp, unsigned mask) { return !(mask & ~warp.exited & ~warp.waiting); }
    void finish_collective(int warp_index, unsigned mask);
    Fiber& take_idle();
    void put_idle(Fiber& fiber);
    void add_idle(int pool);
    [[noreturn]] void report_stuck();

    int num_threads_ = 0;
    std::vector<Thread> threads_;
    std::vector<std::array<Copy, kMaxCopies>> copies_;
    Warp warps_[kMaxThreads / 32];
    const std::function<void()>* body_ = nullptr;  // of a thread
    size_t dynamic_bytes_ = 0;
    bool random_order_ = false;

    int next_fresh_ = 0, num_exited_ = 0;  // how many have been started, how many have ended
    std::vector<int> start_order_;         // empty: in the order of their numbers
    int ready_[kMaxThreads];               // a ring
    unsigned ready_head_ = 0, ready_tail_ = 0;
    std::mt19937 random_;

    int num_at_barrier_ = 0, votes_ = 0, vote_result_[2] = {0, 0};
    unsigned barriers_ = 0, orders_ = 0;
    int looks_in_vain_ = 0;  // since anything happened
    Place barrier_place_{};

    Fiber host_;
    Fiber* current_ = &host_;
    Thread* thread_ = nullptr;
    // TSan takes whatever runs on one fiber for ordered. So under TSan no two threads of a block share a fiber, nor do
    // those of a block and its successor, which take theirs from two pools in turn.
    int pool_ = 0;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    struct IdleFibers {  // a ring of fixed size: a container that allocates on a fiber would look like a race to TSan
        Fiber* ring[2 * kMaxThreads];
        unsigned head = 0, tail = 0;
        int size() const { return int(tail - head); }
    } idle_[2];
};

// While it exists, what the executor does for itself (it allocates, above all) is no access of the kernel's to TSan.
class Unseen {
  public:
    Unseen() {
        if (nested_++ == 0) Multiprocessor::mine().leave_tsan_fiber();
    }
    ~Unseen() {
        if (--nested_ == 0) Multiprocessor::mine().enter_tsan_fiber();
    }
    Unseen(const Unseen&) = delete;

  private:
    static inline constinit thread_local int nested_ = 0;
};

}  // namespace executor
