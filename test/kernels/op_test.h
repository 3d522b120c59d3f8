// What the tests of the ops share: buffers with sentinels around them, known inputs, and comparison with fp64 numbers.
#pragma once

#define GTEST_DONT_DEFINE_FAIL 1  // error.h has a FAIL of its own
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/kernels.h"

// The odd sizes catch tails, 768 and 1000 are a model's, and (67, 1000) is large enough to run on several threads.
struct Shape {
    int64_t rows, cols;
};
inline const std::vector<Shape> kShapes = {{1, 1}, {3, 5}, {67, 1}, {1, 24}, {67, 24}, {3, 768}, {67, 1000}, {1, 1000}};

// A matrix of T with sentinels before and behind it, which must still be there when it goes.
template <class T>
class Buffer {
  public:
    Buffer(int64_t rows, int64_t cols, double fill = 0)
        : rows(rows), cols(cols), memory_(size_t(rows * cols + 2 * kGuard), T(kSentinel)) {
        for (int64_t i = 0; i < size(); i++) set(i, fill);
    }
    ~Buffer() {
        for (int64_t i = 0; i < kGuard; i++) {
            EXPECT_EQ(float(memory_[size_t(i)]), kSentinel) << "written " << kGuard - i << " before";
            EXPECT_EQ(float(memory_[size_t(kGuard + size() + i)]), kSentinel) << "written " << i << " behind";
        }
    }
    Buffer(const Buffer&) = default;

    int64_t size() const { return rows * cols; }
    T* data() { return memory_.data() + kGuard; }
    double operator[](int64_t i) const { return double(float(memory_[size_t(kGuard + i)])); }
    void set(int64_t i, double value) { memory_[size_t(kGuard + i)] = T(float(value)); }
    // Normal numbers, rounded to T: what the op and the fp64 formula both start from.
    Buffer& randomize(unsigned seed, double deviation = 1.0, double mean = 0.0) {
        std::mt19937 generator(seed);
        std::normal_distribution<double> normal(mean, deviation);
        for (int64_t i = 0; i < size(); i++) set(i, normal(generator));
        return *this;
    }
    Tensor tensor() { return make_tensor(data(), dtype_of<T>, rows, cols); }

    const int64_t rows, cols;

  private:
    static constexpr int64_t kGuard = 37;
    static constexpr float kSentinel = -12288.0f;
    std::vector<T> memory_;
};

// Half a unit in the last place of T: what a correctly rounded result may be off, relative to itself.
template <class T>
constexpr double kRounding = std::is_same_v<T, bf16> ? 1.0 / 256.0 : 1.0 / 16777216.0;

// `noise` is what fp32 arithmetic may be off; the rounding to T comes on top (a little more than half a unit, since the
// noise can tip a value over to the other neighbour).
template <class T>
void expect_close(double got, double want, double noise, const std::string& where) {
    EXPECT_NEAR(got, want, noise + 1.02 * kRounding<T> * std::abs(want)) << where;
}

template <class T>
class PerType : public testing::Test {};
using StorageTypes = testing::Types<float, bf16>;

// Runs with another number of OpenMP threads until the end of the scope.
class Threads {
  public:
    explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
    ~Threads() { omp_set_num_threads(before_); }

  private:
    int before_;
};

inline std::string at(const Shape& shape, int64_t i) {
    return str("element ", i, " of (", shape.rows, ", ", shape.cols, ")");
}
