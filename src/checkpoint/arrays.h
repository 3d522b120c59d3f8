// Parameters as arrays of safetensors files, in the layout of Hugging Face, and back.
#pragma once

#include <string>
#include <vector>

#include "io/safetensors.h"
#include "runtime/parameter.h"

// The adapters' A and B of a table, or all else.
std::vector<Parameter*> adapters_of(const std::vector<Parameter*>& all);
std::vector<Parameter*> without_adapters(const std::vector<Parameter*>& all);

// The values of `parameters` as one file of fp32 arrays. Returns its SHA-256.
std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters);
// From such a file, or one of Hugging Face in F32 or BF16, into the masters, or the weights where there are none.
void read_values(const std::string& path, const std::vector<Parameter*>& parameters);

// An array into the first rows of a tensor; `transposed`: the file's is the transpose.
void read_array(const SafetensorsReader& file, const SafetensorsEntry& entry, const Tensor& to, bool transposed);
// The elements of a tensor on the host in fp32: its own memory, or a copy that `copy` holds.
const float* on_host(const Tensor& t, std::vector<float>& copy);
