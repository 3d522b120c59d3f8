// How the ranks find each other: rank 0 listens, the others come, and all go on once everybody is there.
#pragma once

#include <memory>
#include <vector>

#include "runtime/ranks/connection.h"
#include "runtime/ranks/control.h"

namespace ranks {

// The connections that a meeting leaves behind.
struct Met {
    std::vector<std::unique_ptr<Connection>>
        lines;                      // on rank 0 by rank, [0] is null; on the others [0] leads to rank 0
    bool prints_without_0 = false;  // whether this process prints the message if rank 0 is lost
};

// Brings the ranks together, as rank 0 and as another rank do it.
Met meet_as_host(const Place& place, const Meeting& meeting);
Met meet_as_guest(const Place& place, const Meeting& meeting);

// Ends the meeting where a signal has asked this process to stop.
void check_signals(bool prints);

}  // namespace ranks
