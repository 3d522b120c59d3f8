// Mixes what several processes write into one stream, line by line.
#pragma once

#include <string>
#include <string_view>

namespace ranks {

// One process's part: gives each of its lines a prefix, unless the line has it already or is the one by which the
// program says why it ends.
class PrefixedLines {
  public:
    explicit PrefixedLines(std::string prefix) : prefix_(std::move(prefix)) {}

    // Takes in what was written, and returns the lines that it completes.
    std::string add(std::string_view written);
    // Returns what is there of a last line without its end.
    std::string rest();

  private:
    void take_line(std::string_view line, std::string& out) const;

    std::string prefix_;
    std::string partial_;
};

}  // namespace ranks
