// The state of a run that is not a tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/data_loader.h"
#include "model/config.h"

struct RunState {
    int64_t step = 0;      // updates completed
    int64_t restarts = 0;  // merges and re-initialisations completed
    bool low_rank = false;
    DataState data;
    uint64_t seed = 0;
    GPT2Config config;
    int64_t rank = 0;
    double alpha = 0;
    std::vector<std::pair<std::string, std::string>> options;  // those that decide the numbers of a run

    std::optional<std::string> option(const std::string& name) const {
        for (const auto& [stored, value] : options)
            if (stored == name) return value;
        return {};
    }
};
