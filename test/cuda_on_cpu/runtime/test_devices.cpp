// The program uses CUDA's current device, not the first one: with EXECUTOR_CAPABILITY=7.5,9.0 only the second will do.
#include <cuda_runtime_api.h>

#define GTEST_DONT_DEFINE_FAIL 1  // error.h has a FAIL of its own
#include <gtest/gtest.h>

#include "runtime/device.h"

namespace {

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST(Devices, TheCurrentOneIsJudgedAndDescribed) {
    int count = 0;
    ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
    if (count != 2) GTEST_SKIP() << "there is one device";
    EXPECT_TRUE(contains(device::cuda_problem(), "sm_75")) << device::cuda_problem();
    EXPECT_TRUE(contains(device::description(Device::cuda), "sm_75")) << device::description(Device::cuda);
    ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
    EXPECT_EQ(device::cuda_problem(), "");
    EXPECT_TRUE(contains(device::description(Device::cuda), "sm_90")) << device::description(Device::cuda);
    EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
    cudaGetLastError();
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
}

}  // namespace
