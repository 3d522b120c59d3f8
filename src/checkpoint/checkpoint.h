// Checkpoints of a run: OUT/step_NNNNNNNN, a folder of safetensors files and state.json, which holds
// the SHA-256 of each.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/run_state.h"
#include "optimizer/whole.h"
#include "runtime/parameter.h"

// Writes OUT/step_NNNNNNNN: to a temporary name, synced, renamed; state.json last. Keeps the newest `keep` (0: all).
// The first rank writes, and all return when it is done; the format knows no ranks. Returns the folder. On an error
// nothing of it stays behind.
std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             int64_t keep, const Whole& whole);
// About how many bytes a checkpoint of these parameters takes.
int64_t checkpoint_bytes(const std::vector<Parameter*>& parameters);

// Whether a folder is a checkpoint (else it may be a Hugging Face folder).
bool is_checkpoint(const std::string& folder);
// The folders of a run's checkpoints, by step: only names as they are written here count.
std::vector<std::string> checkpoints(const std::string& out);
// The newest complete checkpoint under OUT, or "".
std::string latest_checkpoint(const std::string& out);

// Reads state.json of a checkpoint folder. A folder named step_NNNNNNNN has to hold that step.
RunState read_state(const std::string& folder);
// Verifies the SHA-256 of every other file of a checkpoint.
void verify_files(const std::string& folder, const RunState& state);
// Reads the masters (weights where there are none), AdamW's moments and its step counts of base weights and adapters.
void read_parameters(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters);
// Reads the values of the base weights alone, in a checkpoint or a Hugging Face folder.
void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters);
