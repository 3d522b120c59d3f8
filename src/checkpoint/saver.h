// Saves the checkpoints of a run beside its training: from a snapshot, by a thread, one at a time.
#pragma once

#include <cstdint>
#include <future>
#include <optional>
#include <queue>
#include <string>

#include "checkpoint/run_folder.h"
#include "checkpoint/snapshot.h"
#include "io/held_folder.h"

// What became of a checkpoint.
struct Saved {
    int64_t step = 0;
    std::string folder;
    double copied = 0, paused = 0,
           written = 0;      // seconds: to copy it; that training waited, copying included; to write it
    std::string why_paused;  // why training waited until it was written, if that is worth saying
};

class Saver {
  public:
    Saver(const Ranks& ranks, Device device, const Keep& keep) : ranks_(ranks), snapshot_(device), keep_(keep) {}
    // Saves the parameters as they are now, into the run folder that the first rank holds: beside the training if
    // `beside` and there is memory for a snapshot, else it is written when this returns. Waits for the one before. Of a
    // folder that is no longer where it was nothing may come: see HeldFolder::in_place().
    void save(const HeldFolder* folder, const RunState& state, const std::vector<Parameter*>& parameters,
              const Whole& whole, bool beside);
    // A checkpoint that is written since the last call, if there is one. Throws what went wrong with it.
    std::optional<Saved> finished();
    // Waits until all is written.
    void wait();

  private:
    // Nothing where the folder has got another name or been removed meanwhile.
    std::optional<Saved> write(const HeldFolder& folder, const RunState& state,
                               const std::vector<Parameter*>& parameters, const Whole& whole) const;
    void collect();

    const Ranks& ranks_;
    Snapshot snapshot_;
    const Keep keep_;
    std::queue<Saved> written_;                  // not asked for yet
    double copied_ = 0, paused_ = 0;             // of the one that is being written
    std::future<std::optional<Saved>> writing_;  // the last member: its end is waited for first
};
