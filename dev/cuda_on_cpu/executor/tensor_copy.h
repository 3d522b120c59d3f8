// Copies of boxes of a tensor (TMA). A load fills its target with NaN at once, and its data arrive only when somebody
// waits for its mbarrier; a store reads its source only when its thread waits for its group.
#pragma once

#include <cstdint>
#include <vector>

#include "dev/cuda_on_cpu/executor/collectives.h"
#include "dev/cuda_on_cpu/executor/tensor_map.h"

namespace executor {

class TensorCopies {
  public:
    void begin_block(int threads);
    void end_block() const;
    void thread_exits();
    void load(void* shared, const CUtensorMap* map, const int* at, int rank, uint64_t* barrier, Place place);
    void store(const CUtensorMap* map, const int* at, int rank, const void* shared, Place place);
    void commit();
    void wait(int groups_left, bool read_only);
    // Makes the loads arrive that report to this mbarrier.
    void deliver(uint64_t* barrier);

  private:
    struct Piece {  // 16 bytes
        uint64_t words[2];
    };
    struct Copy {
        TensorMap map;
        int at[TensorMap::kMaxRank];
        char* shared;
        uint64_t* barrier;
        Place place;
        int group;
        std::vector<Piece> read;  // from shared memory, by a store
    };
    struct Stores {
        std::vector<Copy> copies;
        int group = 0;  // that the next one joins
    };
    static Copy checked(const char* what, const void* shared, const CUtensorMap* map, const int* at, int rank,
                        Place place);
    template <class F>
    static void for_each_piece(const Copy& copy, const F& f);
    static void read_source(Copy& copy);
    static void write_target(const Copy& copy);

    std::vector<Copy> loads_;
    std::vector<Stores> stores_;  // by thread
    bool used_ = false;           // by the block that runs, or ran before
};

}  // namespace executor
