#include "train/weights.h"

#include <algorithm>
#include <filesystem>

#include "io/safetensors.h"

ModelShape model_shape(const GPT2Config& c) { return {c.vocab_size, c.max_positions, c.layers, c.heads, c.channels}; }

GPT2Config config_of(const std::string& folder) {
    const ModelShape s = is_checkpoint(folder) ? read_state(folder).shape : read_huggingface_shape(folder);
    CHECK(std::min({s.vocab_size, s.positions, s.layers, s.heads, s.channels}) > 0, folder, " states a model of ",
          s.layers, " layers, ", s.heads, " heads, ", s.channels, " channels, vocabulary ", s.vocab_size, " and ",
          s.positions, " positions; all should be positive");
    return {s.vocab_size, s.positions, s.layers, s.heads, s.channels};
}

void load_merged(GPT2& model, const std::string& folder) {
    read_weights(folder, model.parameters());
    const std::string adapters_path = folder + "/adapters.safetensors";
    if (is_checkpoint(folder) && std::filesystem::exists(adapters_path)) {
        const RunState state = read_state(folder);
        const SafetensorsReader file(adapters_path);
        for (Parameter* weight : model.parameters()) {
            const std::string base = weight->name.substr(0, weight->name.rfind('.'));
            if (!weight->conv1d || !file.find(base + ".lora_A")) continue;
            relora::Adapter a;
            MemoryPlan memory(model.device());
            relora::Scratch scratch;
            a.rank = state.rank;
            a.in = weight->cols;
            a.out = weight->rows;
            a.scale = float(state.alpha / double(state.rank));
            a.sections = int(file.at(base + ".lora_A").shape.at(0) / a.rank);
            a.A.name = base + ".lora_A";
            a.B.name = base + ".lora_B";
            a.A.rows = a.A.file_rows = a.sections * a.rank;
            a.A.cols = a.in;
            a.B.rows = a.B.file_rows = a.out;
            a.B.cols = a.rank;
            a.A.is_matrix = a.B.is_matrix = true;
            memory.add(&a.A.master, MemoryCategory::adapters, DType::f32, a.A.rows, a.A.cols);
            memory.add(&a.B.master, MemoryCategory::adapters, DType::f32, a.B.rows, a.B.cols);
            memory.add(&scratch.delta, MemoryCategory::workspaces, DType::f32, 1, a.in * a.out);
            // A weight without a master gets one while it is merged, so that the sum is rounded once.
            const bool lacks_master = weight->master.empty();
            if (lacks_master)
                memory.add(&weight->master, MemoryCategory::masters, DType::f32, weight->rows, weight->cols);
            memory.allocate();
            if (lacks_master) read_weights(folder, {weight});
            read_adapters(folder, {&a.A, &a.B});
            relora::merge(a, *weight, scratch);
            if (lacks_master) weight->master = {};
        }
    }
    model.masters_to_weights();
}

void export_checkpoint(const std::string& from, const std::string& to) {
    GPT2 model(config_of(from), DType::f32);
    model.allocate_weights();
    load_merged(model, from);
    const std::string folder = std::filesystem::path(to + "/").parent_path().string();  // without a slash at its end
    write_huggingface(folder, model_shape(model.config()), model.parameters(), int(model.config().vocab_size) - 1);
}
