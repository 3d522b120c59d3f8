// Config files: TOML, of which options take lines `name = value`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// What a value is in TOML.
enum class ValueKind { text, whole, number, truth };

// A line of a config file.
struct ConfigLine {
    std::string name;
    ValueKind kind;
    std::string value;  // as it would be given on a command line
    int64_t line;
};
// The lines of a config file. Throws a usage error, with file and line, for what is no TOML and for values that no
// option has, as tables and dates.
std::vector<ConfigLine> read_config(const std::string& path);

// Values as TOML, numbers in the shortest form that reads back the same.
std::string toml_text(std::string_view value);
std::string toml_text(const std::string& value);
std::string toml_text(bool value);
std::string toml_text(int64_t value);
std::string toml_text(uint64_t value);
std::string toml_text(double value);

// Whether two TOML values are the same, however they are spelt.
bool same_value(const std::string& a, const std::string& b);
