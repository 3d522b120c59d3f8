// The fields of an object in state.json or config.json, each of which is named, typed and bounded where it is read.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

// Reads one object of a file. The messages name the file, the field, its value, and what would be right.
class StateFields {
  public:
    // `object` has to exist as long as this; `where`: the file, and the object within it.
    StateFields(const nlohmann::json& object, std::string where);

    int64_t whole(const std::string& name, int64_t least, int64_t most);
    uint64_t unsigned_whole(const std::string& name);
    double number(const std::string& name, double least, double most);
    std::string text(const std::string& name);
    std::string sha256(const std::string& name);
    // A text that is one of two.
    bool either(const std::string& name, const std::string& yes, const std::string& no);
    StateFields object(const std::string& name);
    std::vector<StateFields> objects(const std::string& name);  // a list of them
    std::map<std::string, std::string> texts(const std::string& name);
    std::map<std::string, int64_t> wholes(const std::string& name, int64_t least, int64_t most);
    // Throws where the object has a field that has not been asked for.
    void end() const;

  private:
    const nlohmann::json& at(const std::string& name);
    [[noreturn]] void refuse(const std::string& name, const std::string& right) const;

    const nlohmann::json& object_;
    const std::string where_;
    std::set<std::string> asked_;
};
