// What comes from tokenizers and other programs: shards, tables of tokens, safetensors, text.
#include <algorithm>

#include "io/json.h"
#include "io/safetensors.h"
#include "io/token_dataset.h"
#include "io/tokenizer.h"
#include "io/utf8.h"
#include "io/word_splitter.h"
#include "test/fuzz/targets.h"

namespace {

void shard(std::string_view input) {
    fuzz::takes_or_refuses([&] {
        constexpr int kLength = 4;
        const TokenDataset data({fuzz::file_with(input)}, 257);
        int32_t inputs[kLength], targets[kLength];
        for (int64_t window = 0; window < std::min<int64_t>(data.num_windows(kLength), 16); window++)
            data.read_window(window, kLength, inputs, targets);
    });
}

void tokenizer(std::string_view input) {
    fuzz::takes_or_refuses([&] {
        const Tokenizer table = Tokenizer::load(fuzz::file_with(input));
        table.decode(table.encode("the sea, the SEA \xff 12\n"));
    });
}

// Only files with known hashes are taken: what is tried is the refusal.
void vocabulary(std::string_view input) {
    fuzz::takes_or_refuses([&] { Tokenizer::gpt2(fuzz::file_with(input)); });
}

void safetensors(std::string_view input) {
    fuzz::takes_or_refuses([&] {
        const SafetensorsReader file(fuzz::file_with(input));
        for (const SafetensorsEntry& entry : file.entries()) {
            std::vector<uint8_t> data(size_t(entry.bytes()));
            file.read(entry, data.data());
        }
    });
}

void json_line(std::string_view input) {
    fuzz::takes_or_refuses([&] {
        const auto object = parse_json(input);
        if (object.is_object()) json_text(object);
    });
}

void text(std::string_view input) {
    static const Tokenizer bytes = Tokenizer::byte_level();
    CHECK(bytes.decode(bytes.encode(input)) == input, "bytes come back otherwise");
    const std::string mended = replace_invalid_utf8(input);
    CHECK(find_invalid_utf8(mended) == std::string::npos, "text is broken after it was mended");
    for (const char *at = mended.data(), *end = at + mended.size(); at < end;) {
        const size_t length = next_word(at, end);
        CHECK(length > 0 && length <= size_t(end - at), "a word of ", length, " bytes");
        at += length;
    }
}

constexpr fuzz::Target kTargets[] = {{"shard", shard},           {"tokenizer", tokenizer},
                                     {"vocabulary", vocabulary}, {"safetensors", safetensors},
                                     {"json_line", json_line},   {"text", text}};

}  // namespace

std::span<const fuzz::Target> fuzz::of_data() { return kTargets; }
