// Folders that transformers reads and writes as GPT2LMHeadModel.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "optimizer/whole.h"
#include "runtime/parameter.h"

// The configuration in the folder's config.json; throws where that states another network than this GPT-2.
GPT2Config read_huggingface_config(const std::string& folder);
// Throws unless a folder can be made here: there is nothing of that name yet, or only an empty folder.
void check_export_folder(const std::string& folder);
// Writes config.json, model.safetensors without adapters, and SHA256SUMS to a temporary name, which is then renamed.
// The last token of the vocabulary is taken for end of text. The first rank writes, the others take part.
void write_huggingface(const std::string& folder, const GPT2Config& config, const std::vector<Parameter*>& parameters,
                       const Whole& whole);
