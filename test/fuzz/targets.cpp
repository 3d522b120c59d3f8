#include "test/fuzz/targets.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace fuzz {

namespace {

// A folder that goes away with the process.
struct Scratch {
    Scratch() {
        const char* memory = "/dev/shm";
        const auto parent = std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
        std::string pattern = (parent / "relora_fuzz_XXXXXX").string();
        CHECK(mkdtemp(pattern.data()), "cannot make a folder like ", pattern);
        path = pattern;
    }
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path;
};

}  // namespace

std::string scratch_folder() {
    static const Scratch scratch;
    return scratch.path;
}

std::string file_with(std::string_view input, const std::string& name) {
    const std::string path = scratch_folder() + "/" + name;
    std::ofstream(path, std::ios::binary) << input;
    return path;
}

void check_message(std::string_view message) {
    for (const char* bad : {"\n", "[json.exception", "std::", "basic_string", "filesystem error"})
        if (message.empty() || message.find(bad) != message.npos)
            throw std::logic_error("unclear message: " + std::string(message));
}

std::span<const Target> all() {
    static const std::vector<Target> targets = [] {
        std::vector<Target> every;
        for (const auto family : {of_data(), of_runs(), of_ranks()})
            every.insert(every.end(), family.begin(), family.end());
        return every;
    }();
    return targets;
}

}  // namespace fuzz
