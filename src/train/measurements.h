// What was measured on this machine and is worth keeping between runs: a file of JSON in the user's cache folder,
// $XDG_CACHE_HOME/train_relora, or ~/.cache/train_relora where that is not set.
#pragma once

#include <string>

#include "io/json.h"

class Measurements {
  public:
    // In the file of this name.
    explicit Measurements(const std::string& name);
    // What was stored under the key, or null: a file that can't be read holds nothing.
    nlohmann::json find(const std::string& key) const;
    // Runs that start together lose nothing that one of them stores. Throws where the file can't be written; without a
    // home folder nothing is kept.
    void store(const std::string& key, const nlohmann::json& value) const;

  private:
    std::string path_;  // empty without a home folder
};
