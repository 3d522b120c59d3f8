// One call of a communication function, as a rank made it.
#pragma once

#include <nccl.h>

#include <cstdint>
#include <string>

#include "dev/cuda_on_cpu/executor/report.h"

namespace nccl {

struct Call {
    enum class Kind : int { send, receive, all_gather, all_reduce, reduce_scatter, broadcast };
    Kind kind;
    const void* from = nullptr;  // what is read, null if nothing
    void* to = nullptr;          // what is written, null if nothing
    size_t count = 0;            // as in NCCL's own argument
    ncclDataType_t type = ncclInt8;
    int peer = -1;        // the other rank, or the root
    uint64_t number = 0;  // among all calls of the communicator, from 1
    executor::CallStack made = {};

    bool is_collective() const { return kind != Kind::send && kind != Kind::receive; }
    size_t bytes() const;                // of `count` elements
    size_t from_bytes(int ranks) const;  // of all that is read
    size_t to_bytes(int ranks) const;    // of all that is written
    bool in_place(int rank) const;       // the result takes the place of the operand, as NCCL allows it
    // "ncclAllReduce of 12 float32"
    std::string text() const;
};
const char* function_of(Call::Kind kind);

// Says what is wrong with a call's memory on this rank; empty if nothing.
std::string memory_fault(const Call& call, int ranks, int rank);

// Goes ahead of each message, so that the receiver sees whether the sender made the matching call.
struct Envelope {
    static constexpr uint64_t kMagic = 0x6e63636c63616c6c;
    uint64_t magic = kMagic;
    int32_t kind = 0, type = 0, peer = 0, part = 0;
    uint64_t count = 0, number = 0;

    Envelope() = default;
    Envelope(const Call& call, int part);
    // Ends the program, with the place of the receiver's call, unless the two calls belong together.
    void check(const Call& received, int part, int from, int rank) const;
};

}  // namespace nccl
