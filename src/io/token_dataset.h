// Token shards as one long stream. The format is llm.c's: 256 int32 of header (magic, version, token count), then
// uint16 tokens, so that published shards work as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/files.h"

// The shards are open, and each window is read when it is asked for. Training sees windows: window w is the T inputs
// from token w*T on, and the T targets one token later. Windows may cross from one shard into the next, so no token of
// a short shard is lost.
class TokenDataset {
  public:
    // The shards that match a shell pattern, in the order of their names.
    TokenDataset(const std::string& pattern, int vocab_size);
    TokenDataset(const std::vector<std::string>& paths, int vocab_size);

    int64_t num_tokens() const { return num_tokens_; }
    int64_t num_windows(int T) const { return num_tokens_ > 0 ? (num_tokens_ - 1) / T : 0; }
    // What to call the data in messages: the pattern, or the first of the paths.
    const std::string& name() const { return name_; }

    // Fills inputs and targets, (T) each. Throws at a token beyond the vocabulary.
    void read_window(int64_t window, int T, int32_t* inputs, int32_t* targets) const;

  private:
    struct Shard {
        InputFile file;
        int64_t begin = 0, end = 0;  // place in the stream
        int64_t size() const { return end - begin; }
    };

    void add_shard(const std::string& path);
    // Calls take(tokens, count) for the tokens of a stretch of one shard, or of the stream, block by block.
    template <class Take>
    void read(const Shard& shard, int64_t begin, int64_t end, const Take& take) const;
    template <class Take>
    void read(int64_t begin, int64_t count, const Take& take) const;
    void check_tokens(const Shard& shard, int64_t begin, const uint16_t* tokens, int64_t count) const;

    std::string name_;
    int vocab_size_;
    int64_t num_tokens_ = 0;
    std::vector<Shard> shards_;
};
