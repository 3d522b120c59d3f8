// The addresses that stand for the grid-wide orders of memory in TSan's eyes.
#pragma once

namespace executor {

struct Tags {
    char launch;  // what the host did before a launch is seen by its threads
    char end;     // what threads did is seen by the host after the grid, and by later grids
    char fence;   // __threadfence
};
inline Tags tags;

}  // namespace executor
