// Periods that divide what they are periods of, and the numbers that would where they don't.
#pragma once

#include <cstdint>
#include <string>

// The longest of so many parts of `updates` that are as equal as whole updates can be: a quotient, rounded up.
int64_t part_of(int64_t updates, int64_t parts);
// Whether cycles of `period` updates fill `updates` as evenly as whole updates can: all are equal, or the last is
// shorter because no equal ones are as many.
bool fills(int64_t period, int64_t updates);

// The multiples of `unit` next to `value`, and the divisors of n next to it, as "N or M".
std::string nearest_multiples(int64_t value, int64_t unit);
std::string nearest_divisors(int64_t n, int64_t value);
