#include "runtime/transfers.h"

#include "runtime/backend.h"

namespace device {
namespace {

void check_transfer(const char* what, const Tensor& t, Device device, size_t bytes) {
    check_contiguous(t);
    CHECK(t.bytes() <= bytes && t.device == device, what, " of ", t.bytes(), " bytes was prepared for ", bytes,
          " or for another device");
}

// Slot of the `number`-th use of all slots in turn, which has to be one of the last `count` of them.
size_t recent_slot(const char* what, int64_t number, int64_t count) {
    CHECK(number >= 0 && number < count && number + int64_t(kSlots) >= count, what, " ", number, " of ", count,
          " was asked for; only the last ", kSlots, " are kept");
    return size_t(number) % kSlots;
}

}  // namespace

// ---- up ----------------------------------------------------------------------------------------------------------

Upload::Upload() = default;
Upload::~Upload() = default;

void Upload::prepare(Device device, size_t bytes) {
    release();
    device_ = device;
    bytes_ = bytes;
    for (auto& slot : slots_) slot = backend(device).upload_slot(bytes);
}

void Upload::release() { slots_ = {}; }

void* Upload::host() {
    CHECK(slots_[next_], "an upload was not prepared");
    return slots_[next_]->host();
}

void Upload::send(const Tensor& to) {
    check_transfer("an upload", to, device_, bytes_);
    slots_[next_]->send(to);
    next_ = (next_ + 1) % kSlots;
}

// ---- down --------------------------------------------------------------------------------------------------------

Download::Download() = default;
Download::~Download() = default;

void Download::prepare(Device device, size_t bytes) {
    release();
    device_ = device;
    bytes_ = bytes;
    for (auto& slot : slots_) slot = backend(device).download_slot(bytes);
}

void Download::release() {
    slots_ = {};
    started_ = 0;
}

int64_t Download::start(const Tensor& from) {
    check_transfer("a download", from, device_, bytes_);
    slots_[size_t(started_) % kSlots]->start(from);
    return started_++;
}

const void* Download::get(int64_t number) { return slots_[recent_slot("download", number, started_)]->get(); }

// ---- time --------------------------------------------------------------------------------------------------------

Stopwatch::Stopwatch() = default;
Stopwatch::~Stopwatch() = default;

void Stopwatch::prepare(Device device) {
    release();
    for (auto& slot : slots_) slot = backend(device).interval();
}

void Stopwatch::release() {
    slots_ = {};
    ended_ = 0;
}

void Stopwatch::begin() {
    CHECK(slots_[0], "a stopwatch was not prepared");
    slots_[size_t(ended_) % kSlots]->begin();
}
void Stopwatch::end() { slots_[size_t(ended_++) % kSlots]->end(); }
double Stopwatch::seconds(int64_t number) const { return slots_[recent_slot("interval", number, ended_)]->seconds(); }

// ---- beside ------------------------------------------------------------------------------------------------------

Side::Side() = default;
Side::~Side() = default;

void Side::prepare(Device device) { work_ = backend(device).side(); }

void Side::run(const std::function<void()>& work) {
    CHECK(work_, "work beside the main one was not prepared");
    work_->run(work);
}
void Side::join() { work_->join(); }

// ---- graphs ------------------------------------------------------------------------------------------------------

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&& other) noexcept = default;

void Graph::run(Device device, const std::function<void()>& launches) {
    if (!replay_) replay_ = backend(device).replay();
    replay_->run(launches);
}

void Graph::forget() { replay_.reset(); }

}  // namespace device
