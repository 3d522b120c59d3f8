// Tokens per second of the GPT-2 encoder on one thread, with an empty word cache and a warm one.
//   build/bench/tokenizer [VOCABULARY [TEXT…]]
#include "io/tokenizer.h"

#include <algorithm>
#include <cstdio>

#include "io/files.h"
#include "train/profile.h"

int main(int argc, char** argv) {
    try {
        const std::string vocabulary = argc > 1 ? argv[1] : glob_files("data/gpt2_vocab/*").front();
        std::string text;
        if (argc > 2)
            for (int i = 2; i < argc; i++) text += read_file(argv[i]);
        else
            for (const std::string& path : glob_files("data/austen/*.txt")) text += read_file(path);
        const Tokenizer tokenizer = Tokenizer::gpt2(vocabulary);
        double cold = 1e30, warm = 1e30;
        size_t tokens = 0;
        for (int round = 0; round < 5; round++) {
            WordCache cache;
            for (double* best : {&cold, &warm}) {
                std::vector<uint16_t> ids;
                ids.reserve(text.size());
                const double start = seconds_now();
                tokenizer.encode(text, cache, ids);
                *best = std::min(*best, seconds_now() - start);
                tokens = ids.size();
            }
        }
        std::printf(
            "tokenizer, one thread, %zu bytes, %zu tokens: %.1f M tokens/s with an empty word cache, %.1f M warm\n",
            text.size(), tokens, double(tokens) / cold * 1e-6, double(tokens) / warm * 1e-6);
        std::printf(
            "{\"bench\": \"tokenizer\", \"tokens\": %zu, \"cold_tokens_per_s\": %.0f, \"warm_tokens_per_s\": %.0f}\n",
            tokens, double(tokens) / cold, double(tokens) / warm);
    } catch (const Error& error) {
        std::fprintf(stderr, "tokenizer: %s\n", error.what());
        return 1;
    }
}
