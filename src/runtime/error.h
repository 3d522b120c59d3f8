// The one exception type of the program. `main` catches it once, prints one line and exits with its code.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

// Concatenates its arguments as an ostream would print them.
template <class... Args>
std::string str(const Args&... args) {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
}

// An error with the place that found it. `exit_code` is 2 for usage (options, config), 1 for everything else.
class Error : public std::runtime_error {
  public:
    Error(const std::string& message, const char* file, int line, int exit_code = 1)
        : std::runtime_error(message), file(file), line(line), exit_code(exit_code) {}
    const char* file;
    int line;
    int exit_code;
};

// FAIL("shard ", path, " is short"): throws. USAGE_FAIL is the same for mistakes in what the user asked for.
#define FAIL(...) throw ::Error(::str(__VA_ARGS__), __FILE__, __LINE__)
#define USAGE_FAIL(...) throw ::Error(::str(__VA_ARGS__), __FILE__, __LINE__, 2)

// CHECK(condition, "what was wrong, with values"): throws unless the condition holds.
#define CHECK(condition, ...)                \
    do {                                     \
        if (!(condition)) FAIL(__VA_ARGS__); \
    } while (0)
#define USAGE_CHECK(condition, ...)                \
    do {                                           \
        if (!(condition)) USAGE_FAIL(__VA_ARGS__); \
    } while (0)
