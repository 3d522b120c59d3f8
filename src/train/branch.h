// A run that goes on from a checkpoint of another, with some options changed.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/run_state.h"
#include "train/options.h"

// The configuration of the run that --branch-from names, which a branch begins with.
std::string branch_config(const std::string& branch_from);

// Makes the state of a checkpoint the one that a branch begins with: notes where it comes from, and begins the data
// anew where their order is another one. Throws where an option can't change here. Returns a line for each change.
std::vector<std::string> begin_branch(const Options& options, RunState& state);
