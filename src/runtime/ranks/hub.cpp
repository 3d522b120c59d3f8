// Rank 0's side of the line: everything that the ranks say meets here.
#include <algorithm>
#include <utility>

#include "runtime/clock.h"
#include "runtime/ranks/side.h"

namespace ranks {

namespace {

class Hub : public Side {
  public:
    Hub(const Place& place, const Meeting& meeting, Met met, Outcome outcome)
        : Side(place, meeting, std::move(met), std::move(outcome)),
          states_(size_t(place.size)),
          given_(states_.size()),
          grown_(seconds_now()) {}

    void join(Call call, const std::string& mine, int64_t progress) override {
        set_progress(0, progress);
        if (watching()) joins(0, call, mine);
    }
    void fail(const std::string& message, int exit_code) override {
        declare({.rank = 0, .exit_code = exit_code, .message = "rank 0: " + message});
    }
    void forgive(double seconds) override {
        Side::forgive(seconds);
        grown_ += seconds;
    }

  private:
    struct State {
        int64_t progress = 0;
        int64_t calls = 0;  // collective calls joined
        Call call{};        // the last one
    };

    void handle(int peer, const Frame& frame) override {
        Unpacker from(frame.body);
        if (frame.kind == Kind::alive) {
            set_progress(peer, from.number());
        } else if (frame.kind == Kind::call) {
            const auto call = Call(from.number(0, int64_t(Call::leave)));
            std::string given = from.text();
            set_progress(peer, from.number());
            if (watching()) joins(peer, call, std::move(given));
        } else if (frame.kind == Kind::failing) {
            const int code = from.number(0, 255);
            declare({.rank = peer, .exit_code = code, .message = str("rank ", peer, ": ", from.text())});
        } else {
            throw Malformed();
        }
        from.end();
    }

    void lost(int peer, const std::string& how) override {
        declare({.rank = peer, .exit_code = 1, .message = str("rank ", peer, " ", how)});
    }

    // Makes the first failure known to everybody.
    void declare(const FailureNews& news) {
        if (!watching()) return;
        failed_ = true;
        for (int peer = 1; peer < place_.size; peer++) send(peer, Kind::failure, news.packed());
        outcome_.failure({news, true});
    }

    // ---- collective calls

    void joins(int rank, Call call, std::string given) {
        State& state = states_[size_t(rank)];
        const int64_t number = state.calls + 1;
        if (number != complete_ + 1) throw Malformed();  // the last one is not complete, so this rank still waits
        state.calls = number;
        state.call = call;
        given_[size_t(rank)] = std::move(given);
        const auto joined = [&](const State& one) { return one.calls == number; };
        const auto other = std::find_if(states_.begin(), states_.end(),
                                        [&](const State& one) { return joined(one) && one.call != call; });
        if (other != states_.end()) {
            mismatch(rank, int(other - states_.begin()));
        } else if (std::all_of(states_.begin(), states_.end(), joined)) {
            answer(call);
        }
    }

    void mismatch(int rank, int other) {
        const auto calls = [&](int one) {
            return str("rank ", one, " calls ", name_of(states_[size_t(one)].call), "()");
        };
        declare({.rank = std::max(rank, other),
                 .exit_code = 1,
                 .message = str("the ranks are out of step: ", calls(std::max(rank, other)), " where ",
                                calls(std::min(rank, other)))});
    }

    void answer(Call call) {
        complete_++;
        grown_ = seconds_now();
        std::vector<std::string> all = std::exchange(given_, std::vector<std::string>(states_.size()));
        if (call == Call::broadcast) all.resize(1);
        if (call == Call::barrier || call == Call::leave) all.clear();
        Packer packed;
        packed.add(int64_t(all.size()));
        for (const std::string& one : all) packed.add(one);
        for (int peer = 1; peer < place_.size; peer++) send(peer, Kind::answer, packed.body());
        left_ = left_ || call == Call::leave;
        outcome_.answer(std::move(all));
    }

    // ---- who hangs

    void set_progress(int rank, int64_t progress) {
        State& state = states_[size_t(rank)];
        if (progress <= state.progress) return;
        state.progress = progress;
        grown_ = seconds_now();
    }

    // A rank hangs if nobody gets on, and this one is behind: by its progress, else by a collective call that it has
    // not joined.
    void judge(int64_t progress, double now) override {
        set_progress(0, progress);
        if (now <= grown_ + meeting_.timeout) return;
        // A rank of which nothing comes any more is the reason, whatever the others wait for.
        for (size_t peer = 1; peer < met_.lines.size(); peer++)
            if (met_.lines[peer] && now > heard_[peer] + kMissedBeats * kBeat)
                return lost(int(peer), str("has not been heard of for ", int64_t(now - heard_[peer]), " s"));
        const auto [least, most] = std::minmax_element(states_.begin(), states_.end(),
                                                       [](const State& a, const State& b) { return key(a) < key(b); });
        std::vector<int> behind;
        for (size_t rank = 0; rank < states_.size(); rank++)
            if (key(states_[rank]) == key(*least)) behind.push_back(int(rank));
        const std::string for_long = str(" for ", meeting_.timeout, " s");
        const std::string who = ranks_text(behind) + (behind.size() == 1 ? " has" : " have");
        std::string message;
        if (behind.size() == states_.size())
            message = str("no rank has got beyond ", least->progress, for_long);
        else if (least->progress < most->progress)
            message = str(who, " not got beyond ", least->progress, for_long, ", where others wait for it");
        else
            message = str(who, " not come to a ", name_of(most->call), "()", for_long, ", where others wait for it");
        declare({.rank = behind.front(), .exit_code = 1, .message = message});
    }
    static std::pair<int64_t, int64_t> key(const State& state) { return {state.progress, state.calls}; }

    std::vector<State> states_;       // by rank
    std::vector<std::string> given_;  // what the ranks have given to the call that is under way
    int64_t complete_ = 0;            // collective calls that all have joined
    double grown_;                    // when a rank last got on
};

}  // namespace

std::unique_ptr<Side> make_hub(const Place& place, const Meeting& meeting, Met met, Outcome outcome) {
    return std::make_unique<Hub>(place, meeting, std::move(met), std::move(outcome));
}

}  // namespace ranks
