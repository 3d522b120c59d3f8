// Samples of text from the model being trained.
#pragma once

#include <string>

#include "io/tokenizer.h"
#include "model/gpt2.h"
#include "train/options.h"

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
