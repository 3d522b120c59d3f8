// Ranks: the processes that train one model together, each on a device of its own. What they decide they exchange by
// Control; tensors go by NCCL between GPUs and by MPI between CPUs. A rank that is alone needs neither.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "runtime/division.h"
#include "runtime/ranks/control.h"
#include "runtime/ranks/place.h"
#include "runtime/tensor.h"

// What carries tensors between ranks: the half for CPUs and the one for GPUs implement it. On a GPU all go to
// gpu::stream(), in order; on a CPU they are done when they return. One at a time.
class Transport {
  public:
    virtual ~Transport() = default;
    // Sends row q of `sent` to rank q, and gets this rank's row of every other rank into row q of `received`. Row q
    // holds min(cols, left - q*share) elements, if any. The rows that a rank would send to itself are left alone.
    struct Exchange {
        Tensor sent, received;  // (ranks, n), of one type; rows may have gaps between them
        int64_t left = 0, share = 0;
        int64_t count(int q) const { return std::clamp<int64_t>(left - q * share, 0, sent.cols); }
    };
    virtual void exchange(const Exchange& exchange) = 0;
    // Fills in what the others have of a contiguous tensor. `staging`: contiguous memory for the transport.
    virtual void all_gather(const Tensor& whole, const Division& division, const Tensor& staging) = 0;
    // Sums of int32, element by element.
    virtual void all_reduce(const Tensor& sums) = 0;
    // Ends the waits of this process for the others; called from any thread.
    virtual void abort() = 0;
};

class Ranks {
  public:
    Ranks() = default;  // one, alone
    // Meets the others: throws where they don't come.
    Ranks(const Place& place, const Meeting& meeting, Device device);
    ~Ranks();
    Ranks(const Ranks&) = delete;
    Ranks& operator=(const Ranks&) = delete;

    int rank() const { return place_.rank; }
    int size() const { return place_.size; }
    bool alone() const { return !control_; }
    bool first() const { return place_.rank == 0; }

    // ---- decisions: every rank makes the same calls in the same order, from its main thread
    // What each rank says, in their order.
    std::vector<std::string> gather(const std::string& mine) const;
    // What the first rank says.
    std::string broadcast(const std::string& of_the_first) const;
    void barrier() const;

    // ---- tensors: nothing is to be done with them where a rank is alone
    Transport& transport() const { return *transport_; }

    // ---- failures
    // Says that this rank has come further: called at least once an update.
    void note_progress() const;
    // Throws where another rank has failed.
    void check() const;
    // Tells the others that this one fails. Returns whether it is this process that prints the message. Never throws.
    bool fail(const std::string& message, int exit_code) const noexcept;
    // The end of a run that went well.
    void leave() const;

  private:
    Place place_;
    std::unique_ptr<Control> control_;
    std::unique_ptr<Transport> transport_;
    mutable int64_t progress_ = 0;
};

// A process that trains by itself.
inline const Ranks kAlone;

// Transports of the two halves; each exists only in a binary that was built with it. The checks between waits of the
// CPU's throw where another rank has failed.
std::unique_ptr<Transport> mpi_transport(const Place& place, const Control& control);
std::unique_ptr<Transport> nccl_transport(const Place& place, Control& control);
