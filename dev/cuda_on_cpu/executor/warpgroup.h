// Warpgroups: four warps that execute wgmma together. A product runs when its group is waited for: until then its
// accumulators hold NaN, and it has read neither of its operands.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "dev/cuda_on_cpu/executor/collectives.h"
#include "dev/cuda_on_cpu/executor/hopper.h"

namespace executor {

class Warpgroups {
  public:
    void begin_block(int threads);
    void end_block() const;
    void multiply(WgmmaOperands& operands, Place place);
    void fence(Place place);
    void commit(Place place);
    void wait(WgmmaWait wait, Place place);
    void set_max_registers(int registers, bool more, Place place);

  private:
    static constexpr int kThreads = 128, kMaxGroups = 8;
    // Accumulators from their first product to the wait for their last one.
    struct Sums {
        float* threads[kThreads];
        int columns, products = 0;  // under way
        Place place;
        std::vector<float> values;  // 64 rows
    };
    struct Product {
        Sums* sums;
        WgmmaOperands operands;  // the first thread's
        const uint32_t* a[kThreads];
        uint32_t a_values[kThreads][4];
        int group;
        Place place;
    };
    // Registers that were an operand once, and what they held at the last fence.
    struct Registers {
        const void* at;
        size_t bytes;
        uint64_t hash;
    };
    struct Warpgroup {
        int waiting = 0;  // of its threads, at the same instruction
        unsigned meetings = 0;
        const char* what = nullptr;
        Place place{};
        void* operands[kThreads];

        bool fenced = false;  // since the last wait
        int group = 0;        // that the next product joins
        std::list<Sums> sums;
        std::list<Product> products;
        std::vector<Registers> registers[kThreads];
        int max_registers = 0;
    };
    template <class Action>
    void meet(const char* what, void* operand, bool orders_memory, Place place, const Action& action);
    static void start(Warpgroup& group, Place place);
    static void check_registers(Warpgroup& group, int thread, const void* at, size_t bytes, Place place);
    static void finish(Warpgroup& group, const WgmmaWait& wait, Place place);
    static void finish(Warpgroup& group, const Product& product);
    static void give_back(Warpgroup& group, const Sums& sums, const WgmmaWait& wait, Place place);

    Warpgroup groups_[kMaxGroups];
    int num_groups_ = 0;
    int free_registers_ = 0;
    bool used_ = false;  // by the block that runs, or ran before
};

// A matrix operand in shared memory, as its descriptor says: 16 columns of k, and `size` rows or columns of the result.
// The values are [size][16]. Ends the program if the asynchronous proxy may not see what is there.
void read_operand(float* values, uint64_t descriptor, int size, bool transposed, Place place);
// Makes the checks of the former alone.
void check_operand(uint64_t descriptor, int size, bool transposed, Place place);

}  // namespace executor
