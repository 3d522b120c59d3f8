#include "runtime/ranks/side.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "runtime/clock.h"

namespace ranks {

namespace {

constexpr double kCloseWithin = 1;  // seconds that the last bytes have at the end

}  // namespace

const char* name_of(Call call) {
    constexpr const char* kNames[] = {"gather", "broadcast", "barrier", "leave"};
    return kNames[size_t(call)];
}

Side::Side(const Place& place, const Meeting& meeting, Met met, Outcome outcome)
    : place_(place),
      meeting_(meeting),
      met_(std::move(met)),
      outcome_(std::move(outcome)),
      heard_(met_.lines.size(), seconds_now()) {}

void Side::add_polls(std::vector<pollfd>& polls) const {
    for (const auto& line : met_.lines) {
        const int events = line && line->has_more_to_send() ? POLLIN | POLLOUT : POLLIN;
        polls.push_back({.fd = line ? line->fd() : -1, .events = short(events), .revents = 0});
    }
}

void Side::serve(const pollfd* polls) {
    for (size_t peer = 0; peer < met_.lines.size(); peer++) {
        if (polls[peer].revents & POLLOUT) met_.lines[peer]->flush();
        if (polls[peer].revents & ~POLLOUT) receive(int(peer));
    }
}

void Side::receive(int peer) {
    auto& line = met_.lines[size_t(peer)];
    heard_[size_t(peer)] = seconds_now();
    bool open = line->receive();
    try {
        while (const auto frame = line->next()) handle(peer, *frame);
    } catch (const Malformed&) {
        if (watching()) lost(peer, "has sent what no rank of this program sends");
        open = false;
    }
    if (open) return;
    line.reset();
    if (watching()) lost(peer, "has ended");
}

void Side::send(int peer, Kind kind, std::string_view body) {
    if (const auto& line = met_.lines[size_t(peer)]) line->send(kind, body);
}

void Side::beat(int64_t progress, double now) {
    const Packer body = std::move(Packer().add(progress));
    for (size_t peer = 0; peer < met_.lines.size(); peer++) send(int(peer), Kind::alive, body.body());
    for (size_t peer = 0; peer < met_.lines.size() && watching(); peer++)
        if (met_.lines[peer] && now > heard_[peer] + meeting_.silence)
            lost(int(peer), str("has not been heard of for ", meeting_.silence, " s"));
    if (watching()) judge(progress, now);
}

void Side::forgive(double seconds) {
    for (double& heard : heard_) heard += seconds;
}

void Side::close() {
    for (const auto& line : met_.lines)
        if (line) line->end_sending();
    // Rank 0's last word has come, and waits for nothing from here.
    if (place_.rank != 0 && left_) return;
    for (const double end = seconds_now() + kCloseWithin; seconds_now() < end;) {
        std::vector<pollfd> polls;
        add_polls(polls);
        if (std::all_of(polls.begin(), polls.end(), [](const pollfd& one) { return one.fd < 0; })) return;
        poll(polls.data(), polls.size(), 50);
        for (size_t peer = 0; peer < polls.size(); peer++)
            if (polls[peer].revents & ~POLLOUT && !met_.lines[peer]->receive()) met_.lines[peer].reset();
    }
}

}  // namespace ranks
