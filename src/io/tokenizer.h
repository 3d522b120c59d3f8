// Text to token ids and back: bytes (the default, needs no file), or GPT-2's byte-pair encoding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/bpe.h"

// Remembers the ids of the words that were met. One per thread; it grows to a few MB.
class WordCache {
  public:
    WordCache();
    ~WordCache();

  private:
    friend class Tokenizer;
    struct Tables;
    std::unique_ptr<Tables> tables;
};

// Immutable and cheap to copy, so any number of threads may share one.
class Tokenizer {
  public:
    // The tokenizer whose ids 0–255 are bytes, and 256 the end of text.
    static Tokenizer byte_level();
    // GPT-2's 50,257 tokens from vocab.bpe or gpt2.tiktoken, whichever the file's SHA-256 says it is.
    static Tokenizer gpt2(const std::string& vocabulary_path);
    // A table of tokens as save() and llm.c write it. Ids of merged tokens must rank as their merges do, as in GPT-2.
    static Tokenizer load(const std::string& path);
    void save(const std::string& path) const;
    // Writes what load() refuses, because the shards beside it aren't complete.
    static void save_unfinished(const std::string& path);

    int vocab_size() const { return int(tokens->size()); }
    int end_of_text() const { return end_id; }
    bool is_byte_level() const { return !merges; }

    // "<|endoftext|>" in the text is not special. Bytes that are not UTF-8 become U+FFFD first, except at the byte
    // level.
    std::vector<int> encode(std::string_view text) const;
    // Encodes much text: appends to `ids`, and looks words up in this thread's cache.
    void encode(std::string_view text, WordCache& cache, std::vector<uint16_t>& ids) const;
    // The bytes of the tokens; a cut inside a character gives a broken character.
    std::string decode(const std::vector<int>& ids) const;

  private:
    Tokenizer(std::vector<std::string> tokens, int end_id);

    std::shared_ptr<const std::vector<std::string>> tokens;  // the bytes of every id
    std::shared_ptr<const BpeMerges> merges;                 // none at the byte level
    int end_id;
};
