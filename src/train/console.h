// What a person sees while training: a line that updates in place on a terminal, plain lines in a log.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

// Standard output of the process that speaks for the run; another one is silent.
class Console {
  public:
    explicit Console(bool speaks = true) : speaks_(speaks) {}

    // Prints a line that stays.
    void line(const std::string& text) {
        if (!speaks_) return;
        clear();
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
    }
    // Shows progress: on a terminal in place of the line before, in a log as a line of its own if `in_log`.
    void progress(const std::string& text, bool in_log) {
        if (speaks_ && terminal_) {
            std::printf("\r\033[K%s", text.c_str());
            std::fflush(stdout);
            open_ = true;
        } else if (in_log) {
            line(text);
        }
    }

  private:
    void clear() {
        if (open_) std::printf("\r\033[K");
        open_ = false;
    }
    const bool speaks_;
    const bool terminal_ = isatty(STDOUT_FILENO) != 0;
    bool open_ = false;
};

// Does what printf does, into a string.
template <class... Args>
std::string format(const char* pattern, Args... args) {
    const int length = std::snprintf(nullptr, 0, pattern, args...);
    std::string text(size_t(length) + 1, '\0');
    std::snprintf(text.data(), text.size(), pattern, args...);
    text.pop_back();
    return text;
}

// "1:02:03" or "2:03".
inline std::string duration(double seconds) {
    const long s = long(seconds + 0.5);
    return s >= 3600 ? format("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60) : format("%ld:%02ld", s / 60, s % 60);
}
