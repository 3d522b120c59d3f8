// Samples of text from the model being trained.
#pragma once

#include <string>

#include "io/tokenizer.h"
#include "model/gpt2.h"
#include "train/options.h"

// The tokenizer of the data: the one that is named, the one beside the training shards, or bytes.
Tokenizer find_tokenizer(const Options& options);

class Sampler {
  public:
    // Checks that the prompt's tokens are the model's.
    explicit Sampler(const Options& options);
    // The prompt and its continuation. The same number gives the same text.
    std::string text(GPT2& model, uint64_t number) const;

  private:
    const Options& o_;
    Tokenizer tokenizer_;
    std::vector<int> prompt_;
};
