#include "runtime/ranks/control.h"

#include "runtime/ranks/meeting.h"
#include "runtime/ranks/watch.h"

using ranks::Call;

Control::Control(const Place& place, const Meeting& meeting) : place_(place) {
    if (place.size == 1) return;
    const auto meet = place.rank == 0 ? ranks::meet_as_host : ranks::meet_as_guest;
    watch_ = std::make_unique<ranks::Watch>(place_, meeting, meet(place_, meeting));
}

Control::~Control() = default;

std::vector<std::string> Control::gather(const std::string& mine) {
    return watch_ ? watch_->call(Call::gather, mine) : std::vector{mine};
}

std::string Control::broadcast(const std::string& rank_0s) {
    if (!watch_) return rank_0s;
    return watch_->call(Call::broadcast, place_.rank == 0 ? rank_0s : std::string()).at(0);
}

void Control::barrier() {
    if (watch_) watch_->call(Call::barrier, {});
}

void Control::leave() {
    if (watch_) watch_->call(Call::leave, {});
}

void Control::note(int64_t progress) {
    if (watch_) watch_->note(progress);
}

void Control::on_failure(std::function<void()> end_waits) {
    if (watch_) watch_->on_failure(std::move(end_waits));
}

bool Control::failed() const { return watch_ && watch_->failed(); }

void Control::check() const {
    if (watch_) watch_->check(0);
}

void Control::check_soon() const {
    if (watch_) watch_->check(kNoticedWithin);
}

bool Control::fail(const std::string& message, int exit_code) noexcept {
    try {
        return !watch_ || watch_->fail(message, exit_code);
    } catch (...) {
        return true;
    }
}
