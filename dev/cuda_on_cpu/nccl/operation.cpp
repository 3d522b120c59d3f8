#include "dev/cuda_on_cpu/nccl/operation.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/nccl/sum.h"

namespace nccl {

namespace {

// Sums are taken in parts, as the operands of the other ranks are kept until all are there.
constexpr size_t kPartElements = 1 << 18;

bool is_sum(const Call& call) { return call.kind == Call::Kind::all_reduce || call.kind == Call::Kind::reduce_scatter; }
const char* bytes_of(const void* memory) { return static_cast<const char*>(memory); }
char* bytes_of(void* memory) { return static_cast<char*>(memory); }

}  // namespace

// ---- steps -------------------------------------------------------------------------------------------------------

bool Operation::step() {
    const std::unique_lock held = communicator_->lock();
    shared_ = communicator_->shared();
    if (!shared_) return true;
    while (true) {
        if (!under_way_) {
            if (point_to_point_done_) break;
            const executor::DeviceAccess access;
            begin_next_stage();
        }
        bool movable = false;
        for_each_whose_turn_it_is([&](Message& message) { movable = movable || can_move(message); });
        if (movable) {
            const executor::DeviceAccess access;
            for_each_whose_turn_it_is([&](Message& message) { move(message); });
        }
        if (!all_over()) break;
        const executor::DeviceAccess access;
        finish_stage();
    }
    uint64_t waits_for = 0;
    for (const Message& message : messages_)
        if (!is_over(message)) waits_for |= uint64_t(1) << message.peer;
    shared_->me().waits_for = waits_for;
    if (under_way_) return false;
    communicator_->finished++;
    return true;
}

// Messages to one rank follow each other, and so do those from one.
template <class Each>
void Operation::for_each_whose_turn_it_is(Each each) {
    uint64_t busy[2] = {0, 0};
    for (Message& message : messages_) {
        const uint64_t peer = uint64_t(1) << message.peer;
        if (!(busy[message.sent] & peer)) each(message);
        if (!message.begun || message.moved < message.bytes) busy[message.sent] |= peer;
    }
}

Channel& Operation::channel(const Message& message) const {
    const int rank = communicator_->rank;
    return message.sent ? shared_->channel(rank, message.peer) : shared_->channel(message.peer, rank);
}
bool Operation::can_move(const Message& message) const {
    if (message.begun && message.moved == message.bytes) return false;
    const size_t possible = message.sent ? channel(message).free() : channel(message).filled();
    return possible >= (message.begun ? 1 : sizeof(Envelope));
}
void Operation::move(Message& message) {
    if (!can_move(message)) return;
    Channel& way = channel(message);
    const int part = int(first_ / kPartElements);
    if (!message.begun && message.sent) {
        const Envelope envelope(*message.call, part);
        way.write(&envelope, sizeof envelope);
    } else if (!message.begun) {
        Envelope envelope;
        way.take(&envelope, sizeof envelope);
        envelope.check(*message.call, part, message.peer, communicator_->rank);
    }
    message.begun = true;
    const size_t possible = message.sent ? way.free() : way.filled();
    const size_t bytes = std::min(possible, message.bytes - message.moved);
    if (message.sent)
        way.write(message.data + message.moved, bytes);
    else
        way.take(message.data + message.moved, bytes);
    message.moved += bytes;
    if (message.sent) message.end = way.written.load();
}
// What was sent is over when the other side has taken it.
bool Operation::is_over(const Message& message) const {
    if (!message.begun || message.moved < message.bytes) return false;
    return !message.sent || channel(message).read.load() >= message.end;
}
bool Operation::all_over() const {
    return std::all_of(messages_.begin(), messages_.end(), [&](const Message& message) { return is_over(message); });
}

// ---- stages ------------------------------------------------------------------------------------------------------

// Collective calls come first, each by itself, then all sends and receives at once.
void Operation::begin_next_stage() {
    under_way_ = true;
    while (call_ < calls_->size() && !(*calls_)[call_].is_collective()) call_++;
    if (call_ == calls_->size()) return begin_point_to_point();
    const Call& call = (*calls_)[call_];
    if (first_ == 0) poison(call);
    begin_part_of(call, first_, is_sum(call) ? std::min(call.count - first_, kPartElements) : call.count);
}

void Operation::begin_point_to_point() {
    first_ = 0;
    for (const Call& call : *calls_) {
        if (call.is_collective()) continue;
        const bool sent = call.kind == Call::Kind::send;
        if (!sent) poison(call);
        void* const data = sent ? const_cast<void*>(call.from) : call.to;
        messages_.push_back({&call, sent, call.peer, bytes_of(data), call.bytes()});
    }
}

// Every rank sends something to every other one, if only an envelope, so that all see whether they made the same call.
void Operation::begin_part_of(const Call& call, size_t first, size_t count) {
    const size_t size = type_bytes(call.type), bytes = count * size, whole = call.bytes();
    const int rank = communicator_->rank, ranks = communicator_->ranks;
    char *const from = bytes_of(const_cast<void*>(call.from)), *const to = bytes_of(call.to);
    count_ = count;
    received_.resize(size_t(ranks));
    for (int r = 0; r < ranks; r++) {
        if (r == rank) continue;
        Message sent{&call, true, r, from, bytes}, received{&call, false, r, to, bytes};
        switch (call.kind) {
            case Call::Kind::broadcast:
                sent.bytes = call.peer == rank ? bytes : 0;
                received.bytes = call.peer == r ? bytes : 0;
                break;
            case Call::Kind::all_gather: received.data = to + size_t(r) * whole; break;
            default:
                sent.data = from + first * size + (call.kind == Call::Kind::reduce_scatter ? size_t(r) * whole : 0);
                received_[size_t(r)].resize(bytes);
                received.data = received_[size_t(r)].data();
        }
        messages_.push_back(sent);
        messages_.push_back(received);
    }
}

void Operation::finish_stage() {
    under_way_ = false;
    messages_.clear();
    if (call_ == calls_->size()) {
        point_to_point_done_ = true;
        return;
    }
    const Call& call = (*calls_)[call_];
    const size_t size = type_bytes(call.type), rank = size_t(communicator_->rank);
    const char* const from = bytes_of(call.from);
    char* const to = bytes_of(call.to);
    if (is_sum(call)) {
        const size_t mine = call.kind == Call::Kind::reduce_scatter ? rank * call.count : 0;
        std::vector<const void*> operands;
        for (const std::vector<char>& operand : received_) operands.push_back(operand.data());
        operands[rank] = from + (mine + first_) * size;
        sum(to + first_ * size, operands, count_, mine + first_, call.type);
    } else if (!call.in_place(int(rank)) && (call.kind == Call::Kind::all_gather || call.peer == int(rank))) {
        memcpy(to + (call.kind == Call::Kind::all_gather ? rank * call.bytes() : 0), from, call.bytes());
    }
    received_.clear();
    first_ += count_;
    if (first_ < call.count) return;
    first_ = 0;
    call_++;
}

// What will be received is NaN until it is there, except for operands in place.
void Operation::poison(const Call& call) const {
    const int rank = communicator_->rank, ranks = communicator_->ranks;
    const bool in_place = call.in_place(rank);
    const size_t whole = call.bytes();
    if (call.kind == Call::Kind::all_gather) {
        for (int r = 0; r < ranks; r++)
            if (r != rank || !in_place) memset(bytes_of(call.to) + size_t(r) * whole, 0xFF, whole);
    } else if (!in_place || (call.kind == Call::Kind::broadcast && call.peer != rank)) {
        memset(call.to, 0xFF, whole);
    }
}

}  // namespace nccl
