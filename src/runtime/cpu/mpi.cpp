// Tensors between processes on CPUs, by MPI. Nothing waits in MPI itself: a wait looks, now and again, whether another
// rank has failed.
#include <mpi.h>
#include <sched.h>

#include <climits>
#include <vector>

#include "runtime/ranks.h"

namespace {

std::string error_text(int status) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(status, text, &length);
    return {text, size_t(length)};
}

#define MPI_CHECK(call)                                                                       \
    do {                                                                                      \
        const int mpi_status = (call);                                                        \
        if (mpi_status != MPI_SUCCESS) FAIL(#call, ": MPI reports ", error_text(mpi_status)); \
    } while (0)

// A count of MPI is an int: longer messages go as several.
constexpr int64_t kLongest = int64_t(1) << 30;

class Mpi : public Transport {
  public:
    Mpi(const Place& place, const Control& control) : control_(control), rank_(place.rank), size_(place.size) {
        int given = 0;
        MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given));
        CHECK(given >= MPI_THREAD_SERIALIZED, "this MPI can't be called from two threads in turn");
        MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
        int rank = 0, size = 0;
        MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
        MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &size));
        USAGE_CHECK(rank == rank_ && size == size_, "MPI says that this is rank ", rank, " of ", size,
                    ", the environment says rank ", rank_, " of ", size_,
                    ": start processes on CPUs with the mpirun of the MPI that the program was built with");
        // As many as an exchange or an all-gather has under way.
        requests_.resize(2 * size_t(size_));
    }
    // After a failure the others may not come to MPI's end, which would wait for them.
    ~Mpi() override {
        if (!control_.failed()) MPI_Finalize();
    }

    void exchange(const Exchange& e) override {
        int n = 0;
        const int64_t own = e.count(rank_);
        CHECK(e.sent.cols * int64_t(dtype_size(e.sent.dtype)) <= kLongest, "a part of ", e.sent.cols,
              " elements is too long for one message");
        // Each rank begins with the one after it, so that not all send to one.
        for (int k = 1; k < size_; k++) {
            const int to = (rank_ + k) % size_, from = (rank_ - k + size_) % size_;
            if (own > 0)
                MPI_CHECK(MPI_Irecv(e.received.row_range(from, 1).data, int(bytes(own, e.received)), MPI_BYTE, from, 0,
                                    MPI_COMM_WORLD, &requests_[size_t(n++)]));
            if (e.count(to) > 0)
                MPI_CHECK(MPI_Isend(e.sent.row_range(to, 1).data, int(bytes(e.count(to), e.sent)), MPI_BYTE, to, 0,
                                    MPI_COMM_WORLD, &requests_[size_t(n++)]));
        }
        wait(n);
    }

    void all_gather(const Tensor& whole, const Division& division, const Tensor& /*staging*/) override {
        const int64_t n = whole.size(), most = kLongest / int64_t(dtype_size(whole.dtype));
        char* const data = static_cast<char*>(whole.data);
        for (int64_t done = 0; done < std::min(division.share, n); done += most) {
            int requests = 0;
            const auto part = [&](int q) {
                const ElementRange range = division.range(q, n);
                const int64_t first = std::min(done, range.count);
                return ElementRange{range.first + first, std::min(most, range.count - first)};
            };
            for (int k = 1; k < size_; k++) {
                const int to = (rank_ + k) % size_, from = (rank_ - k + size_) % size_;
                if (const auto [first, count] = part(from); count > 0)
                    MPI_CHECK(MPI_Irecv(data + bytes(first, whole), int(bytes(count, whole)), MPI_BYTE, from, 1,
                                        MPI_COMM_WORLD, &requests_[size_t(requests++)]));
                if (const auto [first, count] = part(rank_); count > 0)
                    MPI_CHECK(MPI_Isend(data + bytes(first, whole), int(bytes(count, whole)), MPI_BYTE, to, 1,
                                        MPI_COMM_WORLD, &requests_[size_t(requests++)]));
            }
            wait(requests);
        }
    }

    void all_reduce(const Tensor& sums) override {
        CHECK(sums.size() < INT_MAX, sums.size(), " sums are too many for one message");
        MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, sums.get<int32_t>(), int(sums.size()), MPI_INT32_T, MPI_SUM,
                                 MPI_COMM_WORLD, requests_.data()));
        wait(1);
    }

    void abort() override {}  // waits end by themselves

  private:
    static int64_t bytes(int64_t count, const Tensor& t) { return count * int64_t(dtype_size(t.dtype)); }

    void wait(int requests) {
        for (int done = 0; !done;) {
            MPI_CHECK(MPI_Testall(requests, requests_.data(), &done, MPI_STATUSES_IGNORE));
            if (done) return;
            control_.check();
            sched_yield();  // the others may need this core
        }
    }

    const Control& control_;
    const int rank_, size_;
    std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Transport> mpi_transport(const Place& place, const Control& control) {
    return std::make_unique<Mpi>(place, control);
}
