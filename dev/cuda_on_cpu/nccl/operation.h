// The work of one group of calls while it runs: messages to and from other ranks, moved by whoever waits for the
// stream.
#pragma once

#include <memory>
#include <vector>

#include "dev/cuda_on_cpu/nccl/communicator.h"

namespace nccl {

class Operation {
  public:
    Operation(std::shared_ptr<Communicator> communicator, std::shared_ptr<const std::vector<Call>> calls)
        : communicator_(std::move(communicator)), calls_(std::move(calls)) {}
    // Moves what can be moved now; true when all is done, or the communicator has been aborted.
    bool step();

  private:
    struct Message {
        const Call* call;
        bool sent;  // or received
        int peer;
        char* data;
        size_t bytes;
        bool begun = false;  // the envelope has been moved
        size_t moved = 0;
        uint64_t end = 0;  // of what was sent, in the channel
    };
    // What can go on at the same time: the sends and receives of a group, or a part of a collective call.
    void begin_next_stage();
    void begin_point_to_point();
    void begin_part_of(const Call& call, size_t first, size_t count);
    void finish_stage();
    void poison(const Call& call) const;

    bool can_move(const Message& message) const;
    void move(Message& message);
    bool is_over(const Message& message) const;
    bool all_over() const;
    template <class Each>
    void for_each_whose_turn_it_is(Each each);
    Channel& channel(const Message& message) const;

    std::shared_ptr<Communicator> communicator_;
    std::shared_ptr<const std::vector<Call>> calls_;
    Shared* shared_ = nullptr;  // while a step runs

    size_t call_ = 0;               // the collective call whose turn it is
    size_t first_ = 0, count_ = 0;  // the elements of the part that is under way
    bool point_to_point_done_ = false, under_way_ = false;
    std::vector<Message> messages_;
    std::vector<std::vector<char>> received_;  // to be summed, by rank
};

}  // namespace nccl
