// The exception type of the program, and its few kinds. `main` catches it once, prints one line and exits with its
// code.
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

// Thrown where a device, or the host, has less memory than was asked for. The message says how much of which; whoever
// knows the options of the run catches it and adds what would help.
class OutOfMemory : public Error {
  public:
    using Error::Error;
};

// Thrown where a file system has no room for what is written.
class DiskFull : public Error {
  public:
    using Error::Error;
};

// The same error with advice behind its message.
inline Error advised(const Error& error, const std::string& advice) {
    return {error.what() + advice, error.file, error.line, error.exit_code};
}

// FAIL("shard ", path, " is short"): throws. USAGE_FAIL is the same for mistakes in what the user asked for,
// OUT_OF_MEMORY for memory that is not there.
#define FAIL(...) throw ::Error(::str(__VA_ARGS__), __FILE__, __LINE__)
#define USAGE_FAIL(...) throw ::Error(::str(__VA_ARGS__), __FILE__, __LINE__, 2)
#define OUT_OF_MEMORY(...) throw ::OutOfMemory(::str(__VA_ARGS__), __FILE__, __LINE__)

// CHECK(condition, "what was wrong, with values"): throws unless the condition holds.
#define CHECK(condition, ...)                \
    do {                                     \
        if (!(condition)) FAIL(__VA_ARGS__); \
    } while (0)
#define USAGE_CHECK(condition, ...)                \
    do {                                           \
        if (!(condition)) USAGE_FAIL(__VA_ARGS__); \
    } while (0)
