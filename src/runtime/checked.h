// Arithmetic of sizes that throws where 64 bits don't hold the result.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "runtime/error.h"

// The product of whole numbers of which none is negative. `what` names it in the error.
inline int64_t checked_product(std::string_view what, std::initializer_list<int64_t> factors) {
    int64_t product = 1;
    for (const int64_t factor : factors)
        USAGE_CHECK(!__builtin_mul_overflow(product, factor, &product), what, ": more than 64 bits can count");
    return product;
}

// The sum, likewise.
inline int64_t checked_sum(std::string_view what, int64_t a, int64_t b) {
    int64_t sum = 0;
    USAGE_CHECK(!__builtin_add_overflow(a, b, &sum), what, ": more than 64 bits can count");
    return sum;
}
