#include "checkpoint/merged.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "checkpoint/arrays.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checksums.h"
#include "checkpoint/huggingface.h"
#include "checkpoint/run_folder.h"
#include "io/safetensors.h"

GPT2Config config_of(const std::string& folder) {
    if (is_checkpoint(folder)) return whole_checkpoint(folder).state.config;
    const GPT2Config c = read_huggingface_config(folder);
    for (const auto& [name, size] : {std::pair("vocab_size", &GPT2Config::vocab_size),
                                     {"n_positions", &GPT2Config::max_positions},
                                     {"n_layer", &GPT2Config::layers},
                                     {"n_head", &GPT2Config::heads},
                                     {"n_embd", &GPT2Config::channels}})
        CHECK(c.*size >= 1 && c.*size <= kLargest.*size, folder, "/config.json: ", name, " is ", c.*size,
              ", it should be from 1 to ", kLargest.*size);
    return c;
}

namespace {

// Merges the adapter that a checkpoint's `adapters` hold of a weight, in memory of its own.
void merge_adapter(const std::string& folder, const SafetensorsReader& adapters, Parameter& weight,
                   const relora::AdapterConfig& config, Device device) {
    Parameter base = weight;  // the model's own is to be frozen only where the run says so
    relora::Adapter a = relora::make_adapter(0, base, config, base.bucket);
    MemoryPlan memory(device);
    relora::Scratch scratch;
    for (Parameter* p : {&a.A, &a.B}) memory.add(&p->weight, MemoryCategory::adapters, DType::f32, p->rows, p->cols);
    memory.add(&scratch.delta, MemoryCategory::workspaces, DType::f32, 1, a.in * a.out);
    // A weight without a master gets one while it is merged, so that the sum is rounded once.
    const bool lacks_master = !base.has_master && base.weight.dtype != DType::f32;
    if (lacks_master) base.has_master = true, base.shared = false;
    if (lacks_master) memory.add(&base.master, MemoryCategory::masters, DType::f32, base.rows, base.cols);
    memory.allocate();
    if (lacks_master) read_weights(folder, {&base});
    read_values(adapters, {&a.A, &a.B});
    relora::merge(a, scratch);
}

}  // namespace

void load_merged(GPT2& model, const std::string& folder) {
    const std::optional<RunState> state = is_checkpoint(folder) ? std::optional(read_state(folder)) : std::nullopt;
    if (!state) verify_checksums(folder);
    read_weights(folder, model.parameters());
    if (state && state->low_rank) {
        const SafetensorsReader file(folder + "/adapters.safetensors");
        for (Parameter* weight : model.parameters()) {
            const int sections = weight->role == Role::linear ? adapter_sections(file, *weight, state->rank) : 0;
            if (sections == 0) continue;
            merge_adapter(folder, file, *weight, {.rank = state->rank, .alpha = state->alpha, .sections = sections},
                          model.device());
        }
    }
    model.values_changed();
}

void export_checkpoint(const std::string& from, const std::string& to) {
    const std::string folder = std::filesystem::path(to + "/").parent_path().string();  // without a slash at its end
    check_export_folder(folder);
    GPT2 model(config_of(from), DType::f32);
    model.allocate_weights();
    load_merged(model, from);
    write_huggingface(folder, model.config(), model.parameters(), Whole());
}
