// Tests whose body runs in several processes, the ranks of a communicator: the program starts itself again once per
// rank, with the name of the test.
#pragma once

#include <gtest/gtest.h>
#include <nccl.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "test/cuda_on_cpu/executor/device_vector.h"

// One rank, in its own process.
struct Rank {
    int rank, ranks;
    ncclUniqueId id;

    // Takes the device with the rank's number, and joins the others.
    ncclComm_t join() const;
    // The seconds of waiting that a test may take where it has to end by itself.
    static constexpr int kPatience = 60;
};

struct Launch {
    std::vector<std::pair<const char*, const char*>> environment = {};
    std::vector<int> killed = {};  // the ranks that end by SIGKILL; all others have to succeed
};
// Runs the body in that many processes, each on a device of its own, and waits for them.
void in_every_rank(int ranks, const std::function<void(const Rank&)>& body, const Launch& launch = {});

// A stream that ends with its scope.
struct OwnStream {
    OwnStream() { cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking); }
    ~OwnStream() { cudaStreamDestroy(stream); }
    OwnStream(const OwnStream&) = delete;
    operator cudaStream_t() const { return stream; }
    cudaStream_t stream = nullptr;
};
struct OwnEvent {
    OwnEvent() { cudaEventCreateWithFlags(&event, cudaEventDisableTiming); }
    ~OwnEvent() { cudaEventDestroy(event); }
    OwnEvent(const OwnEvent&) = delete;
    operator cudaEvent_t() const { return event; }
    cudaEvent_t event = nullptr;
};
