#include "dev/cuda_on_cpu/nccl/communicator.h"

#include <unistd.h>

#include <utility>

#include "dev/cuda_on_cpu/nccl/operation.h"

namespace nccl {

using Clock = std::chrono::steady_clock;

// ---- errors ------------------------------------------------------------------------------------------------------

namespace {

thread_local std::string last_error_text;

}  // namespace

ncclResult_t failed(ncclResult_t code, const std::string& text) {
    last_error_text = text;
    return code;
}
ncclResult_t refuse(ncclResult_t code, const std::string& text) {
    executor::complain(text);
    return failed(code, text);
}
const char* last_error() { return last_error_text.c_str(); }

// ---- the beginning -----------------------------------------------------------------------------------------------

ncclResult_t Communicator::connect(const Process& maker) {
    const auto broken = [this](ncclResult_t error, const std::string& text) {
        error_ = error;
        error_text_ = text;
        phase_ = Phase::broken;
        shared_.reset();  // the others learn that this rank does not come
        return error;
    };
    const auto look = [&]() -> ncclResult_t {
        const std::unique_lock held = lock();
        if (aborted_) return ncclRemoteError;
        if (!shared_) shared_ = std::make_unique<Shared>(name, ranks, rank, device);
        if (!shared_->problem().empty()) return broken(ncclSystemError, shared_->problem());
        if (const std::string why = shared_->refused(); !why.empty()) {
            executor::complain(why);
            return broken(ncclInvalidUsage, why);
        }
        if (shared_->everyone_came()) {
            phase_ = Phase::ready;
            return ncclSuccess;
        }
        if (const std::string why = shared_->broken(); !why.empty()) return broken(ncclRemoteError, why);
        if (!maker.alive()) return broken(ncclSystemError, "the process that made the unique id has ended");
        return ncclInProgress;
    };
    ncclResult_t result;
    while ((result = look()) == ncclInProgress) usleep(1000);
    return result == ncclSuccess ? result : failed(result, error_text_);
}

// ---- calls -------------------------------------------------------------------------------------------------------

ncclResult_t Communicator::ready(const char* function) {
    const std::string name = function;
    if (phase_ == Phase::finalizing || phase_ == Phase::finalized)
        return refuse(ncclInvalidArgument, name + " of a communicator that has been finalized");
    const std::lock_guard postponing(postponing_);
    if (phase_ == Phase::connecting || postponed_)
        return refuse(ncclInvalidArgument, name +
                                               " of a communicator before ncclCommGetAsyncError has said that what was "
                                               "called before is no longer in progress");
    const std::unique_lock held = lock();
    return phase_ == Phase::broken ? failed(error_, error_text_) : ncclSuccess;
}

ncclResult_t Communicator::submit(std::vector<Call> calls, cudaStream_t stream) {
    for (Call& call : calls) call.number = ++calls_;
    if (blocking) return enqueue(std::move(calls), stream);
    const std::lock_guard postponing(postponing_);
    postponed_ = std::make_unique<Postponed>(Postponed{std::move(calls), stream});
    return ncclInProgress;
}

ncclResult_t Communicator::enqueue(std::vector<Call> calls, cudaStream_t stream) {
    const auto shared_calls = std::make_shared<const std::vector<Call>>(std::move(calls));
    const auto work = [self = shared_from_this(), shared_calls] {
        return executor::Step(
            [operation = std::make_shared<Operation>(self, shared_calls)] { return operation->step(); });
    };
    const cudaError_t error = executor::enqueue(stream, order, work);
    if (error == cudaSuccess) return ncclSuccess;
    return failed(ncclUnhandledCudaError,
                  std::string("the stream does not take the work: ") + cudaGetErrorString(error));
}

// The first question after a call finds it in progress still.
ncclResult_t Communicator::submit_postponed() {
    const std::lock_guard postponing(postponing_);
    if (!postponed_) return ncclSuccess;
    if (!std::exchange(postponed_->asked, true)) return ncclInProgress;
    const std::unique_ptr<Postponed> now = std::move(postponed_);
    return enqueue(std::move(now->calls), now->stream);
}

ncclResult_t Communicator::state() {
    if (phase_ == Phase::connecting) return ncclInProgress;
    if (const ncclResult_t result = submit_postponed(); result != ncclSuccess) return result;
    if (phase_ == Phase::finalizing) {
        if (executor::push_oldest(*order)) return ncclInProgress;
        phase_ = Phase::finalized;
    }
    const std::unique_lock held = lock();
    if (shared_ && phase_ != Phase::broken && Clock::now() - looked_ > std::chrono::milliseconds(2)) {
        looked_ = Clock::now();
        if (error_text_ = shared_->broken(); !error_text_.empty()) {
            error_ = ncclRemoteError;
            phase_ = Phase::broken;
        }
    }
    if (phase_ == Phase::broken) return failed(error_, error_text_);
    return ncclSuccess;
}

void Communicator::serve(std::chrono::milliseconds patience) {
    {
        const std::unique_lock held = lock();
        const bool demanded = shared_ && shared_->demanded();
        if (!demanded || std::exchange(seen_finished_, finished) != finished) demanded_since_ = Clock::now();
        if (!demanded || Clock::now() - demanded_since_ < patience) return;
    }
    executor::push_oldest(*order);
}

// ---- the end -----------------------------------------------------------------------------------------------------

ncclResult_t Communicator::finalize() {
    if (const ncclResult_t result = ready("ncclCommFinalize"); result != ncclSuccess) return result;
    if (!blocking) {
        phase_ = Phase::finalizing;
        return ncclInProgress;
    }
    executor::finish(*order);
    phase_ = Phase::finalized;
    return ncclSuccess;
}

void Communicator::release(Shared::State how, const char* reason) {
    executor::close(*order, reason);
    const std::unique_lock held = lock();
    if (!shared_) return;
    shared_->leave(how);
    shared_.reset();
}
void Communicator::destroy() {
    while (submit_postponed() == ncclInProgress) {
    }
    executor::finish(*order);
    release(Shared::State::left, "a communicator that has been destroyed");
}
void Communicator::abort() {
    aborted_ = true;
    release(Shared::State::aborted, "a communicator that has been aborted");
}

}  // namespace nccl
