// mbarriers: a phase is over when all its arrivals and all the bytes that it expects are there. The state is kept
// beside shared memory, where the barrier's eight bytes hold a mark.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "dev/cuda_on_cpu/executor/collectives.h"

namespace executor {

class Mbarriers {
  public:
    struct Barrier {
        unsigned arrivals, pending;  // of a phase; still missing in this one
        int64_t bytes = 0;           // expected and not yet there
        unsigned phase = 0;
        int number = 0, copies = 0;  // copies under way that will report to it
        bool fenced = false;         // do the asynchronous units know of it?
        int thread = 0;              // that has initialised it, and what order of memory there was before
        unsigned orders_of_block = 0, orders_of_warp = 0;
        Place initialised{}, copied{};  // the latter: the newest copy
    };
    void begin_block() { barriers_.clear(); }
    void init(uint64_t* at, unsigned arrivals, Place place);
    void fence_init();
    void arrive(uint64_t* at, int64_t expected_bytes, Place place);
    void add_bytes(uint64_t* at, int64_t bytes, Place place);
    bool test(uint64_t* at, unsigned parity, Place place);
    void wait(uint64_t* at, unsigned parity, Place place);
    // The barrier at this address, which the running thread may use.
    Barrier& use(const uint64_t* at, const char* what, Place place);
    // The address that stands for a phase in TSan's order of memory.
    void* tag(const Barrier& barrier, unsigned phase) const;
    // Says what a barrier still waits for; empty if the address has none.
    std::string missing(const void* at) const;

  private:
    void count(Barrier& barrier, int64_t bytes, Place place);
    void end_phase_if_complete(Barrier& barrier, const uint64_t* at, Place place);
    bool over(Barrier& barrier, uint64_t* at, unsigned parity, Place place);

    std::map<const uint64_t*, Barrier> barriers_;
};

}  // namespace executor
