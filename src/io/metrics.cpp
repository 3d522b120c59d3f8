// Lines are appended with one write each, so that a reader never sees half of one.
#include "io/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>

#include "io/files.h"
#include "io/json.h"
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

// Whether a line of an earlier run belongs before a resume at `step`. Lines without a step describe the whole run.
bool belongs_before(std::string_view line, int64_t step) {
    const nlohmann::json json = parse_json(line);
    if (!json.is_object()) return false;
    const auto found = json.find("step");
    return found == json.end() || (found->is_number_integer() && found->get<int64_t>() <= step);
}

// The complete lines of `text` up to `step`.
std::string lines_before(const std::string& text, int64_t step) {
    std::string kept;
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
        const std::string_view line(text.data() + begin, end - begin);
        if (belongs_before(line, step)) kept.append(line).append("\n");
    }
    return kept;
}

// The keys of the lines of `step`.
std::set<std::string> keys_at(const std::string& text, int64_t step) {
    std::set<std::string> keys;
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
        const nlohmann::json json = parse_json(std::string_view(text.data() + begin, end - begin));
        if (json.is_object() && json.contains("step") && json["step"] == step)
            for (const auto& [key, value] : json.items()) keys.insert(key);
    }
    return keys;
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
    if (access(path.c_str(), F_OK) == 0) {
        const std::string text = read_file(path);
        const std::string kept = resume_step < 0 ? "" : lines_before(text, resume_step);
        if (kept != text) write_file_atomic(path, kept);
        resumed_with_ = keys_at(kept, resume_step);
    }
    fd_ = int(TEMP_FAILURE_RETRY(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)));
    if (fd_ < 0) fail_errno("open", path, errno);
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
