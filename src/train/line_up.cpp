#include "train/line_up.h"

#include <algorithm>

#include "runtime/error.h"

int64_t part_of(int64_t updates, int64_t parts) { return updates / parts + (updates % parts != 0); }

bool fills(int64_t period, int64_t updates) {
    const int64_t cycles = part_of(updates, period);
    return period == part_of(updates, cycles);
}

std::string nearest_multiples(int64_t value, int64_t unit) {
    const int64_t below = value / unit * unit;
    return below > 0 ? str(below, " or ", below + unit) : str(below + unit);
}

std::string nearest_divisors(int64_t n, int64_t value) {
    int64_t below = 1, above = n;
    for (int64_t d = 1; d <= n / d; d++) {
        if (n % d != 0) continue;
        for (const int64_t divisor : {d, n / d}) {
            if (divisor <= value) below = std::max(below, divisor);
            if (divisor >= value) above = std::min(above, divisor);
        }
    }
    return below == above ? str(below) : str(below, " or ", above);
}
