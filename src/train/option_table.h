// The table of options, which serves the command line, its help, config files and the check of a resume.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "train/config_file.h"

namespace CLI {
class App;
}

// What an option decides.
enum Decides {
    kNumbers,    // the numbers of a run: a resume must have the same
    kRunOnly,    // how it is run
    kThisStart,  // what is done now: not kept in the run folder
};

// Which values an option may have.
struct AnyValue {};     // a text that is not empty, any number
struct TextOrEmpty {};  // any text
struct WholeRange {
    int64_t least, most;
};
struct Range {
    double least, most;
};
using Names = std::vector<std::string>;
using Allowed = std::variant<AnyValue, TextOrEmpty, WholeRange, Range, Names>;

class OptionTable {
  public:
    struct Entry {
        std::string name;
        Decides decides;
        ValueKind kind;
        std::function<std::string()> text;  // the value as TOML
        // Takes a value as a command line gives it; `where` says in messages which option it is, and its place.
        std::function<void(const std::string& value, const std::string& where)> set;
        bool given = false;    // on the command line
        bool decided = false;  // there or in a config file
    };

    explicit OptionTable(CLI::App& app) : app_(app) {}

    // Adds an option to the parser and to this table. T: std::string, bool, int64_t, uint64_t or double. The variable's
    // value is the default, which the help shows unless it is -1 or empty.
    template <class T>
    void add(const std::string& name, T& value, Decides decides, const Allowed& allowed, const std::string& help);

    // Sets the variables of the options that the parsed command line has. Throws usage errors, as the next does.
    void take_command_line();
    // Sets the variables of the options in a config file, but for those that the command line has.
    void take_config(const std::string& path);

    // Sets the variables of these options, names and values, but for those that the command line or a file has.
    void take_recipe(const std::vector<std::pair<std::string, std::string>>& recipe);

    const std::vector<Entry>& entries() const { return entries_; }

    std::string group;  // of the options that are added next, in the help

  private:
    CLI::App& app_;
    std::vector<Entry> entries_;
};
