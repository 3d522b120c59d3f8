#include "checkpoint/arrays.h"

#include <algorithm>
#include <cmath>

#include "runtime/device.h"

namespace {

// to (cols, rows) = from (rows, cols) transposed, in tiles that stay in cache.
void transpose(float* to, const float* from, int64_t rows, int64_t cols) {
    constexpr int64_t TILE = 32;
#pragma omp parallel for schedule(static)
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < cols; c0 += TILE)
            for (int64_t c = c0; c < std::min(cols, c0 + TILE); c++)
                for (int64_t r = r0; r < std::min(rows, r0 + TILE); r++) to[c * rows + r] = from[r * cols + c];
}

void read_numbers(const SafetensorsReader& file, const SafetensorsEntry& entry, float* to, int64_t n) {
    const bool f32 = entry.dtype == "F32";
    CHECK(f32 || entry.dtype == "BF16", file.path(), ": ", entry.name, " is of type ", entry.dtype,
          "; F32 or BF16 can be read");
    const int64_t count = entry.bytes() / (f32 ? 4 : 2);
    CHECK(count == n, file.path(), ": ", entry.name, " holds ", count, " numbers, expected ", n);
    if (f32) return file.read(entry, to);
    std::vector<bf16> values(n);
    file.read(entry, values.data());
    std::transform(values.begin(), values.end(), to, [](bf16 x) { return float(x); });
}

std::vector<Parameter*> select(const std::vector<Parameter*>& all, bool adapters) {
    std::vector<Parameter*> chosen;
    std::copy_if(all.begin(), all.end(), std::back_inserter(chosen),
                 [&](Parameter* p) { return p->is_adapter() == adapters; });
    return chosen;
}

}  // namespace

std::vector<Parameter*> adapters_of(const std::vector<Parameter*>& all) { return select(all, true); }
std::vector<Parameter*> without_adapters(const std::vector<Parameter*>& all) { return select(all, false); }

std::vector<int64_t> file_shape(const Parameter& p) {
    if (!p.is_matrix()) return {p.cols};
    return p.transposed_in_files() ? std::vector<int64_t>{p.cols, p.rows} : std::vector<int64_t>{p.file_rows, p.cols};
}

int adapter_sections(const SafetensorsReader& file, const Parameter& weight, int64_t rank) {
    const SafetensorsEntry* A = file.find(weight.name.substr(0, weight.name.rfind('.')) + ".lora_A");
    if (!A) return 0;
    CHECK(A->shape.size() == 2 && A->shape[0] > 0 && A->shape[0] % rank == 0, file.path(), ": ", A->name, " has shape ",
          shape_text(A->shape), ", which adapters of rank ", rank, " can't have");
    return int(A->shape[0] / rank);
}

const float* on_host(const Tensor& t, std::vector<float>& copy) {
    if (t.device == Device::cpu && t.dtype == DType::f32) return t.get<float>();
    copy.resize(size_t(t.size()));
    if (t.dtype == DType::f32) {
        device::download(copy.data(), t);
    } else {
        std::vector<bf16> values(copy.size());
        device::download(values.data(), t);
        std::transform(values.begin(), values.end(), copy.begin(), [](bf16 x) { return float(x); });
    }
    return copy.data();
}

std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters, const Whole& whole) {
    if (!whole.ranks().first()) {
        for (const Parameter* p : parameters) whole.value(*p);
        return "";
    }
    SafetensorsWriter file(path, {{"format", "pt"}});
    for (const Parameter* p : parameters) file.add(p->name, "F32", file_shape(*p));
    std::vector<float> copy, transposed;
    for (const Parameter* p : parameters) {
        const float* data = on_host(whole.value(*p), copy);
        if (p->transposed_in_files()) {
            transposed.resize(size_t(p->size()));
            transpose(transposed.data(), data, p->rows, p->cols);
            data = transposed.data();
        }
        file.write(p->name, data, size_t(p->file_size()) * 4);
    }
    return file.close();
}

namespace {

// All of a parameter as a file has it; the rows that files don't hold are zero.
std::vector<float> read_whole(const SafetensorsReader& file, const SafetensorsEntry& entry, const Parameter& p,
                              bool transposed) {
    std::vector<float> values(size_t(p.size()), 0.0f);
    read_numbers(file, entry, values.data(), p.file_size());
    for (const float& x : values)
        CHECK(std::isfinite(x), file.path(), ": number ", &x - values.data(), " of ", entry.name, " is ", x,
              ", it should be finite");
    if (transposed) {
        std::vector<float> array(values.size());
        std::swap(array, values);
        transpose(values.data(), array.data(), p.cols, p.rows);
    }
    return values;
}

// What this rank keeps of a parameter's values, to a tensor of its master or moments.
void upload_kept(const Parameter& p, const Tensor& kept, const std::vector<float>& values) {
    if (p.kept_size() > 0) device::upload(kept, values.data() + (p.shared ? p.part.first : 0));
}

}  // namespace

void read_kept(const SafetensorsReader& file, const SafetensorsEntry& entry, const Parameter& p, const Tensor& kept) {
    upload_kept(p, kept, read_whole(file, entry, p, false));
}

void read_values(const SafetensorsReader& file, const std::vector<Parameter*>& parameters) {
    for (const Parameter* p : parameters) {
        // The hub's GPT-2 files leave out the prefix.
        const std::string bare = p->name.substr(p->name.find('.') + 1);
        const SafetensorsEntry& entry =
            file.at(file.find(p->name) || !file.find(bare) ? p->name : bare, file_shape(*p));
        const std::vector<float> values = read_whole(file, entry, *p, p->transposed_in_files());
        if (p->has_master) upload_kept(*p, p->master, values);
        if (p->weight.empty()) continue;  // only the master was asked for
        if (p->weight.dtype == DType::f32) {
            device::upload(p->weight, values.data());
            continue;
        }
        std::vector<bf16> rounded(values.size());
        std::transform(values.begin(), values.end(), rounded.begin(), [](float x) { return bf16(x); });
        device::upload(p->weight, rounded.data());
    }
}
