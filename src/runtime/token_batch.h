// TokenBatch: a view of the tokens that one forward pass takes, from the loader to the model.
#pragma once

#include <cstdint>

struct TokenBatch {
    const int32_t* tokens = nullptr;   // (B, T), host memory
    const int32_t* targets = nullptr;  // (B, T): the token that follows each; null where no loss is asked for
    int64_t B = 0, T = 0;

    int64_t size() const { return B * T; }
};
