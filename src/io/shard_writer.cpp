// Writes token shards.
#include "io/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "io/files.h"
#include "io/paths.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

constexpr int kMostShards = 1'000'000;  // names have six digits

std::string shard_name(const std::string& split, int index) {
    char digits[16];
    std::snprintf(digits, sizeof(digits), "_%06d.bin", index);
    return split + digits;
}

}  // namespace

ShardWriter::ShardWriter(const std::string& folder, const std::string& split, int64_t shard_tokens)
    : folder(folder), split(split), shard_tokens(shard_tokens) {
    CHECK(shard_tokens > 0 && shard_tokens <= kMaxShardTokens, "a shard of ", shard_tokens,
          " tokens: the format holds 1 to ", kMaxShardTokens);
}

ShardWriter::~ShardWriter() {
    if (fd >= 0) close(fd);
}

void ShardWriter::write(const std::vector<uint16_t>& tokens) {
    for (size_t at = 0; at < tokens.size();) {
        if (fd < 0) open_shard();
        const size_t count = std::min(tokens.size() - at, size_t(shard_tokens - tokens_in_shard));
        write_all(fd, tokens.data() + at, count * sizeof(uint16_t), last_path());
        at += count;
        tokens_in_shard += int64_t(count);
        tokens_written += int64_t(count);
        if (tokens_in_shard == shard_tokens) close_shard();
    }
}

void ShardWriter::finish() {
    if (fd >= 0) close_shard();
}

void ShardWriter::move_to(const std::string& target) const {
    for (int i = shard_count; i-- > 0;) {
        const fs::path name = shard_name(split, i), path = target / name;
        if (rename((folder / name).c_str(), path.c_str()) != 0) fail_errno("write", path, errno);
    }
    for (const std::string& path : find_shards(target, split))
        if (fs::path(path).filename() >= shard_name(split, shard_count) && unlink(path.c_str()) != 0)
            fail_errno("remove", path, errno);
    sync_directory(target);
}

std::string ShardWriter::last_path() const { return folder / fs::path(shard_name(split, shard_count - 1)); }

void ShardWriter::open_shard() {
    CHECK(shard_count < kMostShards, "shards of ", shard_tokens, " tokens: the text would take more than ", kMostShards,
          " of them");
    shard_count++;
    fd = open_file(last_path(), O_WRONLY | O_CREAT | O_EXCL);
    tokens_in_shard = 0;
    const int32_t header[kShardHeaderInts] = {kShardMagic, kShardVersion};
    write_all(fd, header, sizeof(header), last_path());
}

// The count goes into the header last: until then a shard says that it is empty.
void ShardWriter::close_shard() {
    const int32_t count = int32_t(tokens_in_shard);
    if (lseek(fd, 2 * sizeof(int32_t), SEEK_SET) < 0) fail_errno("write", last_path(), errno);
    write_all(fd, &count, sizeof(count), last_path());
    sync_file(fd, last_path());
    if (close(std::exchange(fd, -1)) != 0 && errno != EINTR) fail_errno("write", last_path(), errno);
}

std::vector<std::string> find_shards(const std::string& folder, const std::string& split) {
    std::vector<std::string> paths;
    for (const std::string& name : names_in(folder)) {
        const size_t digits = split.size() + 1;
        const bool shard = name.size() == digits + 10 && name.starts_with(split + '_') && name.ends_with(".bin") &&
                           name.find_first_not_of("0123456789", digits) == digits + 6;
        if (shard) paths.push_back(fs::path(folder) / name);
    }
    return paths;
}
