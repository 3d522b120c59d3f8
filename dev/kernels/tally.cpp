#include "dev/kernels/tally.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace tally {
namespace {

struct Compared {
    int cases = 0;
    double largest_distance = 0;
};

class Tally : public testing::EmptyTestEventListener {
  public:
    std::map<std::string, Compared> ops;
    bool lacks_algorithm = false;  // the running test

    void OnTestStart(const testing::TestInfo&) override { lacks_algorithm = false; }
    void OnTestEnd(const testing::TestInfo& test) override {
        if (!test.result()->Failed()) return;
        (lacks_algorithm ? without_algorithm_ : wrong_)++;
        // After a fault in a kernel every call of this process fails, and so would all tests that follow.
        const cudaError_t status = cudaDeviceSynchronize();
        if (status == cudaSuccess) return;
        std::printf("GPU lost in %s: %s\n", test.name(), cudaGetErrorString(status));
        std::fflush(stdout);
        std::_Exit(1);
    }
    void OnTestProgramEnd(const testing::UnitTest&) override {
        if (!ops.empty()) std::printf("%-22s %6s  %s\n", "op", "cases", "largest distance / tolerance");
        for (const auto& [op, of_op] : ops)
            std::printf("%-22s %6d  %.3g\n", op.c_str(), of_op.cases, of_op.largest_distance);
        std::printf("%d cases without an algorithm, %d wrong\n", without_algorithm_, wrong_);
    }

  private:
    int without_algorithm_ = 0, wrong_ = 0;
};

// Owned by GoogleTest, from before its main() on.
Tally& the_tally = []() -> Tally& {
    Tally* const created = new Tally;
    testing::UnitTest::GetInstance()->listeners().Append(created);
    return *created;
}();

}  // namespace

void compared(const std::string& op, double largest_distance) {
    Compared& of_op = the_tally.ops[op];
    of_op.cases++;
    of_op.largest_distance = std::max(of_op.largest_distance, largest_distance);
}

void without_algorithm(const std::string& why) {
    the_tally.lacks_algorithm = true;
    ADD_FAILURE() << "no algorithm: " << why;
}

}  // namespace tally
