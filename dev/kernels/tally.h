// What a run of the kernel tests found, printed when it ends: for each op how near its results came to what is
// tolerated, and how many tests failed for want of an algorithm or for any other reason. A shard of the tests prints
// its own.
#pragma once

#include <string>

namespace tally {

// The running test compared a case of `op`, whose results were this far apart at most, as a fraction of the tolerance.
void compared(const std::string& op, double largest_distance);
// The running test fails because a library has no algorithm for its shape.
void without_algorithm(const std::string& why);

}  // namespace tally
