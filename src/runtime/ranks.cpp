#include "runtime/ranks.h"

#include "runtime/build.h"
#include "runtime/device.h"

Ranks::Ranks(const Place& place, const Meeting& meeting, Device device) : place_(place) {
    if (place.size == 1 && place.starter != kOwnStarter) return;
    if (device == Device::cpu)
        USAGE_CHECK(kBuiltWithMpi, "several processes on CPUs need MPI, and this binary was built without: install ",
                    "libopenmpi-dev and build again");
    else
        USAGE_CHECK(kBuiltWithNccl, "several GPUs need NCCL, and this binary was built without its header, nccl.h");
    control_ = std::make_unique<Control>(place, meeting);
    if (device == Device::cpu) {
        if constexpr (kBuiltWithMpi) transport_ = mpi_transport(place, *control_);
    } else {
        if constexpr (kBuiltWithNccl) transport_ = nccl_transport(place, *control_);
    }
    control_->on_failure([this] { transport_->abort(); });
}

Ranks::~Ranks() {
    if (control_) control_->on_failure({});
}

std::vector<std::string> Ranks::gather(const std::string& mine) const {
    return alone() ? std::vector{mine} : control_->gather(mine);
}

std::string Ranks::broadcast(const std::string& of_the_first) const {
    return alone() ? of_the_first : control_->broadcast(of_the_first);
}

void Ranks::barrier() const {
    if (!alone()) control_->barrier();
}

void Ranks::note_progress() const {
    if (!alone()) control_->note(++progress_);
}

void Ranks::check() const {
    if (!alone()) control_->check();
}

bool Ranks::fail(const std::string& message, int exit_code) const noexcept {
    return alone() || control_->fail(message, exit_code);
}

void Ranks::leave() const {
    if (!alone()) control_->leave();
}
