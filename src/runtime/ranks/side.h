// What the watching thread does with the connections: rank 0's side of the line and that of the others. Both are called
// by that thread alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/ranks/meeting.h"
#include "runtime/ranks/messages.h"

struct pollfd;

namespace ranks {

enum class Call : int64_t { gather, broadcast, barrier, leave };
const char* name_of(Call call);

// Seconds between two signs of life, less where silence is judged sooner; and how many may fail to come.
inline constexpr double kBeat = 1;
inline constexpr int kMissedBeats = 3;

// A failure as this process sees it.
struct Failure {
    FailureNews news;
    bool prints = false;  // whether this process prints the message
};

// What comes of it for the main thread.
struct Outcome {
    std::function<void(std::vector<std::string>)> answer;  // a collective call is complete
    std::function<void(Failure)> failure;                  // the first one that becomes known
};

class Side {
  public:
    Side(const Place& place, const Meeting& meeting, Met met, Outcome outcome);
    virtual ~Side() = default;

    // Adds what there is to wait for; serve() gets the same part back, with what has happened.
    void add_polls(std::vector<pollfd>& polls) const;
    void serve(const pollfd* polls);

    // This rank, having come so far, joins a collective call.
    virtual void join(Call call, const std::string& mine, int64_t progress) = 0;
    // This rank fails by itself.
    virtual void fail(const std::string& message, int exit_code) = 0;
    // Says that this rank lives and how far it is, and judges whether others do.
    void beat(int64_t progress, double now);
    // This process itself has stood still for so long, and must not blame the others for it.
    virtual void forgive(double seconds);
    // Sends what is left, ends the sending, and waits a moment for the others to do the same, so that nothing that was
    // sent is lost.
    void close();

  protected:
    virtual void handle(int peer, const Frame& frame) = 0;
    virtual void lost(int peer, const std::string& how) = 0;
    virtual void judge(int64_t, double) {}
    // Whether it still matters what the others do: no failure is known, and the ranks have not left.
    bool watching() const { return !failed_ && !left_; }
    void send(int peer, Kind kind, std::string_view body = {});

    const Place& place_;
    const Meeting& meeting_;
    Met met_;
    Outcome outcome_;
    std::vector<double> heard_;  // when each peer was last heard of
    bool failed_ = false, left_ = false;

  private:
    void receive(int peer);
};

std::unique_ptr<Side> make_hub(const Place& place, const Meeting& meeting, Met met, Outcome outcome);
std::unique_ptr<Side> make_spoke(const Place& place, const Meeting& meeting, Met met, Outcome outcome);

}  // namespace ranks
