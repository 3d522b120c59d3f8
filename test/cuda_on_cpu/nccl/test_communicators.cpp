// The life of a communicator in NCCL's stand-in: how ranks join, what is refused, errors, and how it ends.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "test/cuda_on_cpu/nccl/ranks.h"

namespace {

namespace fs = std::filesystem;

constexpr int kN = 1000;

class NcclCommunicator : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, NcclCommunicator, testing::Values(1, 2, 3, 4), testing::PrintToStringParamName());

// The shared memory's name, as it is made of the unique id.
fs::path file_of(const ncclUniqueId& id) {
    uint64_t random[2];
    memcpy(random, id.internal + 16, sizeof random);
    char name[64];
    snprintf(name, sizeof name, "/dev/shm/executor_nccl_%016lx%016lx", (unsigned long)random[0],
             (unsigned long)random[1]);
    return name;
}

// ---- the end of a communicator -----------------------------------------------------------------------------------

// Waits for the answer of ncclCommGetAsyncError.
ncclResult_t wait_for_async_error(ncclComm_t comm, ncclResult_t while_it_is) {
    ncclResult_t error = while_it_is;
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
         error == while_it_is && std::chrono::steady_clock::now() < end; usleep(1000))
        EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
    return error;
}

TEST_P(NcclCommunicator, AbortFromAnotherThreadEndsAWait) {
    if (GetParam() == 1) GTEST_SKIP() << "nothing to wait for";
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        OwnStream stream;
        DeviceVector<float> x(std::vector<float>(kN, 1));
        if (r.rank == 0) {
            EXPECT_EQ(wait_for_async_error(comm, ncclSuccess), ncclRemoteError);  // another rank's abort
        } else {
            EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclSuccess);
            std::thread watch([&] {
                usleep(300000);
                ncclResult_t error;
                EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
                EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
            });
            EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);  // rank 0 never comes
            watch.join();
            EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
            return;
        }
        EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    });
}
// One thread can do it as well: a poll of a stream does not wait.
TEST_P(NcclCommunicator, TheDeathOfAPeerIsAnAsynchronousErrorAndAbortEndsTheWork) {
    if (GetParam() == 1) GTEST_SKIP() << "there is no peer";
    in_every_rank(GetParam(),
                  [](const Rank& r) {
                      const ncclComm_t comm = r.join();
                      OwnStream stream;
                      DeviceVector<float> x(std::vector<float>(kN, 1));
                      EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclSuccess);
                      EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
                      if (r.rank == r.ranks - 1) {
                          usleep(100000);
                          raise(SIGKILL);
                      }
                      EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclSuccess);
                      EXPECT_EQ(wait_for_async_error(comm, ncclSuccess), ncclRemoteError);
                      const std::string text = ncclGetLastError(comm);  // another survivor may have been faster
                      EXPECT_TRUE(text.find("has ended") != text.npos || text.find("has aborted") != text.npos) << text;
                      for (int i = 0; i < 5; i++) EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
                      cudaGetLastError();
                      EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
                      EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
                      EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
                  },
                  {.killed = {GetParam() - 1}});
}
TEST_P(NcclCommunicator, DestroyingACommunicatorIsNoErrorForItsPeers) {
    if (GetParam() == 1) GTEST_SKIP() << "there is no peer";
    in_every_rank(GetParam(), [](const Rank& r) {
        const ncclComm_t comm = r.join();
        if (r.rank == 0) {
            usleep(200000);
            ncclResult_t error;
            EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
            EXPECT_EQ(error, ncclSuccess);
        }
        EXPECT_EQ(ncclCommFinalize(comm), ncclSuccess);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

// ---- without blocking --------------------------------------------------------------------------------------------

TEST_P(NcclCommunicator, WithoutBlockingEveryCallIsInProgressAtFirst) {
    in_every_rank(GetParam(), [](const Rank& r) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        ncclComm_t comm;
        ncclResult_t error;
        EXPECT_EQ(cudaSetDevice(r.rank), cudaSuccess);
        if (r.rank == 0) usleep(200000);
        EXPECT_EQ(ncclCommInitRankConfig(&comm, r.ranks, r.id, r.rank, &config), ncclInProgress);
        if (r.rank == 1) {
            EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
            EXPECT_EQ(error, ncclInProgress);  // rank 0 is late
        }
        EXPECT_EQ(wait_for_async_error(comm, ncclInProgress), ncclSuccess);
        int number;
        EXPECT_EQ(ncclCommCount(comm, &number), ncclSuccess);
        EXPECT_EQ(number, r.ranks);
        EXPECT_EQ(ncclCommUserRank(comm, &number), ncclSuccess);
        EXPECT_EQ(number, r.rank);
        OwnStream stream;
        DeviceVector<float> x(std::vector<float>(kN, 1));
        EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclInProgress);
        EXPECT_EQ(ncclAllReduce(x.data, x.data, kN, ncclFloat, ncclSum, comm, stream), ncclInvalidArgument);
        EXPECT_EQ(wait_for_async_error(comm, ncclInProgress), ncclSuccess);
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        EXPECT_EQ(x.read(), std::vector<float>(kN, float(r.ranks)));
        EXPECT_EQ(ncclCommFinalize(comm), ncclInProgress);
        EXPECT_EQ(wait_for_async_error(comm, ncclInProgress), ncclSuccess);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}
TEST(NcclInit, CanBeAbortedWithoutBlocking) {
    in_every_rank(2, [](const Rank& r) {
        if (r.rank == 1) return;  // never joins
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        ncclComm_t comm;
        EXPECT_EQ(ncclCommInitRankConfig(&comm, r.ranks, r.id, r.rank, &config), ncclInProgress);
        usleep(50000);
        ncclResult_t error;
        EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
        EXPECT_EQ(error, ncclInProgress);
        EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    });
}

// ---- what is refused ---------------------------------------------------------------------------------------------

TEST(NcclInit, RefusesTwoRanksOnOneDevice) {
    in_every_rank(2,
                  [](const Rank& r) {
                      ncclComm_t comm;
                      EXPECT_EQ(ncclCommInitRank(&comm, r.ranks, r.id, r.rank), ncclInvalidUsage);
                      EXPECT_EQ(comm, nullptr);
                      EXPECT_STREQ(ncclGetLastError(nullptr), "Duplicate GPU: rank 0 and rank 1 are both on device 0");
                      EXPECT_FALSE(fs::exists(file_of(r.id)));
                  },
                  {.environment = {{"EXECUTOR_SHARED_GPU", "0"}}});
}
TEST(NcclInit, RefusesRanksThatDoNotKnowHowManyTheyAre) {
    in_every_rank(2, [](const Rank& r) {
        ncclComm_t comm;
        EXPECT_EQ(cudaSetDevice(r.rank), cudaSuccess);
        EXPECT_EQ(ncclCommInitRank(&comm, r.ranks + r.rank, r.id, r.rank), ncclInvalidUsage);
        EXPECT_FALSE(fs::exists(file_of(r.id)));
    });
}
TEST(NcclInit, LetsTwoRanksShareADeviceWhereThatIsAllowed) {
    in_every_rank(2,
                  [](const Rank& r) {
                      ncclComm_t comm;
                      EXPECT_EQ(ncclCommInitRank(&comm, r.ranks, r.id, r.rank), ncclSuccess);
                      EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
                  },
                  {.environment = {{"EXECUTOR_SHARED_GPU", "1"}}});
}
TEST(NcclInit, RefusesWhatMakesNoCommunicator) {
    in_every_rank(1, [](const Rank& r) {
        ncclComm_t comm;
        EXPECT_EQ(ncclCommInitRank(&comm, 2, r.id, 2), ncclInvalidArgument);
        EXPECT_EQ(ncclCommInitRank(&comm, 0, r.id, 0), ncclInvalidArgument);
        EXPECT_EQ(ncclCommInitRank(&comm, 1, ncclUniqueId{}, 0), ncclInvalidArgument);
        ncclConfig_t config = {};
        EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, r.id, 0, &config), ncclInvalidArgument);
        EXPECT_EQ(comm, nullptr);
    });
}
TEST(NcclCalls, RefuseWhatCannotBeMeant) {
    in_every_rank(1, [](const Rank& r) {
        const ncclComm_t comm = r.join();
        DeviceVector<float> x(zeros(10));
        EXPECT_EQ(ncclSend(x.data, 1, ncclFloat, 1, comm, nullptr), ncclInvalidArgument);
        EXPECT_EQ(ncclBroadcast(x.data, x.data, 1, ncclFloat, -1, comm, nullptr), ncclInvalidArgument);
        EXPECT_EQ(ncclAllReduce(x.data, x.data, 1, ncclNumTypes, ncclSum, comm, nullptr), ncclInvalidArgument);
        EXPECT_EQ(ncclAllReduce(x.data, x.data, 1, ncclFloat, ncclMax, comm, nullptr), ncclInvalidArgument);
        EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
        EXPECT_EQ(ncclGroupStart(), ncclSuccess);
        EXPECT_EQ(ncclSend(x.data, 1, ncclFloat, 5, comm, nullptr), ncclInvalidArgument);
        EXPECT_EQ(ncclGroupEnd(), ncclInvalidArgument);  // nothing of the group is done
        EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        EXPECT_STRNE(ncclGetErrorString(ncclInvalidArgument), "");
        int version = 0;
        EXPECT_EQ(ncclGetVersion(&version), ncclSuccess);
        EXPECT_EQ(version, NCCL_VERSION_CODE);
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
    });
}

// ---- what is left ------------------------------------------------------------------------------------------------

TEST(NcclInit, LeavesNothingBehind) {
    in_every_rank(2,
                  [](const Rank& r) {
                      const ncclComm_t comm = r.join();
                      EXPECT_FALSE(fs::exists(file_of(r.id)));
                      EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
                      raise(SIGKILL);
                  },
                  {.killed = {0, 1}});
    // A process that is killed while it waits leaves its file to whoever makes the next unique id.
    in_every_rank(3,
                  [](const Rank& r) {
                      const fs::path waits = fs::path(getenv("TEST_FOLDER")) / "waits";
                      if (r.rank == 0) {
                          ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
                          config.blocking = 0;
                          ncclComm_t comm;
                          EXPECT_EQ(ncclCommInitRankConfig(&comm, r.ranks, r.id, r.rank, &config), ncclInProgress);
                          while (!fs::exists(file_of(r.id))) usleep(1000);
                          usleep(20000);
                          std::ofstream(waits) << getpid();
                          raise(SIGKILL);
                      }
                      if (r.rank == 2) return;
                      while (!fs::exists(waits)) usleep(1000);
                      ncclUniqueId another;
                      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
                      do {
                          EXPECT_EQ(ncclGetUniqueId(&another), ncclSuccess);
                      } while (fs::exists(file_of(r.id)) && std::chrono::steady_clock::now() < end);
                      EXPECT_FALSE(fs::exists(file_of(r.id)));
                  },
                  {.killed = {0}});
}

}  // namespace
