// The registry of kernel cases: every op over its shapes, written once and used for correctness on any device and for
// timing. A case describes its operands and returns what runs the op on them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "src/kernels/kernels.h"

namespace registry {

// Where operands start: on a 256-byte border, one element behind it, or every second one so.
enum class Placement { aligned, misaligned, mixed };

// Operands of one case on one device, with the same contents on each: filled by a counter that starts at 1 in every case.
class Memory {
  public:
    Memory(Device device, Placement placement) : device_(device), placement_(placement) {}
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    Tensor random(int64_t rows, int64_t cols, DType type, double deviation = 1, double mean = 0);  // normal
    Tensor output(int64_t rows, int64_t cols, DType type);  // NaN: an element that is left out shows
    Tensor zeros(int64_t rows, int64_t cols, DType type);
    Tensor ids(int64_t count, int64_t limit);  // int32 in [0, limit), small ones more often
    // An operand with given values.
    Tensor values(int64_t rows, int64_t cols, DType type, const std::vector<float>& values);
    // Memory that belongs to the op: its contents are not compared, and like planned memory it is always aligned.
    Tensor scratch(int64_t rows, int64_t cols, DType type);

    // Every operand as it is now, scratch left out, as doubles; fails the running test if anything around an operand has
    // been written.
    std::vector<std::vector<double>> contents();
    Device device() const { return device_; }

  private:
    struct Operand {
        Tensor tensor;
        char* block;                // with the guards
        std::vector<char> initial;  // what was put there
        bool compared;
    };
    Tensor place(int64_t rows, int64_t cols, DType type, const std::vector<float>& values, bool compared);

    Device device_;
    Placement placement_;
    unsigned seed_ = 0;
    std::vector<Operand> operands_;
};

using Run = std::function<void()>;
struct Case {
    std::string op, shape;  // shape names the case among those of its op
    // Largest difference between devices: fraction of (|value| + the operand's root mean square).
    double tolerance;
    std::function<Run(Memory&)> setup;
};
const std::vector<Case>& cases();

}  // namespace registry
