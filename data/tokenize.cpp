// Turns text into token shards: files → documents cut into pieces → ids, by several threads → DIR/train_*.bin and
// DIR/val_*.bin. Nothing gets its final name before everything was written.
#include <omp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <set>

#include "io/files.h"
#include "io/json.h"
#include "io/shard_writer.h"
#include "io/tokenizer.h"
#include "io/utf8.h"
#include "runtime/error.h"
#include "runtime/version.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kPieceBytes = 1 << 20;  // one thread's work at a time

volatile std::sig_atomic_t interrupted = 0;

struct Options {
    std::vector<std::string> inputs, val_inputs;
    std::string out, vocab, text_field = "text";
    double val_fraction = 0;
    int64_t shard_tokens = 100'000'000;
    int threads = omp_get_num_procs();
    bool overwrite = false;
};

// A stretch of one file that can be encoded without the rest of it.
struct Piece {
    const MappedFile* file;
    size_t begin, end;
    bool starts_document;
    bool validation;
    std::vector<uint16_t> ids;
};

std::string_view text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.data()), size_t(file.size())};
}

bool is_jsonl(const fs::path& path) { return path.extension() == ".jsonl"; }

// The files that names of files and folders stand for: a folder stands for every .txt and .jsonl below it, sorted.
std::vector<std::string> expand(const std::vector<std::string>& names) {
    std::vector<std::string> files;
    for (const std::string& name : names) {
        USAGE_CHECK(fs::exists(name), "there is no file or folder ", name);
        if (!fs::is_directory(name)) {
            files.push_back(name);
            continue;
        }
        const size_t before = files.size();
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(name))
            if (entry.is_regular_file() && (entry.path().extension() == ".txt" || is_jsonl(entry.path())))
                files.push_back(entry.path());
        USAGE_CHECK(files.size() > before, "the folder ", name, " holds no .txt or .jsonl file");
        std::sort(files.begin() + before, files.end());
    }
    return files;
}

// The end of the piece that starts at `begin`. Text is cut before white space that follows a visible ASCII character,
// JSONL behind a line: neither changes the ids, because no word of GPT-2's spans such a place.
size_t piece_end(std::string_view text, size_t begin, size_t end, bool jsonl) {
    if (end - begin <= kPieceBytes) return end;
    for (size_t at = begin + kPieceBytes; at < end; at++) {
        const char before = text[at - 1], after = text[at];
        if (jsonl ? before == '\n' : (after == ' ' || after == '\n') && before > ' ' && before < 0x7F) return at;
    }
    return end;
}

void append_pieces(const MappedFile& file, size_t begin, size_t end, bool validation, std::vector<Piece>& pieces) {
    const std::string_view text = text_of(file);
    const bool jsonl = is_jsonl(file.path());
    for (bool first = true; begin < end; first = false) {
        const size_t stop = piece_end(text, begin, end, jsonl);
        pieces.push_back({&file, begin, stop, first && !jsonl, validation, {}});
        begin = stop;
    }
}

// Where the validation part of a file starts: the line start at or before the last `fraction` of its bytes.
size_t validation_start(std::string_view text, double fraction) {
    const size_t target = text.size() - size_t(double(text.size()) * fraction);
    if (target >= text.size() || target == 0) return target;
    const size_t newline = text.rfind('\n', target - 1);
    return newline == std::string_view::npos ? text.size() : newline + 1;
}

void encode_lines(Piece& piece, const Tokenizer& tokenizer, const std::string& field, WordCache& cache) {
    const std::string_view text = text_of(*piece.file);
    for (size_t at = piece.begin; at < piece.end;) {
        const size_t newline = std::min(text.find('\n', at), piece.end);
        const std::string_view line = text.substr(at, newline - at);
        if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
            const auto object = parse_json(line);
            const bool good = object.is_object() && object.contains(field) && object[field].is_string();
            CHECK(good, piece.file->path(), " line ", 1 + std::count(text.begin(), text.begin() + at, '\n'), ": ",
                  object.is_discarded() ? "not valid JSON"
                                        : "no string in the field \"" + field + "\" (see --text-field)");
            piece.ids.push_back(uint16_t(tokenizer.end_of_text()));
            tokenizer.encode(object[field].get_ref<const std::string&>(), cache, piece.ids);
        }
        at = newline + 1;
    }
}

void encode_piece(Piece& piece, const Tokenizer& tokenizer, const std::string& field, WordCache& cache) {
    const std::string_view text = text_of(*piece.file).substr(piece.begin, piece.end - piece.begin);
    const size_t invalid = find_invalid_utf8(text);
    CHECK(invalid == std::string_view::npos, piece.file->path(), " is not UTF-8: byte ", piece.begin + invalid,
          " is wrong; convert it first, for example with iconv");
    if (is_jsonl(piece.file->path())) return encode_lines(piece, tokenizer, field, cache);
    if (piece.starts_document) piece.ids.push_back(uint16_t(tokenizer.end_of_text()));
    tokenizer.encode(text, cache, piece.ids);
}

// Encodes a batch of pieces. Where there are several errors it throws the one that comes first in the text.
void encode_batch(std::vector<Piece>& batch, const Tokenizer& tokenizer, const Options& options,
                  std::vector<WordCache>& caches) {
    std::vector<std::exception_ptr> errors(batch.size());
#pragma omp parallel for schedule(dynamic) num_threads(options.threads)
    for (size_t i = 0; i < batch.size(); i++) {
        try {
            encode_piece(batch[i], tokenizer, options.text_field, caches[omp_get_thread_num()]);
        } catch (...) {
            errors[i] = std::current_exception();
        }
    }
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

// Reports progress: on a terminal by one line that is redrawn, elsewhere by a line every five seconds.
class Progress {
  public:
    explicit Progress(int64_t bytes_in_all) : bytes_in_all(bytes_in_all) {}

    void show(int64_t bytes, int64_t tokens) {
        const double now = seconds();
        if (now - last_shown < (terminal ? 0.1 : 5)) return;
        last_shown = now;
        std::fprintf(stderr, "%s%3.0f %% of %.1f MB, %.2f M tokens, %.1f MB/s, %.0f s left %s", terminal ? "\r" : "",
                     100.0 * bytes / bytes_in_all, bytes_in_all / 1e6, tokens / 1e6, bytes / now / 1e6,
                     now * (bytes_in_all - bytes) / bytes, terminal ? "" : "\n");
        drawn = terminal;
    }
    void erase() {
        if (drawn) std::fprintf(stderr, "\r\033[K");
        drawn = false;
    }
    ~Progress() { erase(); }
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

  private:
    int64_t bytes_in_all;
    bool terminal = isatty(STDERR_FILENO), drawn = false;
    double last_shown = 0;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

// Makes the output folder; at the end takes it away again if it was new and has stayed empty.
class OutputFolder {
  public:
    explicit OutputFolder(const std::string& path) : path(path) {
        std::error_code error;
        created = fs::create_directories(path, error);
        CHECK(fs::is_directory(path), "cannot make the folder ", path, ": ", error ? error.message() : "it is a file");
    }
    ~OutputFolder() {
        if (created) rmdir(path.c_str());  // fails, as it should, once there is something in it
    }

  private:
    std::string path;
    bool created = false;
};

struct Input {
    std::string path;
    bool validation;
};

// Lists the files for training and for validation. A file that is named for validation is left out of training, as in
// `DIR --val DIR/a.txt`.
std::vector<Input> list_inputs(const Options& options) {
    std::vector<Input> inputs;
    std::set<fs::path> validation;
    for (const std::string& path : expand(options.val_inputs)) validation.insert(fs::canonical(path));
    std::set<fs::path> seen = validation;
    for (const std::string& path : expand(options.inputs)) {
        const fs::path name = fs::canonical(path);
        if (validation.contains(name)) continue;
        USAGE_CHECK(seen.insert(name).second, path, " is among the inputs twice");
        inputs.push_back({path, false});
    }
    USAGE_CHECK(!inputs.empty(), "no input is left for training: --val names them all");
    for (const fs::path& path : validation) inputs.push_back({path, true});
    return inputs;
}

void tokenize(const Options& options) {
    const std::vector<Input> inputs = list_inputs(options);
    const bool occupied = !find_shards(options.out, "train").empty() || !find_shards(options.out, "val").empty();
    USAGE_CHECK(options.overwrite || !occupied, options.out,
                " holds shards already: name another folder or add --overwrite");
    const Tokenizer tokenizer = options.vocab.empty() ? Tokenizer::byte_level() : Tokenizer::gpt2(options.vocab);

    int64_t bytes_in_all = 0, bytes = 0;
    for (const Input& input : inputs) {
        CHECK(fs::is_regular_file(input.path), input.path, " is not a regular file");
        bytes_in_all += int64_t(fs::file_size(input.path));
    }
    const OutputFolder folder(options.out);
    ShardWriter train(options.out, "train", options.shard_tokens), val(options.out, "val", options.shard_tokens);
    Progress progress(bytes_in_all);
    std::vector<WordCache> caches(options.threads);
    std::vector<Piece> batch;
    std::vector<std::unique_ptr<MappedFile>> open_files;

    const size_t batch_pieces = 4 * size_t(options.threads);
    const auto flush = [&] {
        encode_batch(batch, tokenizer, options, caches);
        for (const Piece& piece : batch) {
            (piece.validation ? val : train).write(piece.ids);
            bytes += int64_t(piece.end - piece.begin);
        }
        batch.clear();
        open_files.erase(open_files.begin(), open_files.end() - 1);
        CHECK(!interrupted, "interrupted: nothing was written");
        progress.show(bytes, train.tokens() + val.tokens());
    };
    for (const Input& input : inputs) {
        open_files.push_back(std::make_unique<MappedFile>(input.path));
        const std::string_view text = text_of(*open_files.back());
        const size_t split = input.validation ? 0 : validation_start(text, options.val_fraction);
        std::vector<Piece> pieces;
        append_pieces(*open_files.back(), 0, split, false, pieces);
        append_pieces(*open_files.back(), split, text.size(), true, pieces);
        for (Piece& piece : pieces) {
            batch.push_back(std::move(piece));
            if (batch.size() == batch_pieces) flush();
        }
    }
    if (!batch.empty()) flush();
    CHECK(train.tokens() > 0, "the training inputs hold no text");
    progress.erase();

    const int train_shards = train.shards(), val_shards = val.shards();
    tokenizer.save(fs::path(options.out) / "tokenizer.bin");
    train.commit();
    val.commit();
    std::printf("%s: %lld training tokens in %d shard%s, %lld validation tokens in %d shard%s, vocabulary %d, %.1f s\n",
                options.out.c_str(), (long long)train.tokens(), train_shards, train_shards == 1 ? "" : "s",
                (long long)val.tokens(), val_shards, val_shards == 1 ? "" : "s", tokenizer.vocab_size(),
                progress.seconds());
}

void declare_options(CLI::App& app, Options& options) {
    app.set_version_flag("--version", std::string("tokenize (train_relora) ") + kVersion);
    app.add_option("inputs", options.inputs,
                   "text files (a document each), .jsonl files (a document a line), or folders of them")
        ->required();
    app.add_option("--out", options.out, "folder for train_000000.bin, val_000000.bin, ... and tokenizer.bin")
        ->required();
    app.add_option("--vocab", options.vocab, "GPT-2's vocab.bpe or gpt2.tiktoken (default: byte-level tokens)");
    auto* val = app.add_option("--val", options.val_inputs, "files or folders for validation; left out of training");
    app.add_option("--val-fraction", options.val_fraction,
                   "share of every input, from its end, that goes to validation (0 to 0.5)")
        ->check(CLI::Range(0.0, 0.5))
        ->excludes(val);
    app.add_option("--text-field", options.text_field, "field of a .jsonl line that holds the text")
        ->capture_default_str();
    app.add_option("--shard-tokens", options.shard_tokens, "tokens in a shard (1 to 2147483647)")
        ->check(CLI::Range(int64_t(1), kMaxShardTokens))
        ->capture_default_str();
    app.add_option("--threads", options.threads, "threads (1 to 1024)")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    app.add_flag("--overwrite", options.overwrite, "replace the shards that are in the folder");
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Turns text into token shards for train_relora.", "tokenize");
    declare_options(app, options);
    try {
        app.parse(argc, argv);
        std::signal(SIGINT, [](int) { interrupted = 1; });
        std::signal(SIGTERM, [](int) { interrupted = 1; });
        tokenize(options);
    } catch (const CLI::Success& request) {
        return app.exit(request);
    } catch (const CLI::ParseError& error) {
        std::cerr << "tokenize: " << error.what() << " (see --help)\n";
        return 2;
    } catch (const Error& error) {
        std::cerr << "tokenize: " << error.what() << '\n';
        return error.exit_code;
    } catch (const std::exception& error) {
        std::cerr << "tokenize: " << error.what() << '\n';
        return 1;
    }
}
