// CUDA's built-in device functions that concern one thread only: atomics, cached loads, bit casts, maths.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace executor {

template <class To, class From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(static_cast<void*>(&to), &from, sizeof to);
    return to;
}

// *p = f(*p), returning the old value. The order is relaxed, as on the device: an atomic orders no other memory.
template <class T, class F>
inline T read_modify_write(T* p, F f) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
    Bits* const bits = reinterpret_cast<Bits*>(p);
    Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED), now;
    do now = bit_cast<Bits>(T(f(bit_cast<T>(old))));
    while (!__atomic_compare_exchange_n(bits, &old, now, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return bit_cast<T>(old);
}

}  // namespace executor

// ---- atomics: the value is taken as the target's type, as overload resolution does on the device -----------------

template <class T>
inline T atomicAdd(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old + v; });
}
template <class T>
inline T atomicSub(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old - v; });
}
template <class T>
inline T atomicMax(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
inline T atomicMin(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return v < old ? v : old; });
}
template <class T>
inline T atomicAnd(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old & v; });
}
template <class T>
inline T atomicOr(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old | v; });
}
template <class T>
inline T atomicXor(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T old) { return old ^ v; });
}
template <class T>
inline T atomicExch(T* p, std::type_identity_t<T> v) {
    return executor::read_modify_write(p, [v](T) { return v; });
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
    return executor::read_modify_write(p, [limit](unsigned old) { return old >= limit ? 0u : old + 1; });
}
template <class T>
inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}

// ---- loads and stores with a cache hint --------------------------------------------------------------------------

template <class T>
inline T __ldg(const T* p) {
    return *p;
}
template <class T>
inline T __ldca(const T* p) {
    return *p;
}
template <class T>
inline T __ldcg(const T* p) {
    return *p;
}
template <class T>
inline T __ldcs(const T* p) {
    return *p;
}
template <class T>
inline void __stcg(T* p, std::type_identity_t<T> v) {
    *p = v;
}
template <class T>
inline void __stcs(T* p, std::type_identity_t<T> v) {
    *p = v;
}

// ---- bits --------------------------------------------------------------------------------------------------------

inline unsigned __float_as_uint(float x) { return executor::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return executor::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return executor::bit_cast<float>(x); }
inline float __int_as_float(int x) { return executor::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return executor::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return executor::bit_cast<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)(a)*b >> 64);
}

// ---- maths: the fast approximations are the exact functions here -------------------------------------------------

inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __int2float_rn(int x) { return float(x); }
inline int __float2int_rn(float x) { return int(nearbyintf(x)); }
using std::max;
using std::min;

namespace gpu {

inline int64_t nanoseconds() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

inline float exp2_approx(float x) {
    const float power = exp2f(x);
    return power < 0x1p-126f ? 0.0f : power;
}

}  // namespace gpu
