// The FLOPs of a step, counted in one place: for MFU, and for the time that its products must take.
#pragma once

#include "model/lora.h"

// Forward and backward per token as MFU counts them: 6 for each parameter (4 where its weight is frozen), 12 L C T for
// attention, and what the adapters' routes take. `lora` is null in the full-rank phase.
double flops_per_token(const GPT2Config& config, const LoraConfig* lora, int64_t T);

// What products really do per token: those of the linears, the padded head and the adapters, and the half of
// attention's that the causal mask leaves.
double product_flops_per_token(const GPT2Config& config, const LoraConfig* lora, int64_t T);
