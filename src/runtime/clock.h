// The clock that all durations are measured by.
#pragma once

#include <chrono>

// Seconds since some time in the past.
inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
