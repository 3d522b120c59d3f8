// SHA256SUMS of a folder, as `sha256sum -c` reads it: what files of other programs' formats have no place for.
#pragma once

#include <map>
#include <string>

// The text of the file: a line for each name and its SHA-256.
std::string checksums_text(const std::map<std::string, std::string>& hashes);
// Compares the files that SHA256SUMS of the folder names with what it says of them, and throws where one differs. A
// folder without it has nothing to compare.
void verify_checksums(const std::string& folder);
