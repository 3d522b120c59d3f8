// Tensor: a typed view of memory that somebody else owns. Code above the ops sees memory only through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/error.h"

enum class Device { cpu, cuda };
enum class DType { f32, bf16, i32 };

// bfloat16 is storage only: the upper half of a float, rounded to nearest even. Arithmetic is always fp32.
struct bf16 {
    uint16_t bits;
    // cppcheck-suppress uninitMemberVar
    bf16() = default;  // uninitialised, as shared memory of a kernel has to be
    explicit bf16(float value) {
        uint32_t u;
        std::memcpy(&u, &value, 4);
        const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
        // Rounding may carry a NaN into infinity: a NaN is truncated and made quiet instead.
        bits = uint16_t((u & 0x7FFFFFFFu) > 0x7F800000u ? (u >> 16) | 0x40u : rounded);
    }
    explicit operator float() const {
        const uint32_t u = uint32_t(bits) << 16;
        float value;
        std::memcpy(&value, &u, 4);
        return value;
    }
};
static_assert(sizeof(bf16) == 2);

// Bytes of an element, the name of a type in messages, and the type that elements of a C++ type have.
inline size_t dtype_size(DType type) { return type == DType::bf16 ? 2 : 4; }
inline const char* dtype_name(DType type) {
    return type == DType::f32 ? "fp32" : type == DType::bf16 ? "bf16" : "int32";
}
template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;

// Row-major matrix view (rows, cols) whose rows start `ld` elements apart; a vector has one row. Tensors of higher
// rank are used through their matrix form, e.g. activations (B, T, C) as (B*T, C).
struct Tensor {
    void* data = nullptr;
    DType dtype = DType::f32;
    Device device = Device::cpu;
    int64_t rows = 0, cols = 0, ld = 0;

    bool empty() const { return data == nullptr; }
    int64_t size() const { return rows * cols; }
    size_t bytes() const { return size_t(size()) * dtype_size(dtype); }
    bool contiguous() const { return ld == cols || rows == 1; }

    // The elements as T; throws if T is not the stored type or there is no memory behind the view.
    template <class T>
    T* get() const {
        CHECK(dtype == dtype_of<T>, "a tensor of type ", dtype_name(dtype), " was read as ", dtype_name(dtype_of<T>));
        CHECK(data, "a tensor without memory was read");
        return static_cast<T*>(data);
    }
    // Rows [first, first + count).
    Tensor row_range(int64_t first, int64_t count) const {
        CHECK(first >= 0 && first + count <= rows, "rows ", first, "+", count, " of ", rows);
        Tensor t = *this;
        t.data = static_cast<char*>(data) + size_t(first) * size_t(ld) * dtype_size(dtype);
        t.rows = count;
        return t;
    }
    // Columns [first, first + count).
    Tensor col_range(int64_t first, int64_t count) const {
        CHECK(first >= 0 && first + count <= cols, "columns ", first, "+", count, " of ", cols);
        Tensor t = *this;
        t.data = static_cast<char*>(data) + size_t(first) * dtype_size(dtype);
        t.cols = count;
        return t;
    }
    // The same elements, which are contiguous, as one row.
    Tensor as_row() const { return reuse(dtype, 1, size()); }
    // The start of the same contiguous memory as a tensor of another type and shape.
    Tensor reuse(DType type, int64_t new_rows, int64_t new_cols) const {
        Tensor t{data, type, device, new_rows, new_cols, new_cols};
        CHECK(contiguous() && t.bytes() <= bytes(), "a tensor of ", bytes(), " bytes can't hold (", new_rows, ", ",
              new_cols, ") of ", dtype_name(type));
        return t;
    }
};

// A view of contiguous memory as (rows, cols).
inline Tensor make_tensor(void* data, DType dtype, int64_t rows, int64_t cols, Device device = Device::cpu) {
    return {data, dtype, device, rows, cols, cols};
}
