#include "checkpoint/saver.h"

#include <omp.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "checkpoint/checkpoint.h"
#include "runtime/clock.h"

std::optional<Saved> Saver::write(const HeldFolder& folder, const RunState& state,
                                  const std::vector<Parameter*>& parameters, const Whole& whole) const {
    const double start = seconds_now();
    const std::string place = folder.place();
    if (place.empty()) return {};
    Saved saved{.step = state.step};
    try {
        saved.folder = write_checkpoint(place, state, parameters, whole);
    } catch (const Error&) {
        // The folder may be on its way to another name, or be removed file by file.
        std::this_thread::sleep_for(std::chrono::seconds(1));
        if (folder.place() == place) throw;
        return {};
    }
    remove_old(folder.place(), keep_);
    saved.written = seconds_now() - start;
    return saved;
}

void Saver::save(const HeldFolder* folder, const RunState& state, const std::vector<Parameter*>& parameters,
                 const Whole& whole, bool beside) {
    if (!ranks_.first()) return gather_for_first(parameters, whole);
    const double start = seconds_now();
    wait();
    std::string why_paused;
    if (beside) try {
            snapshot_.prepare(parameters);
        } catch (const OutOfMemory& error) {
            why_paused = error.what();
            beside = false;
        }
    if (!beside) {
        if (auto saved = write(*folder, state, parameters, whole)) {
            saved->paused = seconds_now() - start;
            saved->why_paused = why_paused;
            written_.push(*saved);
        }
        return;
    }
    const double copying = seconds_now();
    snapshot_.take(parameters, whole);
    copied_ = seconds_now() - copying;
    writing_ = std::async(std::launch::async, [this, folder, state] {
        // The cores are the training's, whose threads all wait for the slowest.
        omp_set_num_threads(1);
        setpriority(PRIO_PROCESS, 0, 10);  // of this thread alone
        return write(*folder, state, snapshot_.parameters(), Whole());
    });
    paused_ = seconds_now() - start;
}

void Saver::collect() {
    auto saved = writing_.get();
    if (!saved) return;
    saved->copied = copied_;
    saved->paused = paused_;
    written_.push(*saved);
}

std::optional<Saved> Saver::finished() {
    if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) collect();
    if (written_.empty()) return {};
    Saved saved = written_.front();
    written_.pop();
    return saved;
}

void Saver::wait() {
    if (!writing_.valid()) return;
    // The other ranks wait for this one.
    while (writing_.wait_for(std::chrono::seconds(1)) != std::future_status::ready) ranks_.note_progress();
    collect();
}
