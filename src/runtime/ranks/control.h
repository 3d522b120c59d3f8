// The line between all ranks and rank 0: small data of the host that they exchange over TCP, and the watch that notices
// a rank which has died, hangs, or failed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/error.h"
#include "runtime/ranks/place.h"

// A rank whose process has ended is noticed within these seconds, and so is an error that a rank reports.
inline constexpr double kNoticedWithin = 2;
// A process that knows of a failure, and has not ended by itself within these seconds, is ended by its watching thread.
inline constexpr double kEndedWithin = 15;
// The most bytes that one rank may give to one collective call.
inline constexpr size_t kMostBytes = size_t(16) << 20;

namespace ranks {
class Watch;
}

// What the ranks need to find each other, and how long they wait.
struct Meeting {
    std::string shared_folder;    // where rank 0 leaves its address if its Place names none; all ranks see it
    std::string agreement;        // a text that has to be the same on all ranks: version of the program, options
    double patience = 300;        // seconds to wait until all ranks have come
    double timeout = 600;         // seconds that a rank may take from one note() to the next while others wait for it
    double silence = 60;          // seconds after which a rank that is not heard of counts as lost
    double grace = kEndedWithin;  // seconds that a process has to end by itself once a failure is known
};

// Another rank has failed, and this one has to end, too. Of all ranks, one prints the message: rank 0, or, where that
// is the one that is lost, the first of each other machine's and of its own. All exit with the code of the rank that
// failed.
class PeerFailed : public Error {
  public:
    PeerFailed(const std::string& message, const char* file, int line, int exit_code, bool prints)
        : Error(message, file, line, exit_code), prints(prints) {}
    bool prints;  // whether this is the process that prints it
};

// A rank's end of the line. The calls that are collective are made by all ranks in the same order, and from one thread
// per process; they end with PeerFailed when a rank fails. Declare it before whatever waits for other ranks (a
// communicator), so that its watch lasts until all else is gone. With one rank alone nothing is opened or watched.
class Control {
  public:
    // Returns once all ranks have come. An error names those that did not come in time, or what the ranks disagree on;
    // where rank 0 could tell the others, they throw PeerFailed. A signal (signals::stop) ends the wait.
    Control(const Place& place, const Meeting& meeting);
    // Without leave() before it, the other ranks take this one's end for a failure.
    ~Control();
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

    // Returns what each rank gives, in the order of ranks, on every rank. Collective.
    std::vector<std::string> gather(const std::string& mine);
    // Returns what rank 0 gives, on every rank. Collective.
    std::string broadcast(const std::string& rank_0s);
    // Returns once all ranks have called it. Collective.
    void barrier();
    // The normal end: all ranks have done everything, and a process that ends from now on is no failure. Collective.
    void leave();

    // Says how far this rank has come, by a number that never decreases. Cheap enough for several calls an update: an
    // atomic store.
    void note(int64_t progress);

    // Sets what ends this process's waits for other ranks when one has failed; the watching thread calls it once, at
    // once if a failure is known already. An empty function takes it back: it isn't running any more on return.
    void on_failure(std::function<void()> end_waits);
    // Whether some rank has failed, this one included. An atomic load.
    bool failed() const;
    // Throws PeerFailed if some rank has failed. An atomic load if none has.
    void check() const;
    // The same, but gives the watch kNoticedWithin seconds to learn of a failure. An error of a communicator is often
    // only the consequence of another rank's end, and which rank it was is the better message.
    void check_soon() const;

    // Tells the others that this rank fails, and why; they stop with "rank N: MESSAGE". Returns whether this process is
    // the one to print a message: rank 0 prints what other ranks report to it. Call it before the destruction of
    // whatever may wait for the other ranks. Takes kNoticedWithin seconds at most.
    bool fail(const std::string& message, int exit_code) noexcept;

  private:
    const Place place_;
    std::unique_ptr<ranks::Watch> watch_;  // null for one rank alone
};
