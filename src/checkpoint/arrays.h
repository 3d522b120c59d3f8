// Parameters as arrays of safetensors files, in the layout of Hugging Face, and back.
#pragma once

#include <string>
#include <vector>

#include "io/safetensors.h"
#include "runtime/parameter.h"

// The parameters of a table that are adapters' A and B, and all others.
std::vector<Parameter*> adapters_of(const std::vector<Parameter*>& all);
std::vector<Parameter*> without_adapters(const std::vector<Parameter*>& all);

// Writes the values of `parameters` as one file of fp32 arrays. Returns its SHA-256.
std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters);
// Reads the values of `parameters` from such a file, or from one of Hugging Face in F32 or BF16, into the masters, or
// into the weights where there are no masters.
void read_values(const std::string& path, const std::vector<Parameter*>& parameters);

// Reads an array into a tensor of the same size; `transposed`: the file holds the transpose.
void read_array(const SafetensorsReader& file, const SafetensorsEntry& entry, const Tensor& to, bool transposed);
// The elements of a tensor on the host in fp32: its own memory, or a copy that `copy` holds.
const float* on_host(const Tensor& t, std::vector<float>& copy);
