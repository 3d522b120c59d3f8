// What the calls of NCCL's stand-in compute, against formulas, and their order on streams and in graphs. These tests
// have to pass in every order, immediate and deferred. planted_bugs.sh has what must fail.
#include <unistd.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>

#include "test/cuda_on_cpu/nccl/ranks.h"

namespace {

namespace fs = std::filesystem;

// Numbers that are exact in every type, also where they are summed over ranks in any order.
struct Bf16 {
    uint16_t bits = 0;
    Bf16() = default;
    Bf16(int value) : bits(uint16_t(std::bit_cast<uint32_t>(float(value)) >> 16)) {}
    bool operator==(const Bf16&) const = default;
};
int value(int rank, size_t i) { return (rank + 1) * int(i % 7 + 1); }
int sum_of_values(int ranks, size_t i) { return ranks * (ranks + 1) / 2 * int(i % 7 + 1); }

template <class T>
constexpr ncclDataType_t kType = std::is_same_v<T, float>     ? ncclFloat32
                                 : std::is_same_v<T, Bf16>    ? ncclBfloat16
                                 : std::is_same_v<T, int32_t> ? ncclInt32
                                 : std::is_same_v<T, int8_t>  ? ncclInt8
                                                              : ncclUint8;
template <class T>
std::vector<T> values(int rank, size_t n) {
    std::vector<T> list;
    for (size_t i = 0; i < n; i++) list.push_back(T(value(rank, i)));
    return list;
}
template <class T>
void expect_sum(const std::vector<T>& result, size_t first, int ranks) {
    size_t wrong = 0;
    for (size_t i = 0; i < result.size(); i++) wrong += !(result[i] == T(sum_of_values(ranks, first + i)));
    EXPECT_EQ(wrong, 0u) << "of " << result.size();
}

// A number that crosses the channels' ring and the parts of a sum, and some that don't fill a part.
constexpr size_t kCounts[] = {1, 37, 1001, 600003};

class Nccl : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, Nccl, testing::Values(1, 2, 3, 4), testing::PrintToStringParamName());

// ---- collective calls --------------------------------------------------------------------------------------------

template <class T>
void sum_everywhere(const Rank& r, ncclComm_t comm, size_t n) {
    OwnStream stream;
    DeviceVector<T> in(values<T>(r.rank, n)), out(values<T>(9, n));
    EXPECT_EQ(ncclAllReduce(in.data, out.data, n, kType<T>, ncclSum, comm, stream), ncclSuccess);
    EXPECT_EQ(ncclAllReduce(in.data, in.data, n, kType<T>, ncclSum, comm, stream), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    expect_sum(out.read(), 0, r.ranks);
    expect_sum(in.read(), 0, r.ranks);
}
TEST_P(Nccl, AllReduceSums) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        for (size_t n : kCounts) {
            sum_everywhere<float>(r, comm, n);
            sum_everywhere<Bf16>(r, comm, n);
            sum_everywhere<int32_t>(r, comm, n);
        }
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

template <class T>
void sum_and_scatter(const Rank& r, ncclComm_t comm, size_t n) {
    OwnStream stream;
    DeviceVector<T> in(values<T>(r.rank, n * size_t(r.ranks))), out(values<T>(9, n));
    const size_t mine = n * size_t(r.rank);
    EXPECT_EQ(ncclReduceScatter(in.data, out.data, n, kType<T>, ncclSum, comm, stream), ncclSuccess);
    EXPECT_EQ(ncclReduceScatter(in.data, in.data + mine, n, kType<T>, ncclSum, comm, stream), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    expect_sum(out.read(), mine, r.ranks);
    const std::vector<T> all = in.read();
    expect_sum(std::vector<T>(all.begin() + long(mine), all.begin() + long(mine + n)), mine, r.ranks);
}
TEST_P(Nccl, ReduceScatterSums) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        for (size_t n : kCounts) {
            sum_and_scatter<float>(r, comm, n);
            sum_and_scatter<Bf16>(r, comm, n);
            sum_and_scatter<int32_t>(r, comm, n);
        }
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

template <class T>
void gather(const Rank& r, ncclComm_t comm, size_t n) {
    OwnStream stream;
    std::vector<T> expected;
    for (int rank = 0; rank < r.ranks; rank++)
        for (const T& x : values<T>(rank, n)) expected.push_back(x);
    DeviceVector<T> in(values<T>(r.rank, n)), out(values<T>(9, n * size_t(r.ranks))),
        place(values<T>(9, n * size_t(r.ranks)));
    T* const mine = place.data + n * size_t(r.rank);
    EXPECT_EQ(cudaMemcpyAsync(mine, in.data, n * sizeof(T), cudaMemcpyDeviceToDevice, stream), cudaSuccess);
    EXPECT_EQ(ncclAllGather(in.data, out.data, n, kType<T>, comm, stream), ncclSuccess);
    EXPECT_EQ(ncclAllGather(mine, place.data, n, kType<T>, comm, stream), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_TRUE(out.read() == expected);
    EXPECT_TRUE(place.read() == expected);
}
TEST_P(Nccl, AllGatherGathers) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        for (size_t n : kCounts) {
            gather<float>(r, comm, n);
            gather<Bf16>(r, comm, n);
            gather<uint8_t>(r, comm, n);
        }
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

TEST_P(Nccl, BroadcastCopiesTheRoots) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        OwnStream stream;
        for (size_t n : kCounts)
            for (int root = 0; root < r.ranks; root++) {
                DeviceVector<int8_t> in(values<int8_t>(r.rank, n)), out(values<int8_t>(9, n));
                EXPECT_EQ(ncclBroadcast(in.data, out.data, n, ncclInt8, root, comm, stream), ncclSuccess);
                EXPECT_EQ(ncclBroadcast(in.data, in.data, n, ncclInt8, root, comm, stream), ncclSuccess);
                EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
                EXPECT_TRUE(out.read() == values<int8_t>(root, n));
                EXPECT_TRUE(in.read() == values<int8_t>(root, n));
            }
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

// All ranks have the same bits, and they are the rounded sum of some order, but not of one order everywhere.
TEST_P(Nccl, SumsHaveTheSameBitsOnAllRanksAndNoFixedOrder) {
    if (GetParam() < 3) GTEST_SKIP() << "two operands have one order";
    in_every_rank(GetParam(), [](const Rank& r) {
        constexpr size_t n = 5000;
        const ncclComm_t comm = r.join();
        OwnStream stream;
        const auto operand = [](int rank, size_t i) { return std::sin(float(i + 1) * float(rank + 1)); };
        std::vector<float> mine(n);
        for (size_t i = 0; i < n; i++) mine[i] = operand(r.rank, i);
        DeviceVector<float> x(mine), all(std::vector<float>(n * size_t(r.ranks)));
        EXPECT_EQ(ncclAllReduce(x.data, x.data, n, ncclFloat, ncclSum, comm, stream), ncclSuccess);
        EXPECT_EQ(ncclAllGather(x.data, all.data, n, ncclFloat, comm, stream), ncclSuccess);
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        const std::vector<float> sums = all.read();
        size_t in_order = 0;
        for (size_t i = 0; i < n; i++) {
            float ascending = operand(0, i);
            for (int rank = 1; rank < r.ranks; rank++) ascending += operand(rank, i);
            in_order += sums[i] == ascending;
            EXPECT_NEAR(sums[i], ascending, 1e-5f);
            for (size_t rank = 1; rank < size_t(r.ranks); rank++) EXPECT_EQ(sums[i], sums[rank * n + i]);
        }
        EXPECT_LT(in_order, n);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

// ---- sends and receives ------------------------------------------------------------------------------------------

// Every rank sends to all, itself included; from nothing at all to more than the ring holds.
TEST_P(Nccl, AGroupExchangesUnevenMessages) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        const auto count = [](int from, int to) { return (from * 5 + to * 3) % 7 * size_t(40001); };
        OwnStream stream;
        std::vector<std::unique_ptr<DeviceVector<float>>> out, in;
        for (int peer = 0; peer < r.ranks; peer++) {
            out.push_back(
                std::make_unique<DeviceVector<float>>(values<float>(r.rank * 10 + peer, count(r.rank, peer))));
            in.push_back(std::make_unique<DeviceVector<float>>(zeros(count(peer, r.rank))));
        }
        EXPECT_EQ(ncclGroupStart(), ncclSuccess);
        for (int peer = 0; peer < r.ranks; peer++) {
            const auto &to = *out[size_t(peer)], &from = *in[size_t(peer)];
            EXPECT_EQ(ncclSend(to.data, to.n, ncclFloat, peer, comm, stream), ncclSuccess);
            EXPECT_EQ(ncclRecv(from.data, from.n, ncclFloat, peer, comm, stream), ncclSuccess);
        }
        EXPECT_EQ(ncclGroupEnd(), ncclSuccess);
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        for (int peer = 0; peer < r.ranks; peer++)
            EXPECT_TRUE(in[size_t(peer)]->read() == values<float>(peer * 10 + r.rank, count(peer, r.rank)));
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}
TEST_P(Nccl, MessagesOfAPairKeepTheirOrder) {
    if (GetParam() != 2) GTEST_SKIP() << "for two ranks";
    in_every_rank(2, [](const Rank& r) {
        const ncclComm_t comm = r.join();
        OwnStream stream;
        DeviceVector<int32_t> x(values<int32_t>(r.rank, 200000)), y(values<int32_t>(r.rank, 3));
        for (int repeat = 0; repeat < 3; repeat++) {
            EXPECT_EQ(ncclGroupStart(), ncclSuccess);
            for (const DeviceVector<int32_t>* each : {&x, &y})
                EXPECT_EQ(r.rank ? ncclSend(each->data, each->n, ncclInt32, 0, comm, stream)
                                 : ncclRecv(each->data, each->n, ncclInt32, 1, comm, stream),
                          ncclSuccess);
            EXPECT_EQ(ncclGroupEnd(), ncclSuccess);
        }
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        EXPECT_TRUE(x.read() == values<int32_t>(1, x.n));
        EXPECT_TRUE(y.read() == values<int32_t>(1, y.n));
        // Without a group one side sends first.
        EXPECT_EQ(r.rank ? ncclSend(x.data, x.n, ncclInt32, 0, comm, stream)
                         : ncclRecv(x.data, x.n, ncclInt32, 1, comm, stream),
                  ncclSuccess);
        EXPECT_EQ(r.rank ? ncclRecv(x.data, x.n, ncclInt32, 0, comm, stream)
                         : ncclSend(x.data, x.n, ncclInt32, 1, comm, stream),
                  ncclSuccess);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);  // waits for its work
        EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
    });
}

// ---- streams and graphs ------------------------------------------------------------------------------------------

__global__ void add_kernel(float* x, float value, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) x[i] += value;
}
constexpr int kN = 1000;
void add(const DeviceVector<float>& x, float value, cudaStream_t stream) {
    launch(add_kernel, (kN + 63) / 64, 64, 0, stream, x.data, value, kN);
}

TEST_P(Nccl, AGraphHoldsCallsOnAForkedStream) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        OwnStream compute, communication;
        OwnEvent fork, join;
        DeviceVector<float> x(zeros(kN)), y(zeros(kN));
        ASSERT_EQ(cudaStreamBeginCapture(compute, cudaStreamCaptureModeThreadLocal), cudaSuccess);
        add(x, 1, compute);
        cudaEventRecord(fork, compute);
        cudaStreamWaitEvent(communication, fork, 0);
        EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, communication), ncclSuccess);
        add(y, 1, compute);  // meanwhile
        cudaEventRecord(join, communication);
        cudaStreamWaitEvent(compute, join, 0);
        EXPECT_EQ(ncclAllReduce(y.data, y.data, kN, ncclFloat, ncclSum, comm, compute), ncclSuccess);
        add(x, 2, compute);
        cudaGraph_t graph;
        ASSERT_EQ(cudaStreamEndCapture(compute, &graph), cudaSuccess);
        cudaGraphExec_t executable;
        ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
        cudaGraphDestroy(graph);
        float expected_x = 0, expected_y = 0;
        for (int i = 0; i < 4; i++) {
            EXPECT_EQ(cudaGraphLaunch(executable, compute), cudaSuccess);
            EXPECT_EQ(ncclAllReduce(y.data, y.data, kN, ncclFloat, ncclSum, comm, compute), ncclSuccess);
            expected_x = (expected_x + 1) * float(r.ranks) + 2;
            expected_y = (expected_y + 1) * float(r.ranks) * float(r.ranks);
        }
        EXPECT_EQ(cudaStreamSynchronize(compute), cudaSuccess);
        EXPECT_EQ(x.read(), std::vector<float>(kN, expected_x));
        EXPECT_EQ(y.read(), std::vector<float>(kN, expected_y));
        cudaGraphExecDestroy(executable);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}
// The calls of a communicator have one order, so that ranks may wait for their streams in different ones.
TEST_P(Nccl, CallsOnTwoStreamsKeepTheirOrder) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        OwnStream streams[2];
        DeviceVector<float> x(std::vector<float>(kN, 1)), y(std::vector<float>(kN, 2));
        EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, streams[0]), ncclSuccess);
        EXPECT_EQ(ncclAllReduce(y.data, y.data, kN, ncclFloat, ncclSum, comm, streams[1]), ncclSuccess);
        for (int i : {r.rank % 2, (r.rank + 1) % 2}) EXPECT_EQ(cudaStreamSynchronize(streams[i]), cudaSuccess);
        EXPECT_EQ(x.read(), std::vector<float>(kN, float(r.ranks)));
        EXPECT_EQ(y.read(), std::vector<float>(kN, 2 * float(r.ranks)));
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}
// On a GPU the work of a stream runs while its host waits for something else.
TEST_P(Nccl, WorkRunsWhileTheHostWaitsForAnotherRank) {
    in_every_rank(GetParam(), [](const Rank& r) {
        const fs::path done = fs::path(getenv("TEST_FOLDER")) / "done";
        const ncclComm_t comm = r.join();
        OwnStream stream;
        DeviceVector<float> x(std::vector<float>(kN, 1));
        add(x, 1, stream);
        EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclSuccess);
        if (r.rank == r.ranks - 1) {
            EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
            std::ofstream(done) << "done";
        }
        while (!fs::exists(done)) usleep(1000);
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        EXPECT_EQ(x.read(), std::vector<float>(kN, 2 * float(r.ranks)));
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

}  // namespace
