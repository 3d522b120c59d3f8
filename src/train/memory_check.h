// Whether the memory that a run needs is there, before any of it is allocated.
#pragma once

#include "train/options.h"

// Throws OutOfMemory where a phase of the run needs more memory than the device has left, which `sharers` processes
// share.
void check_memory(const Options& options, int sharers);
