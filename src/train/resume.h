// A run that goes on: whether its options are those that it was begun with.
#pragma once

#include <string>

#include "checkpoint/run_state.h"
#include "train/options.h"

// The name under which a checkpoint keeps the routes that --adapter-route auto has chosen.
inline constexpr const char* kChosenRoutes = "adapter-routes";

// Throws unless the run folder, which is locked by now, is free for a new run, or holds the one that is to be resumed:
// one that has no checkpoint yet has to be begun with the same options that decide the numbers.
void check_run_folder(const Options& options);
// Throws unless a checkpoint was made with the options that decide the numbers of the run, and with no others.
void check_resumed_options(const Options& options, const RunState& state, const std::string& folder);
