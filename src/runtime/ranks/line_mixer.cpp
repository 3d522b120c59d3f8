#include "runtime/ranks/line_mixer.h"

namespace ranks {

namespace {

constexpr std::string_view kLastWords = "train_relora: ";
// A line that is longer is passed on in parts.
constexpr size_t kLongestLine = 65536;

}  // namespace

void PrefixedLines::take_line(std::string_view line, std::string& out) const {
    if (!line.starts_with(prefix_) && !line.starts_with(kLastWords)) out += prefix_;
    out.append(line);
    out += '\n';
}

std::string PrefixedLines::add(std::string_view written) {
    std::string out;
    partial_.append(written);
    size_t start = 0;
    for (size_t end; (end = partial_.find('\n', start)) != partial_.npos; start = end + 1)
        take_line(std::string_view(partial_).substr(start, end - start), out);
    partial_.erase(0, start);
    if (partial_.size() >= kLongestLine) out += rest();
    return out;
}

std::string PrefixedLines::rest() {
    std::string out;
    if (!partial_.empty()) take_line(partial_, out);
    partial_.clear();
    return out;
}

}  // namespace ranks
