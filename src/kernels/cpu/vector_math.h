// fp32 functions as plain branch-free C++, so that the compiler turns loops of them into vector code (libm's calls stay
// scalar). Relative error about 1e-7; NaN stays NaN. Series are Taylor's, cut where the next term is below fp32's
// precision.
#pragma once

#include <bit>
#include <cstdint>

#include "runtime/tensor.h"

namespace kernels::cpu {

// Stores `value` as T, rounded. Assigning the bits instead of the struct is what lets g++ vectorise the loop around it.
inline void store(float& to, float value) { to = value; }
inline void store(bf16& to, float value) { to.bits = bf16(value).bits; }

// The exponential.
inline float vexp(float x) {
    // e^x = 2^n e^r with |r| <= ln(2)/2. Beyond the clamp the result is 0 or Inf in fp32; the comparisons keep a NaN.
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const float shifted = x * 1.44269504f + kRound;
    const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
    const float whole = shifted - kRound;
    // ln(2) in two parts, the first with few bits so that its product with n is exact.
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    // 2^n in two factors, because 2^128 and 2^-140 aren't floats of their own but may be parts of a result that is. The
    // unsigned shifts keep a NaN's meaningless n from being undefined.
    const int32_t half = n >> 1;
    const float scale_a = std::bit_cast<float>((uint32_t(half) + 127u) << 23);
    const float scale_b = std::bit_cast<float>((uint32_t(n) - uint32_t(half) + 127u) << 23);
    return series * scale_a * scale_b;
}

// Natural logarithm of a positive normal number.
inline float vlog(float x) {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1)/(m + 1).
    const uint32_t bits = std::bit_cast<uint32_t>(x) - 0x3F3504F3u;
    const float e = float(int32_t(bits) >> 23);
    const float f = std::bit_cast<float>((bits & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    const float s = f / (2.0f + f), z = s * s;
    float series = 2.0f / 9.0f;
    series = series * z + 2.0f / 7.0f;
    series = series * z + 2.0f / 5.0f;
    series = series * z + 2.0f / 3.0f;
    return e * 0.693359375f + (s * (2.0f + z * series) - e * 2.12194440e-4f);
}

// cos(2 pi u) and sin(2 pi u) for u in [0, 1].
inline void vcos_sin(float u, float& cosine, float& sine) {
    // The nearest quarter turn is split off exactly; |t| <= pi/4 remains.
    const int32_t quarter = int32_t(u * 4.0f + 0.5f);
    const float t = (u - float(quarter) * 0.25f) * 6.28318531f, z = t * t;
    float c = -1.0f / 3628800.0f;
    c = c * z + 1.0f / 40320.0f;
    c = c * z - 1.0f / 720.0f;
    c = c * z + 1.0f / 24.0f;
    c = c * z - 0.5f;
    c = c * z + 1.0f;
    float s = 1.0f / 362880.0f;
    s = s * z - 1.0f / 5040.0f;
    s = s * z + 1.0f / 120.0f;
    s = s * z - 1.0f / 6.0f;
    s = t + t * z * s;
    const bool swap = quarter & 1;
    const float unsigned_cos = swap ? s : c, unsigned_sin = swap ? c : s;
    cosine = (quarter + 1) & 2 ? -unsigned_cos : unsigned_cos;
    sine = quarter & 2 ? -unsigned_sin : unsigned_sin;
}

}  // namespace kernels::cpu
