// A JSON file as a value.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/files.h"
#include "runtime/error.h"

inline nlohmann::json read_json(const std::string& path) {
    try {
        return nlohmann::json::parse(read_file(path));
    } catch (const nlohmann::json::exception& error) {
        FAIL(path, " is not valid JSON: ", error.what());
    }
}
