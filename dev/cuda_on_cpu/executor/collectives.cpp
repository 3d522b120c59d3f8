// Barriers, shuffles and votes as a kernel calls them. Only barriers and fences order memory: a shuffle does not.
#include <cstdint>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"
#include "dev/cuda_on_cpu/executor/tags.h"

namespace executor {

namespace {

struct ShuffleOperand {
    uint64_t value;
    int source;
    uint64_t result;
};
void exchange(void* const* operands, unsigned lanes) {
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        ShuffleOperand& lane = *static_cast<ShuffleOperand*>(operands[__builtin_ctz(rest)]);
        const bool present = lanes >> lane.source & 1;  // else the device's result is undefined
        lane.result = present ? static_cast<ShuffleOperand*>(operands[lane.source])->value : ~uint64_t(0);
    }
}

struct VoteOperand {
    bool vote;
    unsigned ballot;
};
void count_votes(void* const* operands, unsigned lanes) {
    unsigned ballot = 0;
    for (unsigned rest = lanes; rest; rest &= rest - 1)
        if (static_cast<VoteOperand*>(operands[__builtin_ctz(rest)])->vote) ballot |= rest & -rest;
    for (unsigned rest = lanes; rest; rest &= rest - 1)
        static_cast<VoteOperand*>(operands[__builtin_ctz(rest)])->ballot = ballot;
}

void nothing(void* const*, unsigned) {}

}  // namespace

unsigned lane_id() { return Multiprocessor::mine().lane(); }
int block_barrier(Place place, bool vote) { return Multiprocessor::mine().block_barrier(place, vote); }
void warp_barrier(unsigned mask, Place place) {
    Multiprocessor::mine().warp_collective(mask, nullptr, &nothing, true, place);
}
uint64_t shuffle(unsigned mask, uint64_t value, int source_lane, Place place) {
    ShuffleOperand operand{value, source_lane & 31, 0};
    Multiprocessor::mine().warp_collective(mask, &operand, &exchange, false, place);
    return operand.result;
}
unsigned ballot(unsigned mask, bool vote, Place place) {
    VoteOperand operand{vote, 0};
    Multiprocessor::mine().warp_collective(mask, &operand, &count_votes, false, place);
    return operand.ballot;
}
void fence() {
    acquire(&tags.fence);
    release(&tags.fence);
}

void* shared_variable(const void* key, size_t bytes, size_t alignment) {
    return Multiprocessor::mine().shared.variable(key, bytes, alignment);
}
void* shared_dynamic(size_t alignment) { return Multiprocessor::mine().shared.dynamic(alignment); }

}  // namespace executor
