// Sampling text from the model being trained.
#pragma once

#include <string>
#include <vector>

#include "io/tokenizer.h"
#include "model/gpt2.h"

struct SampleConfig {
    std::string prompt;  // empty: the end-of-text token
    int64_t tokens = 256;
    double temperature = 0.8;      // 0: the likeliest token
    int64_t top_k = 0;             // 0: all
    uint64_t seed = 0, index = 0;  // the same numbers give the same text
    int64_t context = 0;           // tokens the model looks back on, at most the phase's T
};

// What a sample continues: the tokens of the prompt.
std::vector<int> first_tokens(const Tokenizer& tokenizer, const std::string& prompt);
// The prompt and its continuation, as text.
std::string sample_text(GPT2& model, const Tokenizer& tokenizer, const SampleConfig& config);
