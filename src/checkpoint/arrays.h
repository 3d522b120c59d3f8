// Parameters as arrays of safetensors files, in the layout of Hugging Face, and back.
#pragma once

#include <string>
#include <vector>

#include "io/safetensors.h"
#include "optimizer/whole.h"
#include "runtime/parameter.h"

// The parameters of a table that are adapters' A and B, and all others.
std::vector<Parameter*> adapters_of(const std::vector<Parameter*>& all);
std::vector<Parameter*> without_adapters(const std::vector<Parameter*>& all);

// Writes the values of `parameters` as one file of fp32 arrays: the first rank does, the others take part. Returns its
// SHA-256, or "" on another rank.
std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters, const Whole& whole);
// Reads the values of `parameters` from such a file, or from one of Hugging Face in F32 or BF16: into the weights,
// rounded where need be, and what this rank keeps of them into the masters.
void read_values(const SafetensorsReader& file, const std::vector<Parameter*>& parameters);

// The shape of a parameter's values in a file.
std::vector<int64_t> file_shape(const Parameter& p);
// How many sections the adapter of a weight has in a file of adapters of this rank; 0: it has none.
int adapter_sections(const SafetensorsReader& file, const Parameter& weight, int64_t rank);

// Reads an fp32 array of a parameter's shape, and what this rank keeps of it into `kept`, one of its moments.
void read_kept(const SafetensorsReader& file, const SafetensorsEntry& entry, const Parameter& p, const Tensor& kept);
// The elements of a tensor on the host in fp32: its own memory, or a copy that `copy` holds.
const float* on_host(const Tensor& t, std::vector<float>& copy);
