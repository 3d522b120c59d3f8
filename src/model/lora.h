// Which linears of a GPT-2 carry adapters, and what kind.
#pragma once

#include <array>

#include "model/config.h"
#include "relora.cuh"

struct LoraConfig {
    int64_t rank = 128;
    double alpha = 0;  // 0: the scale follows from rank and width
    double dropout = 0;
    bool targets[kLinears] = {true, true, true, true};
    bool separate_qkv = true;                      // q, k and v have an adapter each
    std::array<relora::Route, kLinears> routes{};  // of each linear; merged unless set

    relora::AdapterConfig adapter(int linear) const {
        return {.rank = rank,
                .alpha = alpha,
                .dropout = dropout,
                .sections = linear == kAttnQKV && separate_qkv ? 3 : 1,
                .route = routes[size_t(linear)]};
    }
};
