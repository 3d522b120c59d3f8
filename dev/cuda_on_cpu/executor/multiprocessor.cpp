// The scheduling of one block: who runs next, who waits for whom, and what the sanitizers are told about it.
#include "dev/cuda_on_cpu/executor/multiprocessor.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"
#include "dev/cuda_on_cpu/executor/tags.h"

namespace executor {

Multiprocessor& Multiprocessor::make_mine() {
    static thread_local Multiprocessor instance;
    return *(mine_ = &instance);
}

// ---- a block, on the OS thread's own stack -----------------------------------------------------------------------

void Multiprocessor::begin_grid(const Launch& launch, const std::function<void()>& thread) {
    gridDim = launch.grid;
    blockDim = launch.block;
    num_threads_ = int(blockDim.x * blockDim.y * blockDim.z);
    dynamic_bytes_ = launch.shared_bytes;
    body_ = &thread;
    const Options::Order order = options().order;
    random_order_ = order == Options::Order::random;
    if (int(threads_.size()) < num_threads_) {
        threads_.resize(num_threads_);
        copies_.resize(num_threads_);
    }
    start_order_.clear();
    if (order != Options::Order::forward)
        for (int k = num_threads_ - 1; k >= 0; k--) start_order_.push_back(k);
    for (int k = 0; k < num_threads_; k++) {
        threads_[k].number = k;
        threads_[k].index = {k % blockDim.x, k / blockDim.x % blockDim.y, k / blockDim.x / blockDim.y};
    }
    // TSan wants them now rather than on demand: what a fiber allocates looks to it like that fiber's own.
    if (under_tsan())
        for (int pool = 0; pool < 2; pool++)
            while (idle_[pool].size() < num_threads_) add_idle(pool);
}

void Multiprocessor::run_block(size_t block) {
    blockIdx = {unsigned(block % gridDim.x), unsigned(block / gridDim.x % gridDim.y),
                unsigned(block / gridDim.x / gridDim.y)};
    next_fresh_ = num_exited_ = num_at_barrier_ = votes_ = 0;
    barriers_ = orders_ = ready_head_ = ready_tail_ = 0;
    looks_in_vain_ = 0;
    pool_ = under_tsan() ? int(block & 1) : 0;
    for (int k = 0; k < num_threads_; k++) {
        threads_[k].state = State::fresh;
        threads_[k].num_copies = threads_[k].copy_group = 0;
    }
    for (int first = 0; first < num_threads_; first += 32) {
        const int lanes = std::min(32, num_threads_ - first);
        warps_[first / 32] = {.waiting = 0, .exited = lanes == 32 ? 0u : ~0u << lanes, .meetings = 0};
    }
    if (random_order_) {
        random_.seed(options().seed + 7919u * unsigned(block));
        std::shuffle(start_order_.begin(), start_order_.end(), random_);
    }
    shared.begin_block(dynamic_bytes_);
    hopper.begin_block(num_threads_);
    switch_to(take_idle());
    hopper.end_block();
    shared.end_block();
}

void Multiprocessor::end_grid() {
    acquire(&tags.end);
    shared.end_grid();
}

// ---- threads, on fibers ------------------------------------------------------------------------------------------

void Multiprocessor::fiber_body() { mine().run_threads(); }

// One thread after the other: a fiber whose thread has ended takes the next one, and leaves only to those that wait.
void Multiprocessor::run_threads() {
    Fiber& self = *current_;
    for (;;) {
        const int k = start_order_.empty() ? next_fresh_ : start_order_[next_fresh_];
        next_fresh_++;
        thread_ = &threads_[k];
        thread_->fiber = &self;
        thread_->state = State::running;
        threadIdx = thread_->index;
        acquire(&tags.launch);
        (*body_)();
        if (thread_->num_copies) cp_async_wait(0);
        hopper.copies.thread_exits();
        release(&tags.end);
        thread_exited(k);

        const int next = choose();
        if (next == kStartFresh && !under_tsan()) continue;
        if (next == kNobody && num_exited_ < num_threads_) report_stuck();
        Fiber& successor = next == kNobody ? host_ : next == kStartFresh ? take_idle() : *threads_[next].fiber;
        put_idle(self);
        switch_to(successor);
    }
}

void Multiprocessor::thread_exited(int k) {
    thread_->state = State::exited;
    num_exited_++;
    looks_in_vain_ = 0;
    Warp& warp = warps_[k / 32];
    warp.exited |= 1u << k % 32;
    while (warp.waiting) {  // perhaps for this one only
        const unsigned mask = threads_[k / 32 * 32 + __builtin_ctz(warp.waiting)].mask;
        if (!all_wait(warp, mask)) break;
        finish_collective(k / 32, mask);
    }
}

// Leaves the running thread, which has been marked as waiting or ready already.
void Multiprocessor::sleep() {
    Thread* const me = thread_;
    const int next = choose();
    if (next == kNobody) report_stuck();
    Fiber& successor = next == kStartFresh ? take_idle() : *threads_[next].fiber;
    if (&successor != current_) switch_to(successor);
    thread_ = me;
    me->state = State::running;
    threadIdx = me->index;
}

void Multiprocessor::switch_to(Fiber& fiber) {
    Fiber& from = *current_;
    current_ = &fiber;
    fiber.switch_from(from);
}

// Takes the thread to run next: one that is ready, else one that has not started; in random order any of them.
int Multiprocessor::choose() {
    const unsigned num_ready = ready_tail_ - ready_head_, num_fresh = unsigned(num_threads_ - next_fresh_);
    if (random_order_ && num_ready + num_fresh > 0) {
        const unsigned pick = unsigned(random_()) % (num_ready + num_fresh);
        if (pick >= num_ready) return kStartFresh;
        std::swap(ready_[ready_head_ % kMaxThreads], ready_[(ready_head_ + pick) % kMaxThreads]);
    }
    if (num_ready) return ready_[ready_head_++ % kMaxThreads];
    return num_fresh ? kStartFresh : kNobody;
}

void Multiprocessor::make_ready(int k) {
    threads_[k].state = State::ready;
    ready_[ready_tail_++ % kMaxThreads] = k;
}

Fiber& Multiprocessor::take_idle() {
    IdleFibers& idle = idle_[pool_];
    if (idle.size() == 0) add_idle(pool_);
    // The one that has rested longest under TSan; else the last one, whose stack is in the cache.
    return *idle.ring[(under_tsan() ? idle.head++ : --idle.tail) % std::size(idle.ring)];
}
void Multiprocessor::put_idle(Fiber& fiber) {
    IdleFibers& idle = idle_[fiber.pool];
    idle.ring[idle.tail++ % std::size(idle.ring)] = &fiber;
}
void Multiprocessor::add_idle(int pool) {
    fibers_.push_back(std::make_unique<Fiber>(&fiber_body, pool));
    put_idle(*fibers_.back());
}

// ---- meetings ----------------------------------------------------------------------------------------------------

int Multiprocessor::block_barrier(Place place, bool vote) {
    if (num_at_barrier_ && !same(barrier_place_, place))
        kernel_error("divergent barrier: threads of one block wait at %s:%d and at %s:%d", barrier_place_.file,
                     barrier_place_.line, place.file, place.line);
    barrier_place_ = thread_->place = place;
    votes_ += vote;
    // Two tags in turn, so that a thread which leaves late does not see those that already wait at the next barrier.
    const unsigned turn = barriers_ % 2;
    release(shared.barrier_tag(int(turn)));
    thread_->state = State::at_barrier;
    const bool last = ++num_at_barrier_ == num_threads_;
    if (last && !random_order_) thread_->state = State::running;  // goes on at once; in random order whoever is drawn
    if (last) release_barrier();
    if (!last || random_order_) sleep();
    acquire(shared.barrier_tag(int(turn)));
    return vote_result_[turn];
}

void Multiprocessor::release_barrier() {
    vote_result_[barriers_++ % 2] = votes_;
    block_was_ordered();
    looks_in_vain_ = 0;
    votes_ = num_at_barrier_ = 0;
    for (int k = 0; k < num_threads_; k++)
        if (threads_[k].state == State::at_barrier) make_ready(k);
}

void Multiprocessor::warp_collective(unsigned mask, void* operand, Collective collective, bool orders_memory,
                                     Place place) {
    const int k = thread_->number, lane = k % 32;
    if (!(mask >> lane & 1))
        kernel_error("warp collective at %s:%d: lane %d is not in its mask %08x", place.file, place.line, lane, mask);
    Warp& warp = warps_[k / 32];
    thread_->mask = mask;
    thread_->operand = operand;
    thread_->collective = collective;
    thread_->place = place;
    void* const tag = shared.barrier_tag(2 + k / 32 * 2 + int(warp.meetings % 2));
    if (orders_memory) release(tag);
    warp.waiting |= 1u << lane;
    const bool last = all_wait(warp, mask);
    thread_->state = last && !random_order_ ? State::running : State::at_collective;  // as at a barrier
    if (last) finish_collective(k / 32, mask);
    if (!last || random_order_) sleep();
    if (orders_memory) acquire(tag);
}

// Runs the collective of these lanes, which are all there but for those that have exited.
void Multiprocessor::finish_collective(int warp_index, unsigned mask) {
    Warp& warp = warps_[warp_index];
    Thread* const lanes = &threads_[warp_index * 32];
    const unsigned needed = mask & ~warp.exited;
    const Thread& first = lanes[__builtin_ctz(needed)];
    void* operands[32] = {};
    for (unsigned rest = needed; rest; rest &= rest - 1) {
        const Thread& lane = lanes[__builtin_ctz(rest)];
        operands[__builtin_ctz(rest)] = lane.operand;
        if (lane.mask != mask || lane.collective != first.collective)
            kernel_error("divergent warp collective: lanes meet at %s:%d (mask %08x) and %s:%d (mask %08x)",
                         first.place.file, first.place.line, first.mask, lane.place.file, lane.place.line, lane.mask);
    }
    first.collective(operands, needed);
    warp.waiting &= ~needed;
    warp.meetings++;
    looks_in_vain_ = 0;
    for (unsigned rest = needed; rest; rest &= rest - 1)
        if (lanes[__builtin_ctz(rest)].state == State::at_collective) make_ready(warp_index * 32 + __builtin_ctz(rest));
}

void Multiprocessor::wait_on(const void* object, const char* what, Place place) {
    thread_->object = object;
    thread_->what = what;
    thread_->place = place;
    thread_->state = State::at_object;
    sleep();
}
void Multiprocessor::wake(const void* object) {
    looks_in_vain_ = 0;
    for (int k = 0; k < num_threads_; k++)
        if (threads_[k].state == State::at_object && threads_[k].object == object) make_ready(k);
}
void Multiprocessor::yield() {
    make_ready(thread_->number);
    sleep();
}
void Multiprocessor::looked_in_vain(const void* object, const char* what, Place place) {
    if (++looks_in_vain_ < 1000 + 16 * num_threads_) return yield();
    wait_on(object, what, place);  // and so do the others, one after the other, until nobody is left
}

void Multiprocessor::report_stuck() {
    leave_tsan_fiber();
    std::map<std::string, int> waiting;
    for (int k = 0; k < num_threads_; k++) {
        const Thread& t = threads_[k];
        const std::string place = std::string(t.place.file ? t.place.file : "") + ":" + std::to_string(t.place.line);
        waiting[t.state == State::exited ? "have exited"
                : t.state == State::at_object
                    ? "wait " + std::string(t.what) + hopper.mbarriers.missing(t.object) + " at " + place
                : t.state == State::at_barrier ? "wait in __syncthreads at " + place
                                               : "wait in a warp collective at " + place]++;
    }
    std::string message = "divergent barrier or deadlock";
    for (const auto& [what, count] : waiting) message += "; " + std::to_string(count) + " " + what;
    kernel_error("%s", message.c_str());
}

void kernel_error(const char* format, ...) {
    Multiprocessor::mine().leave_tsan_fiber();  // else TSan would take the message's memory for the kernel's
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    length = std::min(length, int(sizeof text) - 1);
    snprintf(text + length, sizeof text - size_t(length), " [block %u,%u,%u thread %u,%u,%u]", blockIdx.x, blockIdx.y,
             blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    die(text, CallStack());  // a fiber's stack says no more than the place in the message
}

}  // namespace executor
