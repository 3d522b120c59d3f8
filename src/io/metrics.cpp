// Lines are appended with one write each, so that a reader never sees half of one.
#include "io/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "io/files.h"
#include "io/json.h"
#include "io/paths.h"
#include "runtime/error.h"

namespace {

std::string quoted(std::string_view text) { return json_text(text); }

// The shortest digits that read back as the same value.
template <class T>
std::string number(T value) {
    if (!std::isfinite(value)) return "null";
    char digits[32];
    return std::string(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

// What the log of an earlier run has for a resume at a step.
struct Earlier {
    std::string kept;            // its complete lines up to that step
    std::set<std::string> keys;  // of the lines of that step
    int64_t damaged = 0;         // lines that can't be those that were written
    int64_t missing = 0;         // updates without a line
};

// Lines without a step describe the whole run. Steps only rise from line to line, but for those of checkpoints, which
// are reported when they are written.
Earlier earlier(const std::string& text, int64_t step) {
    Earlier found;
    std::set<int64_t> updates;
    int64_t later = 0;
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
        const std::string_view line(text.data() + begin, end - begin);
        const nlohmann::json json = parse_json(line);
        const bool has_step = json.is_object() && json.contains("step");
        if (!json.is_object() || (has_step && !json["step"].is_number_integer())) {
            found.damaged++;
            continue;
        }
        const int64_t at = has_step ? json["step"].get<int64_t>() : 0;
        if (at > step) {
            later++;
            continue;
        }
        if (has_step && !(json.contains("event") && json["event"] == "save")) found.damaged += std::exchange(later, 0);
        if (json.contains("loss")) updates.insert(at);
        if (has_step && at == step)
            for (const auto& [key, value] : json.items()) found.keys.insert(key);
        found.kept.append(line).append("\n");
    }
    // A run that goes on from another's checkpoint has a log from there on.
    const int64_t first = updates.empty() ? 1 : *updates.begin();
    found.missing = step - first + 1 - int64_t(updates.size());
    return found;
}

}  // namespace

MetricsLine& MetricsLine::add_raw(std::string_view key, std::string_view json) {
    if (!fields_.empty()) fields_ += ',';
    fields_.append(quoted(key)).append(":").append(json);
    return *this;
}

MetricsLine& MetricsLine::add(std::string_view key, double value) { return add_raw(key, number(value)); }
MetricsLine& MetricsLine::add(std::string_view key, float value) { return add_raw(key, number(value)); }
MetricsLine& MetricsLine::add(std::string_view key, std::string_view value) { return add_raw(key, quoted(value)); }

MetricsLog::MetricsLog(const std::string& path, int64_t resume_step) : path_(path) {
    const std::string text = path_exists(path) ? read_file(path) : "";
    Earlier before;
    if (resume_step >= 0) before = earlier(text, resume_step);
    if (before.kept != text) write_file_atomic(path, before.kept);
    resumed_with_ = std::move(before.keys);
    if (before.damaged > 0) damage_ = str("it had ", before.damaged, " damaged lines, which are left out");
    if (before.missing > 0)
        damage_ += str(damage_.empty() ? "" : "; ", "it has no lines of ", before.missing, " updates");
    fd_ = open_file(path, O_WRONLY | O_CREAT | O_APPEND);
}

MetricsLog::~MetricsLog() { close(fd_); }

void MetricsLog::sync() const { sync_file(fd_, path_); }

void MetricsLog::write(const MetricsLine& line) {
    const std::string text = line.text() + "\n";
    const off_t before = lseek(fd_, 0, SEEK_END);
    try {
        write_all(fd_, text.data(), text.size(), path_);
    } catch (const Error&) {
        // The half of a line that a full disk took would make the file unreadable.
        [[maybe_unused]] const int cut = ftruncate(fd_, before);  // where it fails, the next resume drops the half
        throw;
    }
}
