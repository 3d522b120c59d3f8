// The algorithms that --autotune chose by time, kept in the Measurements in algorithms.json: a later run on the same
// kind of GPU takes the same ones, and so gives the same bits.
#pragma once

#include "kernels/kernels.h"
#include "train/console.h"

// Recalls them, and keeps new ones; where they can't be written, says so once on the console, which has to live as
// long.
kernels::AlgorithmMemory kept_algorithms(Device device, Console& console);
