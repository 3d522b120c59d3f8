// Turns text into token shards: files → documents cut into pieces → ids, by several threads → DIR/train_*.bin and
// DIR/val_*.bin. They are written into a temporary folder in DIR, and moved when everything is on the disk.
#include <fcntl.h>
#include <omp.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <set>
#include <span>
#include <utility>

#include "io/files.h"
#include "io/json.h"
#include "io/shard_writer.h"
#include "io/temporary.h"
#include "io/text_files.h"
#include "io/text_pieces.h"
#include "io/tokenizer.h"
#include "io/utf8.h"
#include "runtime/descriptors.h"
#include "runtime/error.h"
#include "runtime/processors.h"
#include "runtime/version.h"

namespace fs = std::filesystem;

namespace {

volatile std::sig_atomic_t interrupted = 0;

struct Options {
    std::vector<std::string> inputs, val_inputs;
    std::string out, vocab, text_field = "text";
    double val_fraction = 0;
    int64_t shard_tokens = 100'000'000;
    int threads = thread_limit(find_processors(), 1).threads;
    bool overwrite = false;
};

struct Input {
    TextFile file;
    bool validation;
};

// A piece of an input, and the ids that it becomes.
struct Work {
    TextPiece piece;
    const TextFile* file = nullptr;
    bool starts_document = false;
    bool validation = false;
    std::vector<uint16_t> ids;
};

void encode_lines(Work& work, const Tokenizer& tokenizer, const std::string& field, WordCache& cache) {
    const std::string_view text = work.piece.text;
    int64_t line_number = work.piece.line;
    for (size_t at = 0; at < text.size(); line_number++) {
        const size_t newline = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, newline - at);
        if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
            const auto object = parse_json(line);
            const bool good = object.is_object() && object.contains(field) && object[field].is_string();
            CHECK(good, work.file->path, " line ", line_number, ": ",
                  object.is_discarded()
                      ? "not valid JSON; every line must be an object with the text in the field \"" + field + '"'
                      : "no string in the field \"" + field + "\" (see --text-field)");
            work.ids.push_back(uint16_t(tokenizer.end_of_text()));
            tokenizer.encode(object[field].get_ref<const std::string&>(), cache, work.ids);
        }
        at = newline + 1;
    }
}

void encode(Work& work, const Tokenizer& tokenizer, const std::string& field, WordCache& cache) {
    const std::string& text = work.piece.text;
    const size_t nul = text.find('\0'), invalid = std::min(nul, find_invalid_utf8(text));
    CHECK(invalid == std::string::npos, work.file->path, " is not UTF-8 text: byte ",
          work.piece.offset + int64_t(invalid), invalid == nul ? " is zero, as in UTF-16" : " is wrong",
          "; convert it first, for example with iconv");
    if (work.file->kind == TextKind::kJsonLines) return encode_lines(work, tokenizer, field, cache);
    if (work.starts_document) work.ids.push_back(uint16_t(tokenizer.end_of_text()));
    tokenizer.encode(text, cache, work.ids);
}

// Encodes a batch of pieces. Where there are several errors it throws the one that comes first in the text.
void encode_batch(std::span<Work> batch, const Tokenizer& tokenizer, const Options& options,
                  std::vector<WordCache>& caches) {
    std::vector<std::exception_ptr> errors(batch.size());
#pragma omp parallel for schedule(dynamic) num_threads(options.threads)
    for (size_t i = 0; i < batch.size(); i++) {
        try {
            encode(batch[i], tokenizer, options.text_field, caches[omp_get_thread_num()]);
        } catch (const std::bad_alloc&) {
            const TextPiece& piece = batch[i].piece;
            errors[i] = std::make_exception_ptr(
                Error(str(batch[i].file->path, ": no memory is left for the ", piece.text.size(), " bytes from line ",
                          piece.line, " on; fewer --threads need less"),
                      __FILE__, __LINE__));
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

    void add(int64_t bytes_more, int64_t tokens) {
        bytes += bytes_more;
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
    int64_t bytes_in_all, bytes = 0;
    bool terminal = isatty(STDERR_FILENO), drawn = false;
    double last_shown = 0;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

// Makes the output folder and keeps other runs of this program out of it; at the end takes it away again if it was new
// and has stayed empty.
class OutputFolder {
  public:
    explicit OutputFolder(const std::string& path) : path(path) {
        std::error_code error;
        created = fs::create_directories(path, error);
        CHECK(fs::is_directory(path), "cannot make the folder ", path, ": ", error ? error.message() : "it is a file");
        fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        // Some network file systems know no locks.
        const bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (taken) close(fd);
        CHECK(!taken, "another tokenize writes to ", path, ": wait for it, or name another folder");
    }
    ~OutputFolder() {
        if (created) rmdir(path.c_str());  // fails, as it should, once there is something in it
        close(fd);
    }
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

  private:
    std::string path;
    bool created = false;
    int fd = -1;
};

// The files for training and for validation, in the order in which they were named. A file that is named for validation
// is left out of training, as in `DIR --val DIR/a.txt`.
std::vector<Input> list_inputs(const Options& options, std::vector<std::string>& left_out) {
    TextFiles training, validation;
    for (const std::string& name : options.val_inputs) find_text_files(name, validation);
    for (const std::string& name : options.inputs) find_text_files(name, training);
    std::set<fs::path> seen, for_validation;
    for (const TextFile& file : validation.files) for_validation.insert(fs::canonical(file.path));
    std::vector<Input> inputs;
    const auto add = [&](const TextFile& file, bool is_validation) {
        const fs::path same = fs::canonical(file.path);
        if (!is_validation && for_validation.contains(same)) return;
        USAGE_CHECK(seen.insert(same).second, file.path, " is among the inputs twice");
        inputs.push_back({file, is_validation});
    };
    for (const TextFile& file : training.files) add(file, false);
    USAGE_CHECK(!inputs.empty(), "no input is left for training: --val names them all");
    for (const TextFile& file : validation.files) add(file, true);
    left_out = std::move(training.left_out);
    left_out.insert(left_out.end(), validation.left_out.begin(), validation.left_out.end());
    std::sort(left_out.begin(), left_out.end());
    left_out.erase(std::unique(left_out.begin(), left_out.end()), left_out.end());
    return inputs;
}

// Encodes all inputs, batch by batch.
void write_tokens(const std::vector<Input>& inputs, const Tokenizer& tokenizer, const Options& options,
                  ShardWriter& train, ShardWriter& val, Progress& progress) {
    std::vector<WordCache> caches(options.threads);
    // Pieces and their ids keep their memory from one batch to the next.
    std::vector<Work> memory(4 * size_t(options.threads));
    size_t filled = 0;
    const auto flush = [&] {
        const std::span<Work> batch(memory.data(), std::exchange(filled, 0));
        encode_batch(batch, tokenizer, options, caches);
        int64_t bytes = 0;
        for (const Work& work : batch) {
            (work.validation ? val : train).write(work.ids);
            bytes += int64_t(work.piece.text.size());
        }
        CHECK(!interrupted, "interrupted: nothing was written");
        progress.add(bytes, train.tokens() + val.tokens());
    };
    for (const Input& input : inputs) {
        const InputFile file(input.file.path);
        const int64_t begin = text_begin(file);
        const int64_t split = input.validation ? begin : std::max(begin, tail_begin(file, options.val_fraction));
        int64_t line = 1;
        for (const bool validation : {false, true}) {
            PieceReader reader(file, input.file.kind, validation ? split : begin, validation ? file.size() : split,
                               line);
            for (bool first = true; reader.next(memory[filled].piece); first = false) {
                Work& work = memory[filled];
                work.file = &input.file;
                work.starts_document = first;
                work.validation = validation;
                work.ids.clear();
                if (++filled == memory.size()) flush();
            }
            line = reader.line();
        }
    }
    if (filled > 0) flush();
}

std::string counted(int64_t count, const std::string& thing) { return str(count, ' ', thing, count == 1 ? "" : "s"); }

void print_left_out(const std::vector<std::string>& left_out) {
    constexpr size_t kNamed = 10;
    if (left_out.empty()) return;
    std::string list;
    for (size_t i = 0; i < std::min(left_out.size(), kNamed); i++) list += (i ? ", " : "") + left_out[i];
    if (left_out.size() > kNamed) list += str(", and ", left_out.size() - kNamed, " more");
    std::printf("left out: %s: %s\n", counted(int64_t(left_out.size()), "name").c_str(), list.c_str());
}

void tokenize(Options options) {
    USAGE_CHECK(!std::isnan(options.val_fraction), "--val-fraction must be a number from 0 to 0.5");
    const ThreadLimit limit = thread_limit(find_processors(), 1);
    if (options.threads > limit.threads) {
        std::fprintf(stderr, "tokenize: --threads %d is more than %d, which are used: %s\n", options.threads,
                     limit.threads, limit.reason.c_str());
        options.threads = limit.threads;
    }
    std::vector<std::string> left_out;
    const std::vector<Input> inputs = list_inputs(options, left_out);
    const std::string table = fs::path(options.out) / "tokenizer.bin";
    const OutputFolder folder(options.out);
    for (const std::string& path : remove_stale_temporaries(options.out))
        std::fprintf(stderr, "tokenize: removed %s, which an interrupted run had left\n", path.c_str());
    const bool occupied =
        !find_shards(options.out, "train").empty() || !find_shards(options.out, "val").empty() || fs::exists(table);
    USAGE_CHECK(options.overwrite || !occupied, options.out,
                " holds shards or a tokenizer already: name another folder or add --overwrite");
    const Tokenizer tokenizer = options.vocab.empty() ? Tokenizer::byte_level() : Tokenizer::gpt2(options.vocab);

    int64_t bytes = 0, with_lines = 0;
    for (const Input& input : inputs) {
        bytes += input.file.bytes;
        with_lines += input.file.kind == TextKind::kJsonLines;
    }
    const Temporary temporary(options.out, Temporary::Kind::folder);
    ShardWriter train(temporary.path(), "train", options.shard_tokens);
    ShardWriter val(temporary.path(), "val", options.shard_tokens);
    Progress progress(bytes);
    write_tokens(inputs, tokenizer, options, train, val, progress);
    CHECK(train.tokens() > 0, "the training inputs hold no text");
    CHECK(val.tokens() > 0 || options.val_inputs.empty(), "the inputs for validation hold no text");
    CHECK(val.tokens() > 0 || options.val_fraction == 0, "--val-fraction ", options.val_fraction,
          " leaves nothing for validation: it takes whole lines, and no input has more than one");
    train.finish();
    val.finish();
    const std::string finished_table = fs::path(temporary.path()) / "tokenizer.bin";
    tokenizer.save(finished_table);
    progress.erase();

    // What goes wrong from here on leaves some shards moved, and the table says so.
    Tokenizer::save_unfinished(table);
    train.move_to(options.out);
    val.move_to(options.out);
    if (rename(finished_table.c_str(), table.c_str()) != 0) fail_errno("write", table, errno);
    sync_directory(options.out);

    const int64_t documents = int64_t(inputs.size()) - with_lines;
    std::printf("read: %s of text, %s of JSON lines\n", counted(documents, "file").c_str(),
                counted(with_lines, "file").c_str());
    print_left_out(left_out);
    std::printf("%s: %lld training tokens in %s, %lld validation tokens in %s, vocabulary %d, %.1f s\n",
                options.out.c_str(), (long long)train.tokens(), counted(train.shards(), "shard").c_str(),
                (long long)val.tokens(), counted(val.shards(), "shard").c_str(), tokenizer.vocab_size(),
                progress.seconds());
}

void declare_options(CLI::App& app, Options& options) {
    app.set_version_flag("--version", std::string("tokenize (train_relora) ") + kVersion);
    app.add_option(
           "inputs", options.inputs,
           "text files (a document each), files of JSON lines (.jsonl, .ndjson; a document a line), or folders of "
           "them")
        ->required();
    app.add_option("--out", options.out, "folder for train_000000.bin, val_000000.bin, ... and tokenizer.bin")
        ->required();
    app.add_option("--vocab", options.vocab, "GPT-2's vocab.bpe or gpt2.tiktoken (default: byte-level tokens)");
    auto* val = app.add_option("--val", options.val_inputs, "files or folders for validation; left out of training");
    app.add_option("--val-fraction", options.val_fraction,
                   "share of every input, from its end, that goes to validation (0 to 0.5)")
        ->check(CLI::Range(0.0, 0.5))
        ->excludes(val);
    app.add_option("--text-field", options.text_field, "field of a JSON line that holds the text")
        ->capture_default_str();
    app.add_option("--shard-tokens", options.shard_tokens, "tokens in a shard (1 to 2147483647)")
        ->check(CLI::Range(int64_t(1), kMaxShardTokens))
        ->capture_default_str();
    app.add_option("--threads", options.threads, "threads (1 to 1024)")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    app.add_flag("--overwrite", options.overwrite, "replace the shards that are in the folder");
}

// A signal ends the program after the batch, which removes what it has written. One that was ignored stays so (nohup).
void catch_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        if (std::signal(signal, [](int) { interrupted = 1; }) == SIG_IGN) std::signal(signal, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);  // a report that nobody reads is no reason to stop
    std::signal(SIGXFSZ, SIG_IGN);  // a file that becomes too large is an error to report
}

}  // namespace

int main(int argc, char** argv) {
    prepare_descriptors();
    Options options;
    CLI::App app("Turns text into token shards for train_relora.", "tokenize");
    declare_options(app, options);
    try {
        app.parse(argc, argv);
        catch_signals();
        tokenize(options);
    } catch (const CLI::Success& request) {
        return app.exit(request);
    } catch (const CLI::ParseError& error) {
        std::cerr << "tokenize: " << error.what() << " (see --help)\n";
        return 2;
    } catch (const DiskFull& error) {
        std::cerr << "tokenize: " << error.what() << "; free space, or name another folder with --out\n";
        return error.exit_code;
    } catch (const Error& error) {
        std::cerr << "tokenize: " << error.what() << '\n';
        return error.exit_code;
    } catch (const std::bad_alloc&) {
        std::cerr << "tokenize: out of memory; fewer --threads need less\n";
        return 1;
    } catch (const std::exception& error) {
        std::cerr << "tokenize: " << error.what() << '\n';
        return 1;
    }
}
