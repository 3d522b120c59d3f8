#include "dev/cuda_on_cpu/executor/named_barrier.h"

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

void NamedBarriers::arrive(int id, int threads, bool wait, Place place) {
    Multiprocessor& m = Multiprocessor::mine();
    if (id < 1 || id >= kBarriers)
        kernel_error("a named barrier at %s:%d: number %d is not between 1 and 15", place.file, place.line, id);
    if (threads < 32 || threads % 32 || threads > m.num_threads())
        kernel_error("a named barrier at %s:%d: of %d threads, which no whole warps of this block are", place.file,
                     place.line, threads);
    Barrier& barrier = barriers_[id];
    if (barrier.arrived && barrier.threads != threads)
        kernel_error("named barrier %d is one of %d threads at %s:%d, and one of %d at %s:%d", id, barrier.threads,
                     barrier.place.file, barrier.place.line, threads, place.file, place.line);
    barrier.threads = threads;
    barrier.place = place;
    const unsigned turn = barrier.turn;
    void* const tag = m.shared.async_tag(128 + 2 * id + int(turn % 2));
    release(tag);
    const bool last = ++barrier.arrived == threads;
    if (last) {
        barrier.arrived = 0;
        barrier.turn++;
        m.block_was_ordered();
        m.wake(&barrier);
    }
    if (!wait) return;
    while (barrier.turn == turn) m.wait_on(&barrier, "at a named barrier", place);
    acquire(tag);
}

void named_barrier(int id, int threads, bool wait, Place place) {
    Multiprocessor::mine().hopper.named_barriers.arrive(id, threads, wait, place);
}

}  // namespace executor
