#include "dev/cuda_on_cpu/nccl/call.h"

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/nccl/sum.h"

namespace nccl {

const char* function_of(Call::Kind kind) {
    switch (kind) {
        case Call::Kind::send: return "ncclSend";
        case Call::Kind::receive: return "ncclRecv";
        case Call::Kind::all_gather: return "ncclAllGather";
        case Call::Kind::all_reduce: return "ncclAllReduce";
        case Call::Kind::reduce_scatter: return "ncclReduceScatter";
        case Call::Kind::broadcast: return "ncclBroadcast";
    }
    return "no call of NCCL";
}

size_t Call::bytes() const { return count * type_bytes(type); }
size_t Call::from_bytes(int ranks) const {
    return !from ? 0 : kind == Kind::reduce_scatter ? bytes() * size_t(ranks) : bytes();
}
size_t Call::to_bytes(int ranks) const {
    return !to ? 0 : kind == Kind::all_gather ? bytes() * size_t(ranks) : bytes();
}
bool Call::in_place(int rank) const {
    const size_t offset = bytes() * size_t(rank);
    if (kind == Kind::all_gather) return from == static_cast<const char*>(to) + offset;
    if (kind == Kind::reduce_scatter) return to == static_cast<const char*>(from) + offset;
    return from == to;
}
std::string Call::text() const {
    std::string text = std::string(function_of(kind)) + " of " + std::to_string(count) + " " + type_name(type);
    if (kind == Kind::broadcast) text += " with root " + std::to_string(peer);
    if (kind == Kind::send) text += " to rank " + std::to_string(peer);
    if (kind == Kind::receive) text += " from rank " + std::to_string(peer);
    return text;
}

std::string memory_fault(const Call& call, int ranks, int rank) {
    const auto fault = [&](const void* memory, size_t bytes) -> std::string {
        if (bytes == 0) return "";
        if (reinterpret_cast<uintptr_t>(memory) % type_bytes(call.type) != 0)
            return std::string("is not aligned for ") + type_name(call.type) + ": " + executor::describe(memory);
        return executor::device_range_fault(memory, bytes);
    };
    const size_t read = call.from_bytes(ranks), written = call.to_bytes(ranks);
    const std::string name = std::string(function_of(call.kind)) + ": ";
    if (const std::string text = fault(call.from, read); !text.empty()) return name + "the send buffer " + text;
    if (const std::string text = fault(call.to, written); !text.empty()) return name + "the receive buffer " + text;
    const char *const from = static_cast<const char*>(call.from), *const to = static_cast<const char*>(call.to);
    if (read && written && !call.in_place(rank) && to < from + read && from < to + written)
        return name + "the buffers overlap, and not as in-place operations may";
    return "";
}

Envelope::Envelope(const Call& call, int part)
    : kind(int(call.kind)), type(call.type), peer(call.peer), part(part), count(call.count), number(call.number) {}

void Envelope::check(const Call& received, int expected_part, int from, int rank) const {
    if (magic != kMagic) executor::die("NCCL's stand-in has lost its place in a channel");
    const bool kinds =
        received.is_collective() ? kind == int(received.kind) && peer == received.peer : kind == int(Call::Kind::send);
    if (kinds && type == received.type && count == received.count && part == expected_part) return;
    Call sent{.kind = Call::Kind(kind), .count = count, .type = ncclDataType_t(type), .peer = peer};
    executor::die(received.text() + " on rank " + std::to_string(rank) + " (call " + std::to_string(received.number) +
                      " of the communicator) meets " + sent.text() + " on rank " + std::to_string(from) +
                      " (its call " + std::to_string(number) + ")",
                  received.made);
}

}  // namespace nccl
