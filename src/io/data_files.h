// The files of a data set, known by what they hold and not by where they lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// What shows that a file is the one it was: its size, and the SHA-256 of all of a small file, of blocks at fixed places
// of a large one, the first and the last among them.
struct FileFingerprint {
    std::string path;  // where it lies now, for messages
    int64_t bytes = 0;
    std::string sha256;

    bool same_contents(const FileFingerprint& other) const { return bytes == other.bytes && sha256 == other.sha256; }
};
FileFingerprint fingerprint(const std::string& path);

// The shards of a data set in their order, and the tokenizer whose ids they hold, where a folder of theirs has one.
struct DataFiles {
    std::vector<FileFingerprint> shards;
    std::optional<FileFingerprint> tokenizer;

    std::vector<std::string> paths() const;
};

// The files that `pattern` matches. Throws where the tokenizers beside the shards differ, and names two such shards.
DataFiles data_files(const std::string& pattern);

// The first shard in which two data sets differ, and how; empty where they hold the same in the same order.
std::string shard_difference(const DataFiles& before, const DataFiles& now);
