// The exception type of the program, and its few kinds. `main` catches it once, prints one line and exits with its
// code.
#pragma once

#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

// One part of a message: text, or a number as an ostream prints it. It refers to the text, and needs no destructor: the
// many places that make messages stay small, and compile quickly.
class Piece {
  public:
    template <std::convertible_to<std::string_view> T>
    // cppcheck-suppress uninitMemberVar  // no digits are read where the length is 0
    Piece(const T& text) : text_(text) {}
    Piece(char c) : length_(1) { digits_[0] = c; }
    Piece(double value);
    template <std::integral T>
    Piece(T value) {
        if constexpr (std::is_signed_v<T>)
            set(static_cast<long long>(value));
        else
            set(static_cast<unsigned long long>(value));
    }
    std::string_view text() const { return length_ ? std::string_view(digits_, length_) : text_; }

  private:
    void set(long long value);
    void set(unsigned long long value);

    std::string_view text_;
    char digits_[32];
    size_t length_ = 0;  // of the digits; 0: the text counts
};
// Concatenates the pieces.
std::string join(std::initializer_list<Piece> pieces);

// Concatenates its arguments.
template <class... Args>
std::string str(const Args&... args) {
    return join({Piece(args)...});
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
