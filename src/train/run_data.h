// The data of a run: the same files under any path.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/run_state.h"
#include "train/options.h"

// Throws unless the training data hold what they held when a checkpoint was made. Returns what is to be said of
// validation data that differ, and of a checkpoint that doesn't know its data.
std::vector<std::string> check_resumed_data(const Options& options, const RunState& state, const std::string& folder);
