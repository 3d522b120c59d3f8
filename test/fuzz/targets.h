// Every parser of the program, as a fuzzer calls it: any bytes are taken, or refused in one clear line.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "runtime/error.h"

namespace fuzz {

struct Target {
    const char* name;  // also that of its folder in test/fuzz/corpus
    // Throws where the parser did something else than to take the input or to refuse it well.
    void (*run)(std::string_view input);
};

// The targets of each family; all of them.
std::span<const Target> of_data();
std::span<const Target> of_runs();
std::span<const Target> of_ranks();
std::span<const Target> all();

// A file of this process that holds the input; the same one every time. `name` is its last part.
std::string file_with(std::string_view input, const std::string& name = "input");
// The folder that these files are in.
std::string scratch_folder();

// Throws where a message is no single line, or speaks of libraries.
void check_message(std::string_view message);

// Runs a parser, which may refuse its input by an Error.
template <class Parser>
void takes_or_refuses(const Parser& parser) {
    try {
        parser();
    } catch (const Error& error) {
        check_message(error.what());
    }
}

}  // namespace fuzz
