// cp.async. A copy may land at any time from its issue to the wait for it. So the target is filled with NaN at once,
// which shows in whatever still reads its old contents, and written only at the wait, which shows in whatever doesn't
// wait. memset and memcpy are the sanitizers' own, and see these accesses as the CUDA thread's; their sizes come as
// arguments because the compiler would replace a call of constant size.
#include <cstring>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

void Multiprocessor::cp_async(void* shared, const void* global, size_t bytes, size_t source_bytes, Place place) {
    if (uintptr_t(shared) % bytes || (source_bytes && uintptr_t(global) % bytes))
        kernel_error("cp.async at %s:%d: an address is not a multiple of %zu", place.file, place.line, bytes);
    if (thread_->num_copies == kMaxCopies)
        kernel_error("cp.async at %s:%d: more than %d under way in one thread", place.file, place.line, kMaxCopies);
    memset(shared, 0xFF, bytes);
    copies_[size_t(thread_->number)][size_t(thread_->num_copies++)] = {shared, global, bytes, source_bytes,
                                                                       thread_->copy_group};
}

void Multiprocessor::cp_async_wait(int groups_left) {
    auto& copies = copies_[size_t(thread_->number)];
    int kept = 0;
    for (int i = 0; i < thread_->num_copies; i++) {
        const Copy& copy = copies[size_t(i)];
        if (copy.group >= thread_->copy_group - groups_left) {
            copies[size_t(kept++)] = copy;
            continue;
        }
        memcpy(copy.shared, copy.global, copy.source_bytes);
        memset(static_cast<char*>(copy.shared) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    }
    thread_->num_copies = kept;
}

void cp_async(void* shared, const void* global, size_t bytes, size_t source_bytes, Place place) {
    Multiprocessor::mine().cp_async(shared, global, bytes, source_bytes, place);
}
void cp_async_commit() { Multiprocessor::mine().cp_async_commit(); }
void cp_async_wait(int groups_left) { Multiprocessor::mine().cp_async_wait(groups_left); }

}  // namespace executor
