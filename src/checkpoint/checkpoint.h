// One checkpoint of a run: a folder of safetensors files and state.json, which holds the SHA-256 of each.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/run_state.h"
#include "optimizer/whole.h"
#include "runtime/parameter.h"

// `parameters` are a model's: adapters come last. Writes OUT/step_NNNNNNNN: to a temporary name, synced, renamed;
// state.json last. The first rank writes, the others only take part; the format knows no ranks. Returns the folder. On
// an error nothing of it stays behind.
std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             const Whole& whole);
// What another rank than the first does while that one gathers what a checkpoint holds.
void gather_for_first(const std::vector<Parameter*>& parameters, const Whole& whole);
// About how many bytes a checkpoint of these parameters takes.
int64_t checkpoint_bytes(const std::vector<Parameter*>& parameters);

// Whether a folder is a checkpoint (else it may be a Hugging Face folder).
bool is_checkpoint(const std::string& folder);

// Reads state.json of a checkpoint folder. A folder named step_NNNNNNNN has to hold that step.
RunState read_state(const std::string& folder);
// Verifies the SHA-256 of every other file of a checkpoint.
void verify_files(const std::string& folder, const RunState& state);
// Throws unless the state has Adam's step of each parameter that trains, and no other.
void check_adam_steps(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters);
// Reads the masters (weights where there are none), AdamW's moments and its step counts of base weights and adapters.
void read_parameters(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters);
// Reads the values of the base weights alone, in a checkpoint or a Hugging Face folder.
void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters);
