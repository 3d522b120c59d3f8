// Weights from and to folders: starting from a checkpoint or a Hugging Face model, exporting a merged one.
#pragma once

#include <string>

#include "io/checkpoint.h"
#include "model/gpt2.h"

ModelShape model_shape(const GPT2Config& config);
// The shape of the weights in a checkpoint or Hugging Face folder.
GPT2Config config_of(const std::string& folder);
// Reads base weights into the model's masters and merges the folder's adapters, if it has any, in fp32. On a GPU the
// phase's memory must be allocated: products need its workspace.
void load_merged(GPT2& model, const std::string& folder);
// --export: the merged model of `from` as a Hugging Face folder.
void export_checkpoint(const std::string& from, const std::string& to);
