// What a run reads again: its state, its configuration, its log, the measured times; and the command line.
#include <cstdlib>
#include <fstream>
#include <vector>

#include "checkpoint/huggingface.h"
#include "checkpoint/run_state.h"
#include "io/files.h"
#include "io/json.h"
#include "io/metrics.h"
#include "test/fuzz/targets.h"
#include "train/options.h"
#include "train/routes.h"

namespace {

void state(std::string_view input) {
    fuzz::takes_or_refuses([&] {
        // An accepted text can be written and read again.
        const RunState state = read_state_file(fuzz::file_with(input, "state.json"));
        read_state_file(fuzz::file_with(state_text(state), "state.json"));
    });
}

void config_json(std::string_view input) {
    fuzz::file_with(input, "config.json");
    fuzz::takes_or_refuses([&] { read_huggingface_config(fuzz::scratch_folder()); });
}

// Parses a command line and derives what it leaves open, as far as no other file is needed.
void parse(std::vector<std::string> words) {
    fuzz::takes_or_refuses([&] {
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        Options options;
        if (options.parse(int(words.size()), arguments.data())) options.resolve();
    });
}

void config_toml(std::string_view input) { parse({"train_relora", "--config", fuzz::file_with(input, "config.toml")}); }

// One word a line. A word that names a file would make this a test of that file.
void command_line(std::string_view input) {
    if (input.find_first_of("/~") != input.npos || input.find("-h") != input.npos || input.find('\0') != input.npos)
        return;
    std::vector<std::string> words{"train_relora"};
    for (size_t begin = 0; begin < input.size();) {
        const size_t end = std::min(input.find('\n', begin), input.size());
        words.emplace_back(input.substr(begin, end - begin));
        begin = end + 1;
    }
    parse(words);
}

void metrics(std::string_view input) {
    fuzz::takes_or_refuses([&] { MetricsLog(fuzz::file_with(input, "metrics.jsonl"), 3); });
}

// The times that other runs have measured. KEY in the input stands for the key of this machine.
void routes(std::string_view input) {
    setenv("XDG_CACHE_HOME", fuzz::scratch_folder().c_str(), 1);
    const std::string path = fuzz::scratch_folder() + "/train_relora/adapter_times.json";
    RouteSetting setting;
    for (bool& target : setting.lora.targets) target = true;
    static const std::string key = [&] {
        store_times(modelled_times(setting), setting, 1);
        return read_json(path).begin().key();
    }();
    std::string text(input);
    if (const size_t at = text.find("KEY"); at != text.npos) text.replace(at, 3, key);
    std::ofstream(path, std::ios::binary) << text;
    fuzz::takes_or_refuses([&] {
        if (const auto times = stored_times(setting, 1)) fastest_routes(*times, 4);
    });
}

constexpr fuzz::Target kTargets[] = {{"state", state},
                                     {"config_json", config_json},
                                     {"config_toml", config_toml},
                                     {"command_line", command_line},
                                     {"metrics", metrics},
                                     {"routes", routes}};

}  // namespace

std::span<const fuzz::Target> fuzz::of_runs() { return kTargets; }
