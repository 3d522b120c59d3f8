// The options one by one, and how a command line becomes their values.
#include "train/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "io/paths.h"
#include "runtime/version.h"
#include "train/branch.h"
#include "train/option_table.h"

namespace {

Range between(double least, double most) { return {least, most}; }
WholeRange whole(int64_t least, int64_t most) { return {least, most}; }
Names one_of(Names names) { return names; }

// The method as it was published (Lialin et al., 2024; beta2 is that of its code).
const std::vector<std::pair<std::string, std::string>> kPaper = {
    {"rank", "128"},         {"alpha", "32"},        {"lora-plus-ratio", "1"}, {"others", "restart"},
    {"restart-A", "redraw"}, {"restart-until", "1"}, {"beta2", "0.999"},       {"reset", "magnitude:0.99"},
    {"moment-bound", "off"}};

}  // namespace

// Each line has an option's name, its variable, what it decides, which values it may have, and its help.
void Options::describe(OptionTable& table) {
    const AnyValue any;
    const TextOrEmpty text_or_empty;
    const WholeRange positive = whole(1, int64_t(1) << 40), not_negative = whole(0, int64_t(1) << 40);
    const Range fraction = between(0, 1), rate = between(0, 1e3);

    table.group = "Data";
    table.add("train-data", train_data, kRunOnly, any, "training token shards: a path or quoted glob");
    table.add("val-data", val_data, kRunOnly, text_or_empty,
              "validation token shards: a path or quoted glob (none: no validation)");
    table.add("tokenizer", tokenizer, kRunOnly, any,
              "tokenizer.bin of the data (default: the one beside the training shards, else bytes)");
    table.add("batch-size", batch_size, kNumbers, whole(1, INT32_MAX), "sequences per micro-batch");
    table.add("seq-len", seq_len, kNumbers, whole(1, kLargest.max_positions), "tokens per sequence");
    table.add("total-batch-tokens", total_batch_tokens, kNumbers, positive,
              "tokens per update; more than batch-size x seq-len accumulates gradients (default: one micro-batch)");
    table.group = "Model";
    table.add("model", model, kNumbers, any, "one of " + config_names() + " (default: gpt2)");
    table.add("layers", layers, kNumbers, whole(1, kLargest.layers), "blocks, instead of --model");
    table.add("heads", heads, kNumbers, whole(1, kLargest.heads), "attention heads, instead of --model");
    table.add("channels", channels, kNumbers, whole(1, kLargest.channels), "width, instead of --model");
    table.add("vocab-size", vocab_size, kNumbers, whole(2, kLargest.vocab_size),
              "tokens in the vocabulary (default: the tokenizer's, else 50257)");
    table.add("positions", positions, kNumbers, whole(1, kLargest.max_positions),
              "longest sequence the model can have (default: 1024 for --model, else --seq-len)");
    table.add("init-from", init_from, kNumbers, any,
              "start from these weights: a checkpoint folder (step_NNNNNNNN) or a Hugging Face GPT-2 folder");
    table.add("seed", seed, kNumbers, whole(0, INT64_MAX), "key of all random numbers");
    table.add("recompute", recompute, kRunOnly, one_of({"none", "pointwise", "block"}),
              "activations: 'none' keeps all, 'pointwise' recomputes what LayerNorm and GELU give, 'block' all but "
              "block inputs");
    table.group = "Method";
    table.add("mode", mode, kNumbers, one_of({"full", "control", "lora", "relora"}),
              "full, control (full-rank, as large as the low-rank phase's trained part), lora or relora");
    table.add("recipe", recipe, kNumbers, one_of({"default", "paper"}),
              "what options of the method are where they are not given: 'paper', as in Lialin et al. (2024)");
    table.add("rank", rank, kNumbers, positive, "rank r of the adapters (default: a quarter of the model's channels)");
    table.add("alpha", alpha, kNumbers, between(0, 1e6),
              "adapter scale is alpha / rank; 0: sqrt(3 in / rank) for a linear with `in` inputs, by which a step of B "
              "moves W as far as a step of W at the same rate");
    table.add("targets", targets, kNumbers, any, "linears that get adapters, comma-separated");
    table.add("qkv-adapters", qkv_adapters, kNumbers, one_of({"separate", "fused"}),
              "'separate' adapters for q, k, v or one 'fused'");
    table.add("adapter-route", adapter_route, kNumbers, one_of({"auto", "merged", "factored", "project"}),
              "'merged': W + s B A formed once per update takes the place of W; 'factored': products of their own; "
              "'project': as merged, gradients projected from a dense one; auto: for each linear the fastest, as "
              "measured at the first start");
    table.add("lora-dropout", lora_dropout, kNumbers, between(0.0, 0.99), "dropout on the adapters' input, 0 to <1");
    table.add("warm-start-steps", warm_start_steps, kNumbers, not_negative,
              "full-rank updates before the switch to low rank (default: relora about a quarter of the run, lora 0)");
    table.add("merge-every", merge_every, kNumbers, positive,
              "updates between merges (default: a ninth of the low-rank phase, a third with restart-A redraw)");
    table.add("restart-A", restart_A, kNumbers, one_of({"keep", "redraw"}),
              "a restart merges, sets B to 0, and keeps A as it is or draws it anew");
    table.add("restart-until", restart_until, kNumbers, fraction,
              "the share of the low-rank phase in which there are restarts, besides that of the last update");
    table.add("reset-every", reset_every, kNumbers, not_negative,
              "updates between optimizer resets and cycle of the jagged schedule; 0: neither (default: merge-every)");
    table.add("reset", reset, kNumbers, any,
              "what a reset zeroes of the adapters' moments: zero, random:P, magnitude:P (P the fraction) or none "
              "(default: none, or with restart-A redraw zero)");
    table.add("reset-adam-step", reset_adam_step, kNumbers, any, "a reset also begins Adam's bias correction anew");
    table.add("restart-warmup-steps", restart_warmup_steps, kNumbers, not_negative,
              "updates of the re-warm, in which the rate rises from 0 after a reset; 0: it does not drop (default: "
              "reset-every/20, 1 to 100, or with --reset none 0)");
    table.add("skip-zero-rate", skip_zero_rate, kNumbers, any,
              "start a re-warm at 1/restart-warmup-steps, not with an update at rate 0");
    table.group = "Optimizer";
    table.add("lr", lr, kNumbers, rate, "peak learning rate, full-rank phase");
    table.add("lora-lr", lora_lr, kNumbers, rate,
              "peak learning rate of the adapters' B (default: 2.5 x lr, 2 x lr with --recipe paper)");
    table.add("lora-plus-ratio", lora_plus_ratio, kNumbers, between(1e-3, 1e6), "B's learning rate over A's (LoRA+)");
    table.add("others", others, kNumbers, one_of({"continue", "restart"}),
              "embeddings, LayerNorms and biases at the switch: 'continue', with moments and schedule of the full-rank "
              "phase, or 'restart', with fresh moments and the adapters' schedule");
    table.add("other-lr", other_lr, kNumbers, rate,
              "their peak learning rate in the low-rank phase (default: lr; lora-lr if they restart)");
    table.add("schedule", schedule, kNumbers, one_of({"cosine", "linear", "constant", "wsd"}),
              "cosine, linear, constant or wsd");
    table.add("wsd-decay-fraction", wsd_decay_fraction, kNumbers, fraction, "share of updates in wsd's final decay");
    table.add("warmup-steps", warmup_steps, kNumbers, not_negative,
              "linear warm-up updates at the start of each phase (default: max-steps/20, at most 500)");
    table.add("min-lr-ratio", min_lr_ratio, kNumbers, fraction, "final rate / peak rate");
    table.add("max-steps", max_steps, kNumbers, positive, "updates of the whole run (default: 20000)");
    table.add("max-tokens", max_tokens, kRunOnly, positive, "length of the run in tokens, instead of --max-steps");
    table.add("beta1", beta1, kNumbers, between(0.0, 0.999999), "AdamW");
    table.add("beta2", beta2, kNumbers, between(0.0, 0.999999), "AdamW");
    table.add("eps", eps, kNumbers, between(0.0, 1.0), "AdamW");
    table.add("moment-bound", moment_bound, kNumbers, one_of({"on", "off"}),
              "on: AdamW holds m to what gradients can lead to beside v; off: it keeps what a reset keeps");
    table.add("weight-decay", weight_decay, kNumbers, between(0.0, 10.0), "AdamW, on trained matrices");
    table.add("grad-clip", grad_clip, kNumbers, between(0.0, 1e9), "global gradient norm; 0: no clipping");
    table.add("outliers", outliers, kNumbers, one_of({"warn", "skip", "off"}),
              "updates whose loss or gradient norm is far above those before: warn of them, skip them, or off");
    table.add("outlier-zscore", outlier_zscore, kNumbers, between(1, 1e6),
              "standard deviations above the mean of up to 128 updates before that make an outlier");
    table.group = "Run";
    table.add("out", out, kRunOnly, any,
              "run folder: checkpoints, metrics.jsonl, config.toml, export (default: runs/MODE-SEED)");
    table.add("config", config_file, kThisStart, any, "read options from a TOML file; the command line overrides it");
    table.add("resume", resume, kThisStart, any, "continue the run in --out, bit-exactly; begin it if there is none");
    table.add(
        "resume-from", resume_from, kThisStart, any,
        "continue from this checkpoint, a step or a folder, not from the newest whole one; later ones get another "
        "name");
    table.add("branch-from", branch_from, kRunOnly, any,
              "begin the run in --out from a checkpoint of another, RUN/STEP, a folder or RUN (its newest), with its "
              "optimizer state; the other run's options hold where none are given");
    table.add("device", device, kRunOnly, one_of({"auto", "cpu", "cuda"}),
              "cpu, cuda, or auto: a GPU if there is one that can be used");
    table.add("dtype", dtype, kNumbers, one_of({"fp32", "bf16"}),
              "fp32, or bf16 weights and activations with fp32 masters, gradients and moments (default: bf16 on a GPU, "
              "else fp32)");
    table.add("masters", masters, kNumbers, one_of({"fp32", "none"}),
              "of bf16 weights: fp32 copies, or none: updates round the weights stochastically (not with adapters, "
              "whose merges need fp32)");
    table.add(
        "attention", attention, kNumbers, one_of({"auto", "mma", "wgmma"}),
        "GPU, bf16, heads of 64 or 128: tensor cores by mma.sync ('mma') or, on an H100 or H200, by 'wgmma', which "
        "rounds otherwise; auto: mma");
    table.add("threads", threads, kRunOnly, whole(0, 1024), "CPU threads; 0: as many as this process has processors");
    table.add("eval-every", eval_every, kRunOnly, not_negative, "updates between validations; 0: only at the end");
    table.add("eval-batches", eval_batches, kRunOnly, not_negative,
              "micro-batches per validation; 0: all of the validation set");
    table.add("log-every", log_every, kRunOnly, positive, "updates between lines in a log that is not a terminal");
    table.add("save-every", save_every, kRunOnly, not_negative, "updates between checkpoints; 0: only at the end");
    table.add("save-minutes", save_minutes, kRunOnly, between(0, 1e6),
              "minutes between checkpoints besides; 0: none for that reason");
    table.add("stop-after-minutes", stop_after_minutes, kRunOnly, between(0, 1e6),
              "save and stop, as by SIGTERM, so long after the start; 0: never");
    table.add("max-skipped", max_skipped, kRunOnly, not_negative,
              "updates skipped in a row, as their loss or gradient is not finite or an outlier, that end the run; 0: "
              "any number");
    table.add("keep", keep, kRunOnly, not_negative, "newest checkpoints to keep; 0: all");
    table.add("keep-every", keep_every, kRunOnly, not_negative,
              "keep those of steps that are multiples of this besides; 0: none");
    table.add("sample-every", sample_every, kRunOnly, not_negative, "updates between text samples; 0: only at the end");
    table.add("sample-tokens", sample_tokens, kRunOnly, not_negative, "tokens per sample; 0: no samples");
    table.add("temperature", temperature, kRunOnly, between(0.0, 100.0), "of samples; 0: always the likeliest token");
    table.add("top-k", top_k, kRunOnly, not_negative, "sample among the k likeliest tokens; 0: all");
    table.add("prompt", prompt, kRunOnly, text_or_empty, "text that samples continue (default: end of text)");
    table.add("export", export_dir, kThisStart, any,
              "write the merged --init-from model for Hugging Face into this folder, and exit");
    table.add("dry-run", dry_run, kThisStart, any, "print parameters, memory, updates and FLOPs, and exit");
    table.add("print-schedule", print_schedule, kThisStart, any,
              "print every update's rate and events, tab-separated (updates from 0 on; a switch comes before its "
              "update, merge and reset after), and exit");
    table.add("profile", profile, kRunOnly, any, "print at the end where the time went, by part of the loop and by op");
    table.group = "Ranks";
    table.add(
        "gpus", gpus, kThisStart, whole(1, 1024),
        "start this many processes on this machine, one for each GPU (1: with NCCL all the same); for other ways, "
        "and several machines, see scripts/launch_*.sh and scripts/slurm");
    table.add("ranks", ranks, kThisStart, whole(1, 1 << 20), "with --dry-run: as if started as this many processes");
    table.add("shard-optimizer", shard_optimizer, kRunOnly, one_of({"on", "off"}),
              "on: each rank keeps only its share of moments and fp32 masters (ZeRO, stage 1); the same numbers");
    table.add("reduce-dtype", reduce_dtype, kNumbers, one_of({"fp32", "bf16"}),
              "type of gradients on their way to other ranks, which add them in fp32");
    table.add("check-every", check_every, kRunOnly, not_negative,
              "updates between comparisons of all ranks' weights, bit for bit; 0: only after the switch and restarts");
    table.add("rank-patience", rank_patience, kRunOnly, between(1, 1e6), "seconds to wait for all ranks at the start");
    table.add("rank-timeout", rank_timeout, kRunOnly, between(1, 1e6),
              "seconds without progress after which a run of several ranks stops");
    table.group = "Run";
    table.add("autotune", autotune, kRunOnly, any,
              "GPU: time several algorithms for each product; later runs on such a GPU take what is chosen");
    table.add("no-cuda-graph", no_cuda_graph, kRunOnly, any,
              "GPU: launch every kernel by itself, not as part of a CUDA graph; the same bits, slower");
}

// The file that options are read from besides the command line, if there is one.
std::string Options::config_to_read() const {
    if (!config_file.empty()) return config_file;
    USAGE_CHECK(!resume || !out.empty(), "--resume needs --out, the folder of the run to continue");
    USAGE_CHECK(branch_from.empty() || !out.empty(), "--branch-from needs --out, a new folder for the branch");
    const std::string stored = out + "/config.toml";
    if (resume && path_exists(stored)) return stored;  // without it there is no run yet: it is begun
    return branch_from.empty() ? "" : branch_config(branch_from);
}

bool Options::parse(int argc, char** argv) {
    CLI::App app{"train_relora: pretrain GPT-2-style models with ReLoRA, high-rank training through low-rank updates"};
    app.set_version_flag("--version", std::string("train_relora ") + kVersion);
    app.get_formatter()->column_width(38);
    OptionTable table(app);
    describe(table);
    CLI::App* const verifies =
        app.add_subcommand("verify", "check every file and value of a checkpoint, or of all of a run");
    verifies->add_option("folder", verify, "a run folder or a checkpoint")->required();
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return false;
    } catch (const CLI::CallForVersion&) {
        std::cout << app.version() << "\n";
        return false;
    } catch (const CLI::ArgumentMismatch& error) {
        const std::string what = error.what();
        USAGE_FAIL(what.substr(0, what.find(':')), " is given without a value");
    } catch (const CLI::ParseError& error) {
        std::string line = error.what();
        std::replace(line.begin(), line.end(), '\n', ' ');
        USAGE_FAIL(line, " (--help lists every option)");
    }
    table.take_command_line();
    resume = resume || !resume_from.empty();
    if (const std::string path = config_to_read(); !path.empty()) table.take_config(path);
    if (recipe == "paper") table.take_recipe(kPaper);
    entries_ = table.entries();
    return true;
}

std::string Options::to_toml() const {
    std::string text;
    for (const OptionTable::Entry& e : entries_) {
        const std::string value = e.text();
        // Options that are not in force for this run have no value to store.
        if (e.decides != kThisStart && value != "-1" && value != "\"\"") text += e.name + " = " + value + "\n";
    }
    return text;
}

std::vector<std::pair<std::string, std::string>> Options::trajectory() const {
    std::vector<std::pair<std::string, std::string>> values;
    for (const OptionTable::Entry& e : entries_)
        if (e.decides == kNumbers) values.push_back({e.name, e.text()});
    return values;
}
