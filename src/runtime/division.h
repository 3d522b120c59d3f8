// Division: which elements of a tensor each rank has.
#pragma once

#include <algorithm>
#include <cstdint>

// Some neighbouring elements of a tensor.
struct ElementRange {
    int64_t first = 0, count = 0;
};

// Rank q has the elements [q*share - offset, (q+1)*share - offset), as far as they exist.
struct Division {
    int64_t share = 0, offset = 0;

    ElementRange range(int q, int64_t n) const {
        const auto place = [&](int64_t rank) { return std::clamp<int64_t>(rank * share - offset, 0, n); };
        return {place(q), place(q + 1) - place(q)};
    }
};
