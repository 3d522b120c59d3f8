// Models out of folders: a checkpoint's adapters merged into its weights, to start from or to export.
#pragma once

#include <string>

#include "model/gpt2.h"

// The configuration of the weights in a checkpoint, all of whose files it verifies, or in a Hugging Face folder.
GPT2Config config_of(const std::string& folder);
// Reads base weights into the model, of whose configuration they are, and merges the folder's adapters, if it has any,
// in fp32. On a GPU the phase's memory must be allocated: products need its workspace.
void load_merged(GPT2& model, const std::string& folder);
// Writes the merged model of the folder `from` as a Hugging Face folder.
void export_checkpoint(const std::string& from, const std::string& to);
