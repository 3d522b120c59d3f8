// Every option of the program with its default, and what the unset ones become.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/data_files.h"
#include "model/activations.h"
#include "model/lora.h"
#include "optimizer/segments.h"
#include "runtime/ranks/place.h"
#include "train/option_table.h"
#include "train/routes.h"

// A value of -1 (or an empty string) on an option with a derived default means "not given"; resolve() fills it in.
struct Options {
    // data
    std::string train_data, val_data, tokenizer;
    int64_t batch_size = 8, seq_len = 1024, total_batch_tokens = -1;
    // model
    std::string model, init_from;
    int64_t layers = -1, heads = -1, channels = -1, vocab_size = -1, positions = -1;
    uint64_t seed = 1337;
    // method
    std::string mode = "relora", recipe = "default";
    int64_t rank = -1;
    double alpha = 0, restart_until = 0.5, lora_dropout = 0;
    std::string targets = "attn.c_attn,attn.c_proj,mlp.c_fc,mlp.c_proj", qkv_adapters = "separate",
                adapter_route = "auto";
    int64_t warm_start_steps = -1, merge_every = -1, reset_every = -1;
    std::string restart_A = "keep", reset;
    bool reset_adam_step = false;
    // schedule and optimizer
    std::string schedule = "cosine", others = "continue";
    int64_t max_steps = -1, max_tokens = -1, warmup_steps = -1, restart_warmup_steps = -1;
    double lr = 6e-4, lora_lr = -1, lora_plus_ratio = 10, other_lr = -1, min_lr_ratio = 0.1, wsd_decay_fraction = 0.2;
    bool skip_zero_rate = false;
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1, grad_clip = 1.0, outlier_zscore = 6;
    std::string outliers = "warn", moment_bound = "on";
    // run
    std::string out, device = "auto", dtype, masters = "fp32", attention = "auto", recompute = "none", export_dir,
                     branch_from, config_file;
    int64_t eval_every = 100, eval_batches = 20, sample_every = 0, save_every = 0, keep = 3, keep_every = 0,
            log_every = 10, threads = 0, max_skipped = 20;
    double save_minutes = 10, stop_after_minutes = 0;
    int64_t sample_tokens = 256, top_k = 0;
    double temperature = 0.8;
    std::string prompt, resume_from, verify;
    bool resume = false, dry_run = false, print_schedule = false, profile = false, autotune = false,
         no_cuda_graph = false;
    // ranks
    int64_t gpus = -1, ranks = 1, check_every = 100;
    std::string shard_optimizer = "on", reduce_dtype = "fp32";
    double rank_patience = 300, rank_timeout = 600;

    // What resolve() derives.
    Device run_device = Device::cpu;
    GPT2Config config;
    LoraConfig lora;
    relora::Reset reset_config;
    int64_t accumulation = 1;  // micro-batches per update and rank
    std::string resumed_from;  // the checkpoint that the run goes on from, and why newer ones are passed over
    std::vector<std::string> passed_over;
    bool branches = false;  // from a checkpoint of another run
    DataFiles train_files, val_files;
    std::vector<std::string> data_notes;  // what is to be said of the data at the start
    std::vector<std::string> found;       // the checkpoints that there were then

    // Whether it is only said what a run would be.
    bool only_plans() const { return dry_run || print_schedule; }
    bool low_rank() const { return mode == "lora" || mode == "relora"; }
    bool restarts() const { return mode == "relora"; }
    DType compute_type() const { return dtype == "bf16" ? DType::bf16 : DType::f32; }

    Sharing sharing(int rank) const {
        const bool reduces = ranks > 1 || gpus == 1;
        return {.rank = rank, .ranks = int(ranks), .reduces = reduces, .on = reduces && shard_optimizer == "on"};
    }
    DType reduced_as() const { return reduce_dtype == "bf16" ? DType::bf16 : DType::f32; }
    bool has_masters() const { return masters == "fp32"; }
    BatchLimits batch_limits() const;

    // Whether the routes of the linears are left to be chosen, and what their times depend on.
    bool chooses_routes() const { return low_rank() && adapter_route == "auto" && lora_dropout == 0; }
    RouteSetting route_setting() const { return {config, lora, compute_type(), run_device, batch_size * seq_len}; }

    // The checkpoint that a resume or a branch goes on from, if there is one: the one that was asked for, or the newest
    // whole one. A branch takes from it what its options leave open.
    void choose_checkpoint();
    // Makes paths mean the same in any working directory.
    void make_paths_absolute();
    // Finds the data's files and checks that their tokenizers are one, and the model's.
    void find_data();
    // The model's configuration and vocabulary from --init-from or the data, where options leave them open.
    void complete_from_files();
    // Fills in derived defaults and checks everything that can be checked without reading data. Throws usage errors.
    void resolve();
    // How far the adapters' first steps move W, as "1.4 of the full-rank rate": the rms of s dB A over that of dW.
    std::string adapter_step() const;
    // The options as a TOML file that --config takes.
    std::string to_toml() const;
    // The options of the command line that change nothing in this run, as "--rank, --alpha".
    std::string without_effect() const;
    // Names and values of the options that decide the numbers of a run: a resume must have the same.
    std::vector<std::pair<std::string, std::string>> trajectory() const;
    // The tokenizer.bin that is named, or lies beside the training shards; empty: bytes.
    std::string tokenizer_file() const;

    // Makes this process the one at its place: its GPU, the number of ranks, its threads, whose number it returns.
    int take_place(const Place& place);

    // Parses the command line. Returns false when it has printed help or the version and nothing is left to do.
    bool parse(int argc, char** argv);

  private:
    void describe(OptionTable& table);
    std::string config_to_read() const;
    int start_threads(const Place& place) const;
    void choose_branch_point();
    void check_vocabulary(const std::optional<FileFingerprint>& tokenizer);
    void resolve_device();
    void resolve_model();
    void resolve_restarts_and_rank();
    void resolve_steps();
    void resolve_length();
    int64_t default_low_rank_steps() const;
    // Three cycles in the low-rank phase where a restart throws A away, as in the paper.
    int64_t default_cycles() const { return restart_A == "keep" ? 9 : 3; }
    void resolve_cycles(int64_t low);
    void resolve_method();
    std::vector<OptionTable::Entry> entries_;
};
