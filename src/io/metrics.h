// metrics.jsonl: one JSON object a line, readable while the run goes on and exact across a resume.
#pragma once

#include <concepts>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

// Builds one line: MetricsLine().add("step", 3).add("loss", 2.5).text() is {"step":3,"loss":2.5}
class MetricsLine {
  public:
    // NaN and infinities, which JSON doesn't have, become null. The digits read back as the same value.
    MetricsLine& add(std::string_view key, double value);
    MetricsLine& add(std::string_view key, float value);
    MetricsLine& add(std::string_view key, std::string_view value);
    template <std::integral T>
    MetricsLine& add(std::string_view key, T value) {
        return add_raw(key, std::to_string(value));
    }
    std::string text() const { return "{" + fields_ + "}"; }

  private:
    MetricsLine& add_raw(std::string_view key, std::string_view json);

    std::string fields_;
};

// The file metrics.jsonl. A line is on its way to the disk when write() returns.
class MetricsLog {
  public:
    // Opens the file to append. Lines of an earlier run stay up to `resume_step`; later ones, and a line that was cut
    // off, are dropped. -1 starts anew.
    MetricsLog(const std::string& path, int64_t resume_step);
    ~MetricsLog();
    MetricsLog(const MetricsLog&) = delete;
    MetricsLog& operator=(const MetricsLog&) = delete;

    void write(const MetricsLine& line);
    // Brings all lines to the disk.
    void sync() const;
    // What was wrong with the lines before the resume; empty if nothing was.
    const std::string& damage() const { return damage_; }
    // Whether a line of the step that the run was resumed at has this key.
    bool resumed_with(const std::string& key) const { return resumed_with_.contains(key); }

  private:
    std::string path_, damage_;
    std::set<std::string> resumed_with_;
    int fd_ = -1;
};
