#include "io/data_files.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "io/files.h"
#include "io/paths.h"
#include "io/sha256.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

// 16 blocks take a millisecond; a file of the size of all of them is hashed whole.
constexpr int64_t kBlocks = 16, kBlockBytes = 64 << 10;

std::optional<FileFingerprint> tokenizer_beside(const fs::path& shard) {
    const fs::path path = shard.parent_path() / "tokenizer.bin";
    if (!path_exists(path.string())) return {};
    return fingerprint(path.string());
}

}  // namespace

FileFingerprint fingerprint(const std::string& path) {
    const InputFile file(path);
    const int64_t size = file.size();
    Sha256 hash;
    std::vector<char> block(kBlockBytes);
    const auto add = [&](int64_t offset, int64_t bytes) {
        file.read(offset, block.data(), size_t(bytes));
        hash.update(block.data(), size_t(bytes));
    };
    if (size <= kBlocks * kBlockBytes) {
        for (int64_t at = 0; at < size; at += kBlockBytes) add(at, std::min(kBlockBytes, size - at));
    } else {
        for (int64_t i = 0; i + 1 < kBlocks; i++) add((size - kBlockBytes) / (kBlocks - 1) * i, kBlockBytes);
        add(size - kBlockBytes, kBlockBytes);
    }
    return {.path = path, .bytes = size, .sha256 = hash.hex()};
}

std::vector<std::string> DataFiles::paths() const {
    std::vector<std::string> paths;
    for (const FileFingerprint& shard : shards) paths.push_back(shard.path);
    return paths;
}

DataFiles data_files(const std::string& pattern) {
    DataFiles found;
    std::map<fs::path, std::optional<FileFingerprint>> of_folder;
    const FileFingerprint* of_tokenizer = nullptr;  // the shard beside which found.tokenizer lies
    const std::vector<std::string> paths = glob_files(pattern);
    found.shards.reserve(paths.size());
    for (const std::string& name : paths) {
        const std::string path = absolute_path(name);
        found.shards.push_back(fingerprint(path));
        const fs::path folder = fs::path(path).parent_path();
        if (!of_folder.contains(folder)) of_folder[folder] = tokenizer_beside(path);
        const auto& tokenizer = of_folder[folder];
        if (!tokenizer) continue;
        USAGE_CHECK(!found.tokenizer || found.tokenizer->same_contents(*tokenizer), "shards of two tokenizers match ",
                    pattern, ": ", path, " has ", tokenizer->path, " beside it, ",
                    of_tokenizer ? of_tokenizer->path : "", " has ", found.tokenizer ? found.tokenizer->path : "",
                    ", which differs");
        if (found.tokenizer) continue;
        found.tokenizer = tokenizer;
        of_tokenizer = &found.shards.back();
    }
    return found;
}

std::string shard_difference(const DataFiles& before, const DataFiles& now) {
    const size_t n = std::min(before.shards.size(), now.shards.size());
    for (size_t i = 0; i < n; i++) {
        const FileFingerprint &was = before.shards[i], &is = now.shards[i];
        if (was.same_contents(is)) continue;
        const std::string how =
            was.bytes == is.bytes ? "has other contents" : str("has ", is.bytes, " bytes, not ", was.bytes);
        return str("shard ", i + 1, ", ", is.path, ", ", how,
                   was.path == is.path ? std::string() : " (it was " + was.path + ")");
    }
    if (before.shards.size() == now.shards.size()) return "";
    const bool more = now.shards.size() > n;
    return str("there are ", now.shards.size(), " shards, not ", before.shards.size(), ": ",
               more ? now.shards[n].path : before.shards[n].path, more ? " has been added" : " is missing");
}
