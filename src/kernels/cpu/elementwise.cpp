// Ops that treat every element alike: add, convert, zero, fill.
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {

template <class Out, class A, class B>
void add(Out* out, const A* a, const B* b, int64_t n) {
    for_parts(n, [=](Range part) {
#pragma omp simd
        for (int64_t i = part.first; i < part.last; i++) store(out[i], float(a[i]) + float(b[i]));
    });
}

template <class Out, class In>
void convert(Out* out, const In* in, int64_t n) {
    for_parts(n, [=](Range part) {
#pragma omp simd
        for (int64_t i = part.first; i < part.last; i++) store(out[i], float(in[i]));
    });
}

void zero(void* out, int64_t bytes) {
    for_parts(bytes, [=](Range part) { std::memset(static_cast<char*>(out) + part.first, 0, size_t(part.count())); });
}

template <class T>
void fill(T* out, int64_t n, float value) {
    for_parts(n, [=](Range part) { std::fill(out + part.first, out + part.last, T(value)); });
}

template void fill(float*, int64_t, float);
template void fill(bf16*, int64_t, float);
template void add(float*, const float*, const float*, int64_t);
template void add(bf16*, const bf16*, const bf16*, int64_t);
template void add(bf16*, const float*, const float*, int64_t);
template void add(bf16*, const bf16*, const float*, int64_t);
template void convert(float*, const float*, int64_t);
template void convert(float*, const bf16*, int64_t);
template void convert(bf16*, const float*, int64_t);
template void convert(bf16*, const bf16*, int64_t);

}  // namespace kernels::cpu
