// Checkpoints and Hugging Face folders: parameters to safetensors files and back. Layouts are in dev/FORMATS.md.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/data_loader.h"
#include "runtime/parameter.h"

// Shape of a GPT-2 as its files state it.
struct ModelShape {
    int64_t vocab_size = 0, positions = 0, layers = 0, heads = 0, channels = 0;
};

// Everything of a run that is not a tensor.
struct RunState {
    int64_t step = 0;      // updates completed
    int64_t restarts = 0;  // merges and re-initialisations completed
    bool low_rank = false;
    DataState data;
    uint64_t seed = 0;
    ModelShape shape;
    int64_t rank = 0;
    double alpha = 0;
    std::vector<std::pair<std::string, std::string>> options;  // those that decide the numbers of a run
};

// Writes OUT/step_NNNNNNNN: to a temporary name, synced, renamed; state.json last. Keeps the newest `keep` (0: all).
// Returns the folder. On an error nothing of it stays behind.
std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             int64_t keep);
// Bytes that such a checkpoint takes, about.
int64_t checkpoint_bytes(const std::vector<Parameter*>& parameters);

// The newest complete checkpoint under OUT, or "".
std::string latest_checkpoint(const std::string& out);
// state.json of a checkpoint folder; every file's SHA-256 is verified.
RunState read_state(const std::string& folder);
// Masters (weights where there are none), and with `moments` the AdamW moments and counters, of `parameters` (base
// weights and adapters).
void read_parameters(const std::string& folder, const std::vector<Parameter*>& parameters, bool moments);

// The adapters alone.
void read_adapters(const std::string& folder, const std::vector<Parameter*>& adapters);

// Whether a folder is a checkpoint of ours (else it may be a Hugging Face folder).
bool is_checkpoint(const std::string& folder);
// The shape that a Hugging Face GPT-2 folder's config.json states.
ModelShape read_huggingface_shape(const std::string& folder);
// Base weights from model.safetensors of either kind of folder into the masters, or the weights where there are none.
void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters);
// config.json and model.safetensors that transformers loads as GPT2LMHeadModel. Written to a temporary name, renamed.
void write_huggingface(const std::string& folder, const ModelShape& shape, const std::vector<Parameter*>& parameters,
                       int end_of_text);
