#include "checkpoint/verify.h"

#include <cmath>
#include <list>

#include "checkpoint/arrays.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/run_folder.h"
#include "io/safetensors.h"
#include "model/gpt2.h"

namespace {

// Checks that an array has a shape, that its numbers are finite, and none below `least`.
void check_array(const SafetensorsReader& file, const std::string& name, const std::vector<int64_t>& shape,
                 float least = -INFINITY) {
    const SafetensorsEntry& entry = file.at(name, shape);
    CHECK(entry.dtype == "F32", file.path(), ": ", name, " is of type ", entry.dtype, ", it should be F32");
    std::vector<float> numbers(size_t(entry.bytes()) / sizeof(float));
    file.read(entry, numbers.data());
    for (size_t i = 0; i < numbers.size(); i++)
        CHECK(std::isfinite(numbers[i]) && numbers[i] >= least, file.path(), ": number ", i, " of ", name, " is ",
              double(numbers[i]));
}

void check_count(const SafetensorsReader& file, size_t expected) {
    CHECK(file.entries().size() == expected, file.path(), " has ", file.entries().size(), " arrays, it should have ",
          expected);
}

void check_values(const SafetensorsReader& file, const std::vector<Parameter*>& parameters) {
    for (const Parameter* p : parameters) check_array(file, p->name, file_shape(*p));
    check_count(file, parameters.size());
}

// The adapters of a model, as a file has them. They freeze their weights.
std::list<relora::Adapter> adapters_in(const SafetensorsReader& file, const RunState& state,
                                       const std::vector<Parameter*>& weights) {
    std::list<relora::Adapter> found;
    for (Parameter* weight : weights) {
        if (weight->role != Role::linear) continue;
        const int sections = adapter_sections(file, *weight, state.rank);
        if (sections == 0) continue;
        found.push_back(relora::make_adapter(
            0, *weight, {.rank = state.rank, .alpha = state.alpha, .sections = sections}, weight->bucket));
    }
    return found;
}

}  // namespace

void verify_checkpoint(const std::string& folder) {
    const RunState state = whole_checkpoint(folder).state;
    GPT2 model(state.config, DType::f32);
    std::vector<Parameter*> all = model.parameters();
    check_values(SafetensorsReader(folder + "/model.safetensors"), all);
    std::list<relora::Adapter> adapters;
    if (state.low_rank) {
        const SafetensorsReader file(folder + "/adapters.safetensors");
        adapters = adapters_in(file, state, all);
        for (relora::Adapter& a : adapters) all.insert(all.end(), {&a.A, &a.B});
        check_values(file, adapters_of(all));
    }
    const SafetensorsReader moments(folder + "/optimizer.safetensors");
    size_t trained = 0;
    for (const Parameter* p : all) {
        if (!p->trains) continue;
        const std::vector<int64_t> shape{p->file_rows, p->cols};
        check_array(moments, p->name + ".m", shape);
        check_array(moments, p->name + ".v", shape, 0);
        trained++;
    }
    check_count(moments, 2 * trained);
    check_adam_steps(folder, state, all);
}

Verdict verify(const std::string& folder) {
    const std::vector<std::string> all = is_checkpoint(folder) ? std::vector{folder} : checkpoints(folder);
    CHECK(!all.empty(), folder, " is no checkpoint, and has none in it");
    Verdict verdict;
    for (const std::string& checkpoint : all) try {
            verify_checkpoint(checkpoint);
            verdict.lines += checkpoint + ": whole\n";
        } catch (const Error& error) {
            verdict.lines += checkpoint + ": not whole: " + error.what() + "\n";
            verdict.all_whole = false;
        }
    return verdict;
}
