// The version of the program: the one place that says it.
#pragma once

inline constexpr const char* kVersion = "0.1.0";
