// The command line: CLI11 parses, one table serves help, config files and the check of a resume.
#include "train/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <type_traits>

namespace {

template <class T>
std::string toml_value(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
        // As a literal string, whose backslashes CLI11 before 2.4 takes for what they are too.
        if (value.find('\\') != std::string::npos && value.find_first_of("'\n") == std::string::npos)
            return "'" + value + "'";
        std::string quoted(1, '"');
        for (char c : value) {
            if (c == '"' || c == '\\') quoted.push_back('\\');
            if (c == '\n')
                quoted.append("\\n");
            else
                quoted.push_back(c);
        }
        quoted.push_back('"');
        return quoted;
    } else if constexpr (std::is_same_v<T, bool>) {
        return value ? "true" : "false";
    } else {
        std::ostringstream out;
        out << std::setprecision(17) << value;
        return out.str();
    }
}

// The value after `--name` or `--name=` in the raw arguments: needed before parsing to find a resumed run's config.
std::string raw_value(int argc, char** argv, const std::string& name) {
    for (int i = 1; i < argc; i++) {
        const std::string arg = argv[i];
        if (arg == name && i + 1 < argc) return argv[i + 1];
        if (arg.starts_with(name + "=")) return arg.substr(name.size() + 1);
    }
    return "";
}
bool raw_flag(int argc, char** argv, const std::string& name) {
    return std::find(argv + 1, argv + argc, name) != argv + argc;
}

}  // namespace

bool Options::parse(int argc, char** argv) {
    CLI::App app{"train_relora: pretrain GPT-2-style models with ReLoRA, high-rank training through low-rank updates"};
    app.set_version_flag("--version", std::string("train_relora ") + kVersion);
    app.get_formatter()->column_width(38);
    app.allow_config_extras(CLI::config_extras_mode::error);

    std::string group;
    const bool number = true, run_only = false;  // decides the run's numbers, or only how it is run
    const auto add = [&](const std::string& name, auto& value, const std::string& help, bool decides) {
        using T = std::remove_reference_t<decltype(value)>;
        CLI::Option* option;
        if constexpr (std::is_same_v<T, bool>)
            option = app.add_flag("--" + name, value, help);
        else
            option = app.add_option("--" + name, value, help);
        option->group(group);
        // A range does not keep out what is neither below nor above it.
        if constexpr (std::is_floating_point_v<T>)
            option->check([](const std::string& text) {
                return std::isnan(std::strtod(text.c_str(), nullptr)) ? text + " is not a number" : std::string();
            });
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
            if (value != T(-1)) option->capture_default_str();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!value.empty()) option->capture_default_str();
        }
        const bool stored = name != "resume" && name != "dry-run" && name != "print-schedule" && name != "export";
        entries_.push_back({name, [&value] { return toml_value(value); }, stored, decides});
        return option;
    };
    const auto positive = CLI::Range(int64_t(1), int64_t(1) << 40),
               not_negative = CLI::Range(int64_t(0), int64_t(1) << 40);
    const auto of_a_batch = CLI::Range(int64_t(1), int64_t(INT32_MAX));  // a product of two fits int64
    const auto fraction = CLI::Range(0.0, 1.0);
    const auto rate = CLI::Range(0.0, 1e3);

    group = "Data";
    add("train-data", train_data, "training token shards: a path or quoted glob", number);
    add("val-data", val_data, "validation token shards: a path or quoted glob (none: no validation)", run_only);
    add("tokenizer", tokenizer, "tokenizer.bin for samples (default: the one beside the training shards, else bytes)",
        run_only);
    add("batch-size", batch_size, "sequences per micro-step", number)->check(of_a_batch);
    add("seq-len", seq_len, "tokens per sequence", number)->check(of_a_batch);
    add("total-batch-tokens", total_batch_tokens,
        "tokens per update; more than batch-size x seq-len accumulates gradients (default: one micro-step)", number)
        ->check(positive);
    group = "Model";
    add("model", model, "one of " + config_names() + " (default: gpt2)", number);
    add("layers", layers, "blocks, instead of --model", number)->check(positive);
    add("heads", heads, "attention heads, instead of --model", number)->check(positive);
    add("channels", channels, "width, instead of --model", number)->check(positive);
    add("vocab-size", vocab_size, "tokens in the vocabulary (default: the tokenizer's, else 50257)", number)
        ->check(CLI::Range(int64_t(2), int64_t(65536)));
    add("positions", positions, "longest sequence the model can have (default: 1024 for --model, else --seq-len)",
        number)
        ->check(positive);
    add("init-from", init_from,
        "start from these weights: a checkpoint folder (step_NNNNNNNN) or a Hugging Face GPT-2 folder", number);
    add("seed", seed, "key of all random numbers", number);
    add("recompute", recompute,
        "activations: 'none' keeps all, 'pointwise' recomputes what LayerNorm and GELU give, 'block' all but block "
        "inputs",
        run_only)
        ->check(CLI::IsMember({"none", "pointwise", "block"}));
    group = "Method";
    add("mode", mode, "full, control (full-rank, as large as the low-rank phase's trained part), lora or relora",
        number)
        ->check(CLI::IsMember({"full", "control", "lora", "relora"}));
    add("rank", rank, "rank r of the adapters", number)->check(positive);
    add("alpha", alpha, "adapter scale is alpha / rank", number)->check(CLI::Range(1e-6, 1e6));
    add("targets", targets, "linears that get adapters, comma-separated", number);
    add("qkv-adapters", qkv_adapters, "'separate' adapters for q, k, v or one 'fused'", number)
        ->check(CLI::IsMember({"separate", "fused"}));
    add("adapter-route", adapter_route,
        "'merged': W + s B A formed once per update takes the place of W; 'factored': products of their own; "
        "'project': as merged, gradients projected from a dense one; auto: for each linear the fastest, as measured at "
        "the first start",
        number)
        ->check(CLI::IsMember({"auto", "merged", "factored", "project"}));
    add("lora-dropout", lora_dropout, "dropout on the adapters' input, 0 to <1", number)->check(CLI::Range(0.0, 0.99));
    add("warm-start-steps", warm_start_steps,
        "full-rank updates before the switch to low rank (default: relora about a quarter of the run, lora 0)", number)
        ->check(not_negative);
    add("merge-every", merge_every, "updates between merges (default: a third of the low-rank phase)", number)
        ->check(positive);
    add("reset-every", reset_every,
        "updates between optimizer resets and cycle of the jagged schedule; 0: neither (default: merge-every)", number)
        ->check(not_negative);
    add("reset", reset,
        "what a reset zeroes of the adapters' moments: zero, random:P, magnitude:P (P the fraction) or none", number);
    add("reset-adam-step", reset_adam_step, "a reset also restarts Adam's bias correction", number);
    add("restart-warmup-steps", restart_warmup_steps,
        "re-warm updates after a restart; 0: no dip (default: reset-every/20, 1 to 100)", number)
        ->check(not_negative);
    add("skip-zero-rate", skip_zero_rate, "start a re-warm at 1/restart-warmup-steps, not with an update at rate 0",
        number);
    group = "Optimizer";
    add("lr", lr, "peak learning rate, full-rank phase", number)->check(rate);
    add("lora-lr", lora_lr, "peak learning rate of everything that trains in the low-rank phase (default: 2 x lr)",
        number)
        ->check(rate);
    add("schedule", schedule, "cosine, linear, constant or wsd", number)
        ->check(CLI::IsMember({"cosine", "linear", "constant", "wsd"}));
    add("wsd-decay-fraction", wsd_decay_fraction, "share of updates in wsd's final decay", number)->check(fraction);
    add("warmup-steps", warmup_steps,
        "linear warm-up updates at the start of each phase (default: max-steps/20, at most 500)", number)
        ->check(not_negative);
    add("min-lr-ratio", min_lr_ratio, "final rate / peak rate", number)->check(fraction);
    add("max-steps", max_steps, "updates of the whole run (default: 20000)", number)->check(positive);
    add("max-tokens", max_tokens, "length of the run in tokens, instead of --max-steps", run_only)->check(positive);
    add("beta1", beta1, "AdamW", number)->check(CLI::Range(0.0, 0.999999));
    add("beta2", beta2, "AdamW", number)->check(CLI::Range(0.0, 0.999999));
    add("eps", eps, "AdamW", number)->check(CLI::Range(0.0, 1.0));
    add("weight-decay", weight_decay, "AdamW, on trained matrices", number)->check(CLI::Range(0.0, 10.0));
    add("grad-clip", grad_clip, "global gradient norm; 0: no clipping", number)->check(CLI::Range(0.0, 1e9));
    group = "Run";
    add("out", out, "run folder: checkpoints, metrics.jsonl, config.toml, export (default: runs/MODE-SEED)", run_only);
    add("resume", resume, "continue the run in --out, bit-exactly", run_only);
    add("device", device, "cpu, cuda, or auto: a GPU if there is one that can be used", run_only)
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
    add("dtype", dtype,
        "fp32, or bf16 weights and activations with fp32 masters, gradients and moments (default: bf16 on a GPU, else "
        "fp32)",
        number)
        ->check(CLI::IsMember({"fp32", "bf16"}));
    add("masters", masters,
        "of bf16 weights: fp32 copies, or none: updates round the weights stochastically (not with adapters, whose "
        "merges need fp32)",
        number)
        ->check(CLI::IsMember({"fp32", "none"}));
    add("threads", threads, "CPU threads; 0: all", run_only)->check(CLI::Range(int64_t(0), int64_t(1024)));
    add("eval-every", eval_every, "updates between validations; 0: only at the end", run_only)->check(not_negative);
    add("eval-batches", eval_batches, "micro-batches per validation; 0: all of the validation set", run_only)
        ->check(not_negative);
    add("log-every", log_every, "updates between lines in a log that is not a terminal", run_only)->check(positive);
    add("save-every", save_every, "updates between checkpoints; 0: only at the end", run_only)->check(not_negative);
    add("keep", keep, "newest checkpoints to keep; 0: all", run_only)->check(not_negative);
    add("sample-every", sample_every, "updates between text samples; 0: only at the end", run_only)
        ->check(not_negative);
    add("sample-tokens", sample_tokens, "tokens per sample; 0: no samples", run_only)->check(not_negative);
    add("temperature", temperature, "of samples; 0: always the likeliest token", run_only)
        ->check(CLI::Range(0.0, 100.0));
    add("top-k", top_k, "sample among the k likeliest tokens; 0: all", run_only)->check(not_negative);
    add("prompt", prompt, "text that samples continue (default: end of text)", run_only);
    add("export", export_dir, "write the merged --init-from model for Hugging Face into this folder, and exit",
        run_only);
    add("dry-run", dry_run, "print the plan (parameters, memory, steps, FLOPs) and exit", run_only);
    add("print-schedule", print_schedule,
        "print every update's rate and events, tab-separated (step is 0-based; a switch comes before its update, merge "
        "and reset after), and exit",
        run_only);
    add("profile", profile, "print at the end where the time went, by phase and by operation", run_only);
    add("autotune", autotune,
        "GPU: time several algorithms for each product; two such runs need not give the same bits", run_only);
    add("no-cuda-graph", no_cuda_graph,
        "GPU: launch every kernel by itself, not as a captured step; the same bits, slower", run_only);

    std::string config_default;
    if (raw_flag(argc, argv, "--resume") && raw_value(argc, argv, "--config").empty()) {
        config_default = raw_value(argc, argv, "--out") + "/config.toml";
        USAGE_CHECK(!raw_value(argc, argv, "--out").empty(), "--resume needs --out, the folder of the run to continue");
        CHECK(std::filesystem::exists(config_default), "--resume: ", config_default, " is not there, so ",
              raw_value(argc, argv, "--out"), " holds no run to continue");
    }
    app.set_config("--config", config_default, "read options from a TOML file; the command line overrides it", false);
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return false;
    } catch (const CLI::CallForVersion&) {
        std::cout << "train_relora " << kVersion << "\n";
        return false;
    } catch (const CLI::ParseError& error) {
        std::string line = error.what();
        std::replace(line.begin(), line.end(), '\n', ' ');
        USAGE_FAIL(line, " (--help lists every option)");
    }
    return true;
}

std::string Options::to_toml() {
    std::string text;
    for (const Entry& e : entries_) {
        const std::string value = e.text();
        // Options that are not in force for this run have no value to store.
        if (e.stored && value != "-1" && value != "\"\"") text += e.name + " = " + value + "\n";
    }
    return text;
}

std::vector<std::pair<std::string, std::string>> Options::trajectory() {
    std::vector<std::pair<std::string, std::string>> values;
    for (const Entry& e : entries_)
        if (e.decides_numbers) values.push_back({e.name, e.text()});
    return values;
}
