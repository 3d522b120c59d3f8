// The state of a run that is not a tensor, and state.json, which holds it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/data_files.h"
#include "io/data_loader.h"
#include "model/config.h"

// Where a run left another: the checkpoint it began with, and the tokens trained on until there.
struct BranchPoint {
    std::string folder;
    int64_t step = 0, tokens = 0;
    std::string sha256;  // of the checkpoint's state.json
};
// The tokens trained on after `step` updates, of which those since the last branch had `per_update` each.
int64_t tokens_after(const std::vector<BranchPoint>& branches, int64_t step, int64_t per_update);

// An update whose numbers later ones are compared with: how many came before it, its loss and gradient norm.
struct WatchedUpdate {
    int64_t step = 0;
    double loss = 0, norm = 0;
};
// What a run remembers to see whether it is well.
struct HealthState {
    int64_t skipped = 0, skipped_in_a_row = 0, outliers = 0;
    std::vector<WatchedUpdate> window;  // the last updates that were not skipped
};

struct RunState {
    int64_t format = 2;    // of the file that it was read from
    int64_t step = 0;      // updates completed
    int64_t restarts = 0;  // merges and re-initialisations completed
    bool low_rank = false;
    DataState data;
    DataFiles train_data, val_data;     // no shards in format 1
    std::vector<BranchPoint> branches;  // the oldest first
    HealthState health;
    uint64_t seed = 0;
    GPT2Config config;
    int64_t rank = 0;
    double alpha = 0;
    std::vector<std::pair<std::string, std::string>> options;  // those that decide the numbers of a run
    std::map<std::string, int64_t> adam_steps;                 // of each parameter that trains
    std::map<std::string, std::string> files;                  // the SHA-256 of each other file of the checkpoint

    std::optional<std::string> option(const std::string& name) const {
        for (const auto& [stored, value] : options)
            if (stored == name) return value;
        return {};
    }
};

// The text of a state.json: one text for each state, so that a file whose bytes differ from it is not one of ours. It
// holds the SHA-256 of all else in it.
std::string state_text(const RunState& state);
// Reads a state.json; throws where it is damaged, or where a value can't be the one of a run.
RunState read_state_file(const std::string& path);
