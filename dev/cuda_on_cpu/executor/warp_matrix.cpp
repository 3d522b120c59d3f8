// mma.m16n8k16 and ldmatrix, with the fragment layouts of the PTX ISA ("Matrix fragments for mma.m16n8k16"). Lane l
// holds rows l/4 and l/4 + 8, and in them pairs of neighbouring columns that start at 2 (l mod 4).
#include <bit>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

float low_bf16(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high_bf16(uint32_t pair) { return std::bit_cast<float>(pair & 0xFFFF0000u); }

void check_full_warp(const char* what, unsigned lanes) {
    if (lanes != 0xFFFFFFFFu) kernel_error("%s needs all 32 lanes, but only %08x are there", what, lanes);
}

void multiply(void* const* operands, unsigned lanes) {
    check_full_warp("mma", lanes);
    float A[16][16], B[16][8], C[16][8];
    for (int l = 0; l < 32; l++) {
        const MmaOperands& lane = *static_cast<MmaOperands*>(operands[l]);
        const int group = l / 4, pair = 2 * (l % 4);
        for (int i = 0; i < 4; i++) {  // registers of a: both halves of the rows, then both halves of the columns
            const int row = group + 8 * (i % 2), col = pair + 8 * (i / 2);
            A[row][col] = low_bf16(lane.a[i]);
            A[row][col + 1] = high_bf16(lane.a[i]);
        }
        for (int i = 0; i < 2; i++) {  // b is held by columns
            B[pair + 8 * i][group] = low_bf16(lane.b[i]);
            B[pair + 8 * i + 1][group] = high_bf16(lane.b[i]);
        }
        for (int i = 0; i < 4; i++) C[group + 8 * (i / 2)][pair + i % 2] = lane.c[i];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) C[i][j] += A[i][k] * B[k][j];
    for (int l = 0; l < 32; l++) {
        const MmaOperands& lane = *static_cast<MmaOperands*>(operands[l]);
        for (int i = 0; i < 4; i++) lane.d[i] = C[l / 4 + 8 * (i / 2)][2 * (l % 4) + i % 2];
    }
}

// Lane 8 m + r has read row r of matrix m; lane l receives elements 2 (l mod 4) and the next of row l/4 - or of column.
template <bool TRANSPOSED>
void distribute(void* const* operands, unsigned lanes) {
    check_full_warp("ldmatrix", lanes);
    const auto element = [&](int matrix, int row, int col) -> uint32_t {
        return static_cast<LdmatrixOperands*>(operands[8 * matrix + row])->row[col];
    };
    for (int l = 0; l < 32; l++) {
        const LdmatrixOperands& lane = *static_cast<LdmatrixOperands*>(operands[l]);
        const int i = l / 4, j = 2 * (l % 4);
        for (int m = 0; m < lane.matrices; m++)
            lane.result[m] = TRANSPOSED ? element(m, j, i) | element(m, j + 1, i) << 16
                                        : element(m, i, j) | element(m, i, j + 1) << 16;
    }
}

}  // namespace

void mma_bf16(MmaOperands& operands, Place place) {
    Multiprocessor::mine().warp_collective(0xFFFFFFFFu, &operands, &multiply, false, place);
}
void ldmatrix(LdmatrixOperands& operands, bool transposed, Place place) {
    Multiprocessor::mine().warp_collective(0xFFFFFFFFu, &operands, transposed ? &distribute<true> : &distribute<false>,
                                           false, place);
}

}  // namespace executor
