#include "dev/cuda_on_cpu/executor/mbarrier.h"

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

constexpr int64_t kMost = (1 << 20) - 1;  // arrivals, and bytes of either sign
constexpr uint64_t kMark = 0x6D62617272696572;

}  // namespace

void Mbarriers::init(uint64_t* at, unsigned arrivals, Place place) {
    Multiprocessor& m = Multiprocessor::mine();
    if (uintptr_t(at) % 8)
        kernel_error("mbarrier.init at %s:%d: the address is not a multiple of 8", place.file, place.line);
    if (!m.shared.region_of(at, 8))
        kernel_error("mbarrier.init at %s:%d: the mbarrier is not in shared memory", place.file, place.line);
    if (arrivals < 1 || arrivals > kMost)
        kernel_error("mbarrier.init at %s:%d for %u arrivals", place.file, place.line, arrivals);
    {
        Unseen unseen;
        const int number = int(barriers_.size());
        const auto [entry, fresh] = barriers_.try_emplace(at, Barrier{arrivals, arrivals});
        Barrier& barrier = entry->second;
        if (!fresh)
            kernel_error("mbarrier.init at %s:%d: it was initialised before, at %s:%d", place.file, place.line,
                         barrier.initialised.file, barrier.initialised.line);
        barrier.number = number;
        barrier.thread = m.number();
        barrier.orders_of_block = m.orders_of_block();
        barrier.orders_of_warp = m.orders_of_warp();
        barrier.initialised = place;
    }
    copy_as_thread(at, &kMark, 8);
}

void Mbarriers::fence_init() {
    for (auto& [at, barrier] : barriers_) barrier.fenced = true;
}

Mbarriers::Barrier& Mbarriers::use(const uint64_t* at, const char* what, Place place) {
    const Multiprocessor& m = Multiprocessor::mine();
    const auto found = barriers_.find(at);
    if (found == barriers_.end())
        kernel_error("%s at %s:%d: there is no initialised mbarrier at this address", what, place.file, place.line);
    // cppcheck-suppress derefInvalidIteratorRedundantCheck  // kernel_error() does not return
    Barrier& barrier = found->second;
    const bool same_warp = m.number() / 32 == barrier.thread / 32;
    if (m.number() != barrier.thread && m.orders_of_block() == barrier.orders_of_block &&
        !(same_warp && m.orders_of_warp() > barrier.orders_of_warp))
        kernel_error("%s at %s:%d: no barrier stands between this and the mbarrier's initialisation at %s:%d", what,
                     place.file, place.line, barrier.initialised.file, barrier.initialised.line);
    uint64_t mark;
    copy_as_thread(&mark, at, 8);
    if (mark != kMark) kernel_error("%s at %s:%d: the mbarrier was overwritten", what, place.file, place.line);
    return barrier;
}

void* Mbarriers::tag(const Barrier& barrier, unsigned phase) const {
    return Multiprocessor::mine().shared.async_tag(2 * barrier.number % 128 + int(phase % 2));
}

void Mbarriers::count(Barrier& barrier, int64_t bytes, Place place) {
    barrier.bytes += bytes;
    if (barrier.bytes > kMost || barrier.bytes < -kMost)
        kernel_error("at %s:%d an mbarrier counts %lld bytes, where %lld are the most", place.file, place.line,
                     static_cast<long long>(barrier.bytes), static_cast<long long>(kMost));
}

void Mbarriers::end_phase_if_complete(Barrier& barrier, const uint64_t* at, Place place) {
    if (barrier.pending) return;
    if (barrier.bytes < 0)
        kernel_error("at %s:%d: %lld bytes more have arrived at an mbarrier than it expects", place.file, place.line,
                     static_cast<long long>(-barrier.bytes));
    if (barrier.bytes) return;
    if (barrier.copies)
        kernel_error(
            "at %s:%d a phase of an mbarrier ends while the copy of %s:%d is under way: its bytes were not "
            "expected",
            place.file, place.line, barrier.copied.file, barrier.copied.line);
    barrier.phase++;
    barrier.pending = barrier.arrivals;
    Multiprocessor::mine().wake(at);
}

void Mbarriers::arrive(uint64_t* at, int64_t expected_bytes, Place place) {
    Barrier& barrier = use(at, "mbarrier.arrive", place);
    count(barrier, expected_bytes, place);
    if (!barrier.pending)
        kernel_error("mbarrier.arrive at %s:%d: more arrivals than the %u that the mbarrier is initialised for",
                     place.file, place.line, barrier.arrivals);
    release(tag(barrier, barrier.phase));
    barrier.pending--;
    end_phase_if_complete(barrier, at, place);
}

void Mbarriers::add_bytes(uint64_t* at, int64_t bytes, Place place) {
    Barrier& barrier = use(at, bytes < 0 ? "mbarrier.complete_tx" : "mbarrier.expect_tx", place);
    count(barrier, bytes, place);
    end_phase_if_complete(barrier, at, place);
}

// Is the phase of this parity over? Whoever asks makes the copies arrive that the answer depends on.
bool Mbarriers::over(Barrier& barrier, uint64_t* at, unsigned parity, Place place) {
    if (parity > 1) kernel_error("at %s:%d an mbarrier is asked for the parity %u", place.file, place.line, parity);
    if (barrier.phase % 2 == parity) {
        acquire(tag(barrier, barrier.phase));
        Multiprocessor::mine().hopper.copies.deliver(at);
    }
    if (barrier.phase % 2 == parity) return false;
    acquire(tag(barrier, parity));
    return true;
}

bool Mbarriers::test(uint64_t* at, unsigned parity, Place place) {
    if (over(use(at, "mbarrier.test_wait", place), at, parity, place)) return true;
    Multiprocessor::mine().looked_in_vain(at, "for an mbarrier that they test", place);
    return false;
}

void Mbarriers::wait(uint64_t* at, unsigned parity, Place place) {
    while (!over(use(at, "mbarrier.try_wait", place), at, parity, place))
        Multiprocessor::mine().wait_on(at, "for an mbarrier", place);
}

std::string Mbarriers::missing(const void* at) const {
    const auto found = barriers_.find(static_cast<const uint64_t*>(at));
    if (found == barriers_.end()) return "";
    const Barrier& barrier = found->second;
    return " (phase " + std::to_string(barrier.phase) + " misses " + std::to_string(barrier.pending) +
           " arrivals and " + std::to_string(barrier.bytes) + " bytes)";
}

void mbarrier_init(uint64_t* barrier, unsigned arrivals, Place place) {
    Multiprocessor::mine().hopper.mbarriers.init(barrier, arrivals, place);
}
void mbarrier_arrive(uint64_t* barrier, int64_t expected_bytes, Place place) {
    Multiprocessor::mine().hopper.mbarriers.arrive(barrier, expected_bytes, place);
}
void mbarrier_add_bytes(uint64_t* barrier, int64_t bytes, Place place) {
    Multiprocessor::mine().hopper.mbarriers.add_bytes(barrier, bytes, place);
}
bool mbarrier_test(uint64_t* barrier, unsigned parity, Place place) {
    return Multiprocessor::mine().hopper.mbarriers.test(barrier, parity, place);
}
void mbarrier_wait(uint64_t* barrier, unsigned parity, Place place) {
    Multiprocessor::mine().hopper.mbarriers.wait(barrier, parity, place);
}
void fence_mbarrier_init() { Multiprocessor::mine().hopper.mbarriers.fence_init(); }

}  // namespace executor
