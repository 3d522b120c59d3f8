// Tensors between GPUs, by NCCL: on gpu::stream(), and captured with what else goes there.
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "runtime/cuda/gpu.h"
#include "runtime/ranks.h"

namespace {

constexpr std::chrono::seconds kBeforeAbort{1};

ncclDataType_t type_of(DType type) {
    return type == DType::bf16 ? ncclBfloat16 : type == DType::f32 ? ncclFloat32 : ncclInt32;
}

class Nccl : public Transport {
  public:
    Nccl(const Place& place, Control& control) : control_(control), rank_(place.rank), size_(place.size) {
        ncclUniqueId id{};
        if (rank_ == 0) check("ncclGetUniqueId", ncclGetUniqueId(&id));
        const std::string shared = control.broadcast(rank_ == 0 ? std::string(id.internal, sizeof id.internal) : "");
        CHECK(shared.size() == sizeof id.internal, "rank 0 sent ", shared.size(), " bytes as NCCL's id");
        std::memcpy(id.internal, shared.data(), shared.size());
        // Calls return when their work is launched, by the thread that captures it.
        once("ncclCommInitRank", [&] { return ncclCommInitRank(&communicator_, size_, id, rank_); });
        watch_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
    }
    ~Nccl() override {
        watch_.request_stop();
        watch_.join();
        const std::lock_guard<std::timed_mutex> lock(mutex_);
        if (!communicator_) return;
        if (control_.failed()) {
            ncclCommAbort(communicator_);
            return;
        }
        ncclCommFinalize(communicator_);
        ncclCommDestroy(communicator_);
    }

    void exchange(const Exchange& e) override {
        const int64_t own = e.count(rank_);
        group([&] {
            for (int k = 1; k < size_; k++) {
                const int to = (rank_ + k) % size_, from = (rank_ - k + size_) % size_;
                if (e.count(to) > 0)
                    check("ncclSend", ncclSend(e.sent.row_range(to, 1).data, size_t(e.count(to)), type_of(e.sent.dtype),
                                               to, communicator_, gpu::stream()));
                if (own > 0)
                    check("ncclRecv", ncclRecv(e.received.row_range(from, 1).data, size_t(own),
                                               type_of(e.received.dtype), from, communicator_, gpu::stream()));
            }
        });
    }

    void all_gather(const Tensor& whole, const Division& division, const Tensor& staging) override {
        if (division.offset != 0 || staging.empty()) return send_to_all(whole, division);
        const int64_t n = whole.size(), bytes = int64_t(dtype_size(whole.dtype));
        const ncclDataType_t type = type_of(whole.dtype);
        char* const data = static_cast<char*>(whole.data);
        if (division.share * size_ == n)
            return once("ncclAllGather", [&] {
                return ncclAllGather(data + rank_ * division.share * bytes, data, size_t(division.share), type,
                                     communicator_, gpu::stream());
            });
        // The last shares are short: parts of equal length go by way of the staging memory.
        const int64_t most = int64_t(staging.bytes()) / bytes / size_ / 64 * 64;
        CHECK(most > 0, "memory of ", staging.bytes(), " bytes is too little for ", size_, " ranks");
        char* const staged = static_cast<char*>(staging.data);
        for (int64_t done = 0; done < division.share; done += most) {
            const int64_t count = std::min(most, division.share - done);
            const auto left = [&](int q) { return std::clamp<int64_t>(division.range(q, n).count - done, 0, count); };
            const auto place = [&](int q) { return data + (q * division.share + done) * bytes; };
            if (left(rank_) > 0)
                CUDA_CHECK(cudaMemcpyAsync(staged + rank_ * count * bytes, place(rank_), size_t(left(rank_) * bytes),
                                           cudaMemcpyDeviceToDevice, gpu::stream()));
            once("ncclAllGather", [&] {
                return ncclAllGather(staged + rank_ * count * bytes, staged, size_t(count), type, communicator_,
                                     gpu::stream());
            });
            int full = 0;
            while (full < size_ && left(full) == count) full++;
            if (full > 0)
                CUDA_CHECK(cudaMemcpy2DAsync(place(0), size_t(division.share * bytes), staged, size_t(count * bytes),
                                             size_t(count * bytes), size_t(full), cudaMemcpyDeviceToDevice,
                                             gpu::stream()));
            if (full < size_ && left(full) > 0)
                CUDA_CHECK(cudaMemcpyAsync(place(full), staged + full * count * bytes, size_t(left(full) * bytes),
                                           cudaMemcpyDeviceToDevice, gpu::stream()));
        }
    }

    void all_reduce(const Tensor& sums) override {
        once("ncclAllReduce", [&] {
            return ncclAllReduce(sums.data, sums.data, size_t(sums.size()), ncclInt32, ncclSum, communicator_,
                                 gpu::stream());
        });
    }

    void abort() override {
        // A main thread that waits for nothing finds out by itself, and must not launch what is gone.
        std::this_thread::sleep_for(kBeforeAbort);
        // It may be stuck in a call, which this is to end.
        const std::unique_lock lock(mutex_, kBeforeAbort);
        if (!communicator_ || std::exchange(aborted_, true)) return;
        ncclCommAbort(std::exchange(communicator_, nullptr));
    }

  private:
    // Parts of a tensor that begin anywhere, for checkpoints and resets.
    void send_to_all(const Tensor& whole, const Division& division) {
        const int64_t n = whole.size(), bytes = int64_t(dtype_size(whole.dtype));
        char* const data = static_cast<char*>(whole.data);
        group([&] {
            for (int q = 0; q < size_; q++)
                if (const auto [first, count] = division.range(q, n); count > 0)
                    check("ncclBroadcast", ncclBroadcast(data + first * bytes, data + first * bytes, size_t(count),
                                                         type_of(whole.dtype), q, communicator_, gpu::stream()));
        });
    }

    template <class Calls>
    void group(const Calls& calls) {
        once("ncclGroupEnd", [&] {
            check("ncclGroupStart", ncclGroupStart());
            calls();
            return ncclGroupEnd();
        });
    }
    template <class Call>
    void once(const char* name, const Call& call) {
        const std::lock_guard<std::timed_mutex> lock(mutex_);
        still_there();
        check(name, call());
    }
    void still_there() const {
        control_.check();
        CHECK(!aborted_, "NCCL's communicator has been aborted");
    }
    void check(const char* call, ncclResult_t status) const {
        if (status == ncclSuccess) return;
        control_.check_soon();  // another rank's end is the better message
        FAIL(call, ": NCCL reports ", ncclGetErrorString(status), ": ", ncclGetLastError(communicator_));
    }

    // Looks for errors that NCCL reports by and by.
    void watch(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
            const std::unique_lock lock(mutex_, std::try_to_lock);
            if (!lock || !communicator_) continue;
            ncclResult_t status = ncclSuccess;
            if (ncclCommGetAsyncError(communicator_, &status) != ncclSuccess || status == ncclSuccess ||
                status == ncclInProgress)
                continue;
            control_.fail(str("NCCL reports ", ncclGetErrorString(status), ": ", ncclGetLastError(communicator_)), 1);
            return;
        }
    }

    Control& control_;
    const int rank_, size_;
    ncclComm_t communicator_ = nullptr;
    bool aborted_ = false;
    std::timed_mutex mutex_;  // held while the communicator is called
    std::jthread watch_;
};

}  // namespace

std::unique_ptr<Transport> nccl_transport(const Place& place, Control& control) {
    return std::make_unique<Nccl>(place, control);
}
