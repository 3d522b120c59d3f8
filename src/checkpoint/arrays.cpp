#include "checkpoint/arrays.h"

#include <algorithm>
#include <cstring>

#include "runtime/device.h"

namespace {

std::vector<int64_t> file_shape(const Parameter& p) {
    if (!p.is_matrix()) return {p.cols};
    return p.transposed_in_files() ? std::vector<int64_t>{p.cols, p.rows} : std::vector<int64_t>{p.file_rows, p.cols};
}

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
    const uint8_t* from = file.data(entry);
    if (entry.dtype == "F32") {
        CHECK(entry.bytes() == 4 * n, file.path(), ": ", entry.name, " holds ", entry.bytes() / 4,
              " numbers, expected ", n);
        std::memcpy(to, from, size_t(n) * 4);
        return;
    }
    CHECK(entry.dtype == "BF16", file.path(), ": ", entry.name, " is of type ", entry.dtype,
          "; F32 or BF16 can be read");
    CHECK(entry.bytes() == 2 * n, file.path(), ": ", entry.name, " holds ", entry.bytes() / 2, " numbers, expected ",
          n);
    for (int64_t i = 0; i < n; i++) {
        bf16 value;
        std::memcpy(&value, from + 2 * i, 2);
        to[i] = float(value);
    }
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

std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters) {
    SafetensorsWriter file(path, {{"format", "pt"}});
    for (const Parameter* p : parameters) file.add(p->name, "F32", file_shape(*p));
    std::vector<float> copy, transposed;
    for (const Parameter* p : parameters) {
        const float* data = on_host(p->value(), copy);
        if (p->transposed_in_files()) {
            transposed.resize(size_t(p->size()));
            transpose(transposed.data(), data, p->rows, p->cols);
            data = transposed.data();
        }
        file.write(p->name, data, size_t(p->file_size()) * 4);
    }
    return file.close();
}

void read_array(const SafetensorsReader& file, const SafetensorsEntry& entry, const Tensor& to, bool transposed) {
    std::vector<float> values(size_t(to.size()));
    read_numbers(file, entry, values.data(), to.size());
    if (transposed) {
        std::vector<float> array(values.size());
        std::swap(array, values);
        transpose(values.data(), array.data(), to.cols, to.rows);
    }
    if (to.dtype == DType::f32) return device::upload(to, values.data());
    std::vector<bf16> rounded(values.size());
    std::transform(values.begin(), values.end(), rounded.begin(), [](float x) { return bf16(x); });
    device::upload(to, rounded.data());
}

void read_values(const std::string& path, const std::vector<Parameter*>& parameters) {
    const SafetensorsReader file(path);
    for (Parameter* p : parameters) {
        // The hub's GPT-2 files leave out the prefix.
        const std::string bare = p->name.substr(p->name.find('.') + 1);
        const SafetensorsEntry& entry =
            file.at(file.find(p->name) || !file.find(bare) ? p->name : bare, file_shape(*p));
        read_array(file, entry, p->value().row_range(0, p->file_rows), p->transposed_in_files());
    }
}
