// Mistakes with NCCL, in programs of two or three processes. One program has no mistake.
#include <nccl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "test/cuda_on_cpu/planted_bugs/bugs.h"

namespace {

constexpr int kN = 1000;

// Ends the program at an error that NCCL reports, as a careful program does.
void check(ncclResult_t result) {
    if (result == ncclSuccess) return;
    printf("NCCL error: %s\n", ncclGetErrorString(result));
    fflush(stdout);
    _Exit(3);
}

struct Rank {
    int rank, ranks;
    ncclUniqueId id;
    ncclComm_t join(int device) const {
        ncclComm_t comm;
        check(cudaSetDevice(device));
        check(ncclCommInitRank(&comm, ranks, id, rank));
        return comm;
    }
    ncclComm_t join() const { return join(rank); }
};

// Runs the body in that many processes. Once one has failed, which leaves others waiting, all are ended.
void in_ranks(int ranks, void (*body)(const Rank&)) {
    setenv("EXECUTOR_CAPABILITY", "9.0,9.0,9.0", 1);
    ncclUniqueId id;
    check(ncclGetUniqueId(&id));
    std::vector<pid_t> processes;
    for (int rank = 0; rank < ranks; rank++) {
        const pid_t process = fork();
        if (process == 0) {
            body({rank, ranks, id});
            exit(0);
        }
        processes.push_back(process);
    }
    int failed = 0, status;
    for (pid_t process; (process = wait(&status)) > 0;) {
        if (status == 0) continue;
        if (!failed) failed = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        for (pid_t other : processes)
            if (other != process) kill(other, SIGKILL);
    }
    if (failed) _Exit(failed);
}
template <void (*body)(const Rank&)>
void in_two_ranks() {
    in_ranks(2, body);
}
template <void (*body)(const Rank&)>
void in_three_ranks() {
    in_ranks(3, body);
}

__global__ void add_one_kernel(float* out, const float* x, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] + 1.0f;
}
void add_one(float* out, const float* x, cudaStream_t stream) {
    launch(add_one_kernel, (kN + 63) / 64, 64, 0, stream, out, x, kN);
    check(cudaGetLastError());
}
float one(int) { return 1.0f; }
void sum(const Buffer& from, const Buffer& to, int n, ncclComm_t comm, cudaStream_t stream) {
    check(ncclAllReduce(from.data, to.data, size_t(n), ncclFloat, ncclSum, comm, stream));
}

// ---- ranks that do not agree -------------------------------------------------------------------------------------

void sums_of_other_counts(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one), out(kN);
    sum(x, out, kN - r.rank, comm, stream);
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void sums_of_other_types(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one);
    check(ncclAllReduce(x.data, x.data, kN, r.rank ? ncclFloat : ncclInt32, ncclSum, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void calls_in_another_order(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one), y(2 * kN, one);
    if (r.rank == 0) sum(x, x, kN, comm, stream);
    check(ncclAllGather(x.data, y.data, kN, ncclFloat, comm, stream));
    if (r.rank == 1) sum(x, x, kN, comm, stream);
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void other_roots(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one);
    check(ncclBroadcast(x.data, x.data, kN, ncclFloat, r.rank, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void send_of_more_than_is_received(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one);
    check(r.rank ? ncclSend(x.data, kN, ncclFloat, 0, comm, stream)
                 : ncclRecv(x.data, kN - 1, ncclFloat, 1, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
// Small messages might get through on a GPU.
void both_send_first(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one), y(kN);
    check(ncclSend(x.data, kN, ncclFloat, 1 - r.rank, comm, stream));
    check(ncclRecv(y.data, kN, ncclFloat, 1 - r.rank, comm, stream));
    for (int polls = 0; cudaStreamQuery(stream) == cudaErrorNotReady; polls++) {
        expect(polls < 300);  // it hangs
        usleep(1000);
    }
    check(ncclCommDestroy(comm));
}

// ---- buffers -----------------------------------------------------------------------------------------------------

void send_buffer_overwritten(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream, other;
    Buffer x(kN, one), out(kN);
    sum(x, out, kN, comm, stream);
    check(cudaMemsetAsync(x.data, 0, kN * sizeof(float), other));
    other.synchronize();
    stream.synchronize();
    out.expect_values(kN, [](int) { return 2.0f; });
    check(ncclCommDestroy(comm));
}
void receive_buffer_read_too_early(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream, other;
    Buffer x(kN, one), out(kN), more(kN);
    sum(x, out, kN, comm, stream);
    add_one(more.data, out.data, other);
    other.synchronize();
    stream.synchronize();
    more.expect_values(kN, [](int) { return 3.0f; });
    check(ncclCommDestroy(comm));
}
void host_pointer_to_nccl(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer out(kN);
    const std::vector<float> host(kN, 1.0f);
    check(ncclAllReduce(host.data(), out.data, kN, ncclFloat, ncclSum, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void receive_beyond_an_allocation(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one), all(kN);  // of both ranks
    check(ncclAllGather(x.data, all.data, kN, ncclFloat, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void overlapping_buffers(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN + 1, one);
    check(ncclAllReduce(x.data, x.data + 1, kN, ncclFloat, ncclSum, comm, stream));
    stream.synchronize();
    check(ncclCommDestroy(comm));
}
void sum_taken_in_the_order_of_ranks(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    const auto operand = [](int rank, int i) { return std::sin(float((i + 1) * (rank + 1))); };
    Buffer x(kN, [&](int i) { return operand(r.rank, i); });
    sum(x, x, kN, comm, stream);
    stream.synchronize();
    x.expect_values(kN, [&](int i) { return operand(0, i) + operand(1, i) + operand(2, i); });
    check(ncclCommDestroy(comm));
}

// ---- communicators -----------------------------------------------------------------------------------------------

void two_ranks_on_one_device(const Rank& r) {
    const ncclComm_t comm = r.join(0);
    check(ncclCommDestroy(comm));
}
void call_after_abort(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one);
    check(ncclCommAbort(comm));
    (void)ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream);
}
void graph_launch_after_destroy(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream stream;
    Buffer x(kN, one);
    Graph graph(stream, [&] { sum(x, x, kN, comm, stream); });
    graph.launch(stream);
    check(ncclCommDestroy(comm));
    graph.launch(stream);
    stream.synchronize();
}
void communicator_never_destroyed(const Rank& r) { r.join(); }
void call_in_progress_taken_to_be_made(const Rank& r) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm;
    check(cudaSetDevice(r.rank));
    ncclResult_t result = ncclCommInitRankConfig(&comm, r.ranks, r.id, r.rank, &config);
    while (result == ncclInProgress) check(ncclCommGetAsyncError(comm, &result));
    check(result);
    Stream stream;
    Buffer x(kN, one), out(kN);
    result = ncclAllReduce(x.data, out.data, kN, ncclFloat, ncclSum, comm, stream);
    expect(result == ncclInProgress);
    add_one(x.data, out.data, stream);
    while (result == ncclInProgress) check(ncclCommGetAsyncError(comm, &result));
    stream.synchronize();
    x.expect_values(kN, [](int) { return 3.0f; });
    check(ncclCommDestroy(comm));
}

void nothing_wrong(const Rank& r) {
    const ncclComm_t comm = r.join();
    Stream compute, communication;
    Event before, after;
    Buffer x(kN, one), y(kN, one), z(kN);
    const auto work = [&] {
        add_one(x.data, x.data, compute);
        before.record(compute);
        before.wait(communication);
        sum(x, x, kN, comm, communication);
        add_one(y.data, y.data, compute);
        after.record(communication);
        after.wait(compute);
        add_one(x.data, x.data, compute);
    };
    Graph graph(compute, work);
    for (int i = 0; i < 2; i++) graph.launch(compute);
    work();
    check(ncclGroupStart());
    check(ncclSend(x.data, kN, ncclFloat, (r.rank + 1) % r.ranks, comm, compute));
    check(ncclRecv(z.data, kN, ncclFloat, (r.rank + r.ranks - 1) % r.ranks, comm, compute));
    check(ncclGroupEnd());
    compute.synchronize();
    z.expect_values(kN, [](int) { return 29.0f; });  // x -> 2 (x + 1) + 1, three times
    y.expect_values(kN, [](int) { return 4.0f; });
    check(ncclCommDestroy(comm));
}

}  // namespace

std::vector<Bug> nccl_bugs() {
    return {
        {"sums of other counts", "all", in_two_ranks<sums_of_other_counts>},
        {"sums of other types", "all", in_two_ranks<sums_of_other_types>},
        {"calls in another order", "all", in_two_ranks<calls_in_another_order>},
        {"broadcasts of other roots", "all", in_two_ranks<other_roots>},
        {"send of more than is received", "all", in_two_ranks<send_of_more_than_is_received>},
        {"both send first, without a group", "all", in_two_ranks<both_send_first>},
        {"send buffer overwritten", "deferred", in_two_ranks<send_buffer_overwritten>},
        {"receive buffer read too early", "deferred", in_two_ranks<receive_buffer_read_too_early>},
        {"host pointer to NCCL", "all", in_two_ranks<host_pointer_to_nccl>},
        {"receive beyond an allocation", "all", in_two_ranks<receive_beyond_an_allocation>},
        {"overlapping buffers", "all", in_two_ranks<overlapping_buffers>},
        {"sum taken in the order of ranks", "all", in_three_ranks<sum_taken_in_the_order_of_ranks>},
        {"two ranks on one device", "all", in_two_ranks<two_ranks_on_one_device>},
        {"call after abort", "all", in_two_ranks<call_after_abort>},
        {"graph launch after destroy", "all", in_two_ranks<graph_launch_after_destroy>},
        {"communicator never destroyed", "all", in_two_ranks<communicator_never_destroyed>},
        {"call in progress taken to be made", "all", in_two_ranks<call_in_progress_taken_to_be_made>},
        {"none of them, in ranks", "", in_two_ranks<nothing_wrong>},
    };
}
