#include "runtime/cpu/denormals.h"

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

void flush_denormals() {
#ifdef __SSE2__
    constexpr unsigned kDenormalsAreZero = 0x0040, kFlushToZero = 0x8000;  // of operands and of results
    _mm_setcsr(_mm_getcsr() | kDenormalsAreZero | kFlushToZero);
#endif
}
