// Numbers below FLT_MIN are 0 for every thread that is started after the call, and for no other.
#include <gtest/gtest.h>

#include <cfloat>
#include <thread>

#include "runtime/cpu/denormals.h"

namespace {

struct Products {
    float of_small, to_small;
};
Products products() {
    volatile float denormal = FLT_MIN / 4, smallest = FLT_MIN, half = 0.5f, many = 1e30f;
    return {denormal * many, smallest * half};
}

}  // namespace

TEST(FlushDenormals, HoldsForThreadsThatAreStartedAfterIt) {
#ifndef __SSE2__
    GTEST_SKIP() << "they stay as they are on this processor";
#endif
    Products before{}, after{}, in_child{};
    std::thread([&] {
        before = products();
        flush_denormals();
        after = products();
        std::thread([&] { in_child = products(); }).join();
    }).join();
    EXPECT_EQ(before.of_small, FLT_MIN / 4 * 1e30f);
    EXPECT_EQ(before.to_small, FLT_MIN / 2);
    for (const Products& flushed : {after, in_child}) {
        EXPECT_EQ(flushed.of_small, 0);
        EXPECT_EQ(flushed.to_small, 0);
    }
    EXPECT_EQ(products().to_small, FLT_MIN / 2);
}
