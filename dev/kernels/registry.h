// The registry of kernel cases: every op over its shapes, written once and used for correctness on any device and for
// timing. A case describes its operands and returns what runs the op on them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace registry {

// Where operands start: on a 256-byte border, one element behind it, or every second one so.
enum class Placement { aligned, misaligned, mixed };

// Operands of one case on one device. The contents depend on the order of the calls alone.
class Memory {
  public:
    explicit Memory(Device device) : device_(device) {}
    virtual ~Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    virtual Tensor random(int64_t rows, int64_t cols, DType type, double deviation = 1, double mean = 0) = 0;  // normal
    virtual Tensor output(int64_t rows, int64_t cols, DType type) = 0;  // what the op has to overwrite
    virtual Tensor zeros(int64_t rows, int64_t cols, DType type) = 0;
    virtual Tensor ids(int64_t count, int64_t limit) = 0;  // int32 in [0, limit), small ones more often
    // An operand with given values.
    virtual Tensor values(int64_t rows, int64_t cols, DType type, const std::vector<float>& values) = 0;
    // Memory that belongs to the op: its contents are not compared, and like planned memory it is always aligned.
    virtual Tensor scratch(int64_t rows, int64_t cols, DType type) = 0;
    Device device() const { return device_; }

  private:
    Device device_;
};

// Operands with the same contents on each device, filled by a counter that starts at 1 in every case.
class CheckedMemory : public Memory {
  public:
    CheckedMemory(Device device, Placement placement) : Memory(device), placement_(placement) {}
    ~CheckedMemory() override;

    Tensor random(int64_t rows, int64_t cols, DType type, double deviation = 1, double mean = 0) override;
    Tensor output(int64_t rows, int64_t cols, DType type) override;  // NaN: an element that is left out shows
    Tensor zeros(int64_t rows, int64_t cols, DType type) override;
    Tensor ids(int64_t count, int64_t limit) override;
    Tensor values(int64_t rows, int64_t cols, DType type, const std::vector<float>& values) override;
    Tensor scratch(int64_t rows, int64_t cols, DType type) override;

    // Returns every operand but scratch as it is now, as doubles; fails the running test if anything before an operand
    // has been written. Only a sanitizer sees what is written behind one.
    std::vector<std::vector<double>> contents();

  private:
    struct Operand {
        Tensor tensor;
        char* block;                // with the guard
        std::vector<char> initial;  // what was put there
        bool compared;
    };
    Tensor place(int64_t rows, int64_t cols, DType type, const std::vector<float>& values, bool compared);

    Placement placement_;
    unsigned seed_ = 0;
    std::vector<Operand> operands_;
};

// Whether the GPU that is present, or the executor, can run attention by wgmma; and what the names of such cases end
// in.
inline bool has_wgmma() {
    return kernels::attention_kernel_problem(kernels::AttentionKernel::wgmma, Device::cuda, DType::bf16, 64).empty();
}
inline std::string suffix(kernels::AttentionKernel kernel) {
    return kernel == kernels::AttentionKernel::wgmma ? "_wgmma" : "";
}

using Run = std::function<void()>;
struct Case {
    std::string op, shape;  // shape names the case among those of its op
    // The largest difference between devices, as a fraction of |value| + the operand's root mean square.
    double tolerance;
    std::function<Run(Memory&)> setup;
};
// The cases for correctness, whose sizes are small.
const std::vector<Case>& cases();
// Cases at the sizes of GPT-2's four models and for these compute types, the most important ones first; for timing
// only: too slow for the executor. The head's chunks are those of the device.
std::vector<Case> bench_cases(Device device, const std::vector<DType>& types);

}  // namespace registry
