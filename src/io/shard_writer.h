// Writes token shards as llm.c reads them: a header of 256 int32 {20240520, 1, tokens}, then uint16 tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

inline constexpr int32_t kShardMagic = 20240520;
inline constexpr int32_t kShardVersion = 1;
inline constexpr size_t kShardHeaderInts = 256;
inline constexpr int64_t kMaxShardTokens = INT32_MAX;

// A sequence of new shards FOLDER/<split>_000000.bin, FOLDER/<split>_000001.bin, … of `shard_tokens` each, the last one
// shorter.
class ShardWriter {
  public:
    ShardWriter(const std::string& folder, const std::string& split, int64_t shard_tokens);
    ~ShardWriter();
    ShardWriter(const ShardWriter&) = delete;
    ShardWriter& operator=(const ShardWriter&) = delete;

    void write(const std::vector<uint16_t>& tokens);
    // Completes the last shard: all is on the disk then.
    void finish();
    // Moves the shards to another folder of the same file system, where no others of the split are left.
    void move_to(const std::string& target) const;

    int64_t tokens() const { return tokens_written; }
    int shards() const { return shard_count; }

  private:
    std::string last_path() const;
    void open_shard();
    void close_shard();

    std::string folder, split;
    int64_t shard_tokens;
    int64_t tokens_written = 0;
    int64_t tokens_in_shard = 0;
    int shard_count = 0;
    int fd = -1;
};

// The complete shards of a split in a folder, sorted.
std::vector<std::string> find_shards(const std::string& folder, const std::string& split);
