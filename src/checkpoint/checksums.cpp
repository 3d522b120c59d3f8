#include "checkpoint/checksums.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>

#include "io/files.h"
#include "io/sha256.h"
#include "runtime/error.h"

namespace {

constexpr size_t kDigits = 64;
constexpr const char* kBetween = "  ";  // as for a text file; a hash of a binary one is the same here

// Names are those of files in the folder, and fit a message of one line.
bool is_of_a_name(char c) { return c != '/' && !std::iscntrl(static_cast<unsigned char>(c)); }

}  // namespace

std::string checksums_text(const std::map<std::string, std::string>& hashes) {
    std::string text;
    for (const auto& [name, hash] : hashes) text += hash + kBetween + name + "\n";
    return text;
}

void verify_checksums(const std::string& folder) {
    const std::string path = folder + "/SHA256SUMS";
    if (!exists(std::filesystem::symlink_status(path))) return;
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
        const std::string hash = line.substr(0, kDigits);
        const bool good = line.size() > kDigits + 2 && line.compare(kDigits, 2, kBetween) == 0 && is_sha256(hash) &&
                          std::all_of(line.begin(), line.end(), is_of_a_name);
        CHECK(good, path, " is damaged: a line has to be a SHA-256, two spaces and the name of a file beside it");
        const std::string file = folder + "/" + line.substr(kDigits + 2), actual = sha256_file(file);
        CHECK(actual == hash, file, " is damaged: its SHA-256 is ", actual, ", SHA256SUMS says ", hash,
              "; remove SHA256SUMS if the file was changed on purpose");
    }
}
