// Kernels on the executor, against what CUDA's manuals say: matrix fragments, asynchronous copies, collectives.
// These tests have to pass in every order, immediate and deferred, and under the sanitizers. planted_bugs.sh has what
// must fail.
#include <cmath>
#include <numeric>
#include <random>

#include "test/cuda_on_cpu/executor/device_vector.h"

namespace {

std::vector<float> counting(size_t n) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), 0.0f);
    return values;
}
// Small integers are exact in bf16, and sums of their products are exact in fp32.
std::vector<float> small_integers(size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<float> values(n);
    for (float& value : values) value = float(int(random() % 17) - 8);
    return values;
}
std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
    std::vector<uint16_t> bits;
    for (float value : values) bits.push_back(__bfloat16_as_ushort(__float2bfloat16_rn(value)));
    return bits;
}
uint32_t pair(uint16_t low, uint16_t high) { return uint32_t(low) | uint32_t(high) << 16; }

// ---- matrix instructions -----------------------------------------------------------------------------------------

// CUTLASS's description of the fragments of m16n8k16 (mma_traits_sm80.hpp): lane and value number, with these strides,
// give the index into the column-major tile.
int tile_index(int lane, int value, const int (&lane_strides)[2], const int (&value_strides)[3]) {
    return lane % 4 * lane_strides[0] + lane / 4 * lane_strides[1] + (value & 1) * value_strides[0] +
           (value >> 1 & 1) * value_strides[1] + (value >> 2 & 1) * value_strides[2];
}
__global__ void mma_kernel(float* d, const uint16_t* a, const uint16_t* b, const float* c) {  // all column-major
    const int lane = threadIdx.x;
    uint32_t a_fragment[4], b_fragment[2];
    float c_fragment[4], d_fragment[4];
    const auto a_index = [&](int v) { return tile_index(lane, v, {32, 1}, {16, 8, 128}); };
    const auto b_index = [&](int v) { return tile_index(lane, v, {16, 1}, {8, 64, 0}); };  // of b transposed: n x k
    const auto c_index = [&](int v) { return tile_index(lane, v, {32, 1}, {16, 8, 0}); };
    for (int i = 0; i < 4; i++) a_fragment[i] = pair(a[a_index(2 * i)], a[a_index(2 * i + 1)]);
    for (int i = 0; i < 2; i++) b_fragment[i] = pair(b[b_index(2 * i)], b[b_index(2 * i + 1)]);
    for (int i = 0; i < 4; i++) c_fragment[i] = c[c_index(i)];
    gpu::mma_bf16(d_fragment, a_fragment, b_fragment, c_fragment);
    for (int i = 0; i < 4; i++) d[c_index(i)] = d_fragment[i];
}
TEST(Executor, MmaMatchesTheFragmentLayout) {
    const std::vector<float> a = small_integers(16 * 16, 1), b = small_integers(8 * 16, 2),
                             c = small_integers(16 * 8, 3);
    DeviceVector<uint16_t> device_a(to_bf16(a)), device_b(to_bf16(b));
    DeviceVector<float> device_c(c), device_d(zeros(16 * 8));
    run(mma_kernel, 1, 32, 0, device_d.data, device_a.data, device_b.data, device_c.data);
    const std::vector<float> d = device_d.read();
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            float sum = c[m + 16 * n];
            for (int k = 0; k < 16; k++) sum += a[m + 16 * k] * b[n + 8 * k];
            EXPECT_EQ(d[m + 16 * n], sum) << m << ", " << n;
        }
}

template <int N, bool TRANSPOSED>
__global__ void ldmatrix_kernel(uint32_t* out, const uint16_t* in) {
    GPU_SHARED(uint16_t, rows, [32 * 8]);
    for (int i = threadIdx.x; i < N * 64; i += 32) rows[i] = in[i];
    __syncwarp();
    uint32_t r[N];
    const uint16_t* row = rows + threadIdx.x % (8 * N) * 8;
    if constexpr (TRANSPOSED)
        gpu::ldmatrix_trans(r, row);
    else
        gpu::ldmatrix(r, row);
    for (int i = 0; i < N; i++) out[threadIdx.x * N + i] = r[i];
}
template <int N, bool TRANSPOSED>
void check_ldmatrix() {
    std::vector<uint16_t> in(N * 64);
    std::iota(in.begin(), in.end(), uint16_t(100));
    DeviceVector<uint16_t> device_in(in);
    DeviceVector<uint32_t> device_out(zeros<uint32_t>(32 * N));
    run(ldmatrix_kernel<N, TRANSPOSED>, 1, 32, 0, device_out.data, device_in.data);
    const std::vector<uint32_t> out = device_out.read();
    for (int m = 0; m < N; m++)
        for (int row = 0; row < 8; row++)
            for (int col = 0; col < 8; col++) {
                const int i = TRANSPOSED ? col : row,
                          j = TRANSPOSED ? row : col;  // PTX ISA: lane 4 i + j / 2 has (i, j)
                const uint32_t word = out[size_t((4 * i + j / 2) * N + m)];
                EXPECT_EQ(j % 2 ? word >> 16 : word & 0xFFFF, in[size_t(m * 64 + row * 8 + col)]);
            }
}
TEST(Executor, LdmatrixMatchesTheFragmentLayout) {
    check_ldmatrix<2, false>();
    check_ldmatrix<4, false>();
    check_ldmatrix<2, true>();
    check_ldmatrix<4, true>();
}

// Uses mma and ldmatrix together, as a matrix product does: a row-major by ldmatrix, b row-major by ldmatrix_trans.
__global__ void product_kernel(float* d, const uint16_t* a, const uint16_t* b) {
    GPU_SHARED(uint16_t, tile_a, [16 * 16]);
    GPU_SHARED(uint16_t, tile_b, [16 * 8]);
    const int lane = threadIdx.x;
    for (int i = lane; i < 16 * 16; i += 32) tile_a[i] = a[i];
    for (int i = lane; i < 16 * 8; i += 32) tile_b[i] = b[i];
    __syncwarp();
    uint32_t a_fragment[4], b_fragment[2];
    const float zero[4] = {0, 0, 0, 0};
    float d_fragment[4];
    gpu::ldmatrix(a_fragment, tile_a + lane % 16 * 16 + lane / 16 * 8);
    gpu::ldmatrix_trans(b_fragment, tile_b + lane % 16 * 8);
    gpu::mma_bf16(d_fragment, a_fragment, b_fragment, zero);
    for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d_fragment[i];
}
TEST(Executor, MatrixInstructionsMultiply) {
    const std::vector<float> a = small_integers(16 * 16, 4), b = small_integers(16 * 8, 5);
    DeviceVector<uint16_t> device_a(to_bf16(a)), device_b(to_bf16(b));
    DeviceVector<float> device_d(zeros(16 * 8));
    run(product_kernel, 1, 32, 0, device_d.data, device_a.data, device_b.data);
    const std::vector<float> d = device_d.read();
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            float sum = 0.0f;
            for (int k = 0; k < 16; k++) sum += a[m * 16 + k] * b[k * 8 + n];
            EXPECT_EQ(d[m * 8 + n], sum);
        }
}

// ---- asynchronous copies -----------------------------------------------------------------------------------------

// Each thread copies four floats in each of three groups and notes what it sees before the copies, after waiting for
// the first, and after waiting for all.
__global__ void cp_async_kernel(float* seen, const float* x) {
    GPU_SHARED(float, s, [3 * 4 * 32]);
    const int t = threadIdx.x;
    const auto mine = [&](int group) { return s + (group * 32 + t) * 4; };
    const auto note = [&](int when) {
        for (int group = 0; group < 3; group++) seen[(when * 3 + group) * 32 + t] = mine(group)[3];
    };
    for (int group = 0; group < 3; group++) {
        mine(group)[3] = -1.0f;
        if (group == 1)
            gpu::cp_async16_zfill(mine(group), x, t % 2 == 0);
        else
            gpu::cp_async16(mine(group), x + (group * 32 + t) * 4);
        gpu::cp_async_commit();
    }
    note(0);
    gpu::cp_async_wait<2>();
    note(1);
    gpu::cp_async_wait<0>();
    note(2);
}
TEST(Executor, AsynchronousCopiesArriveWithTheirGroups) {
    DeviceVector<float> x(counting(3 * 4 * 32)), seen(zeros(9 * 32));
    run(cp_async_kernel, 1, 32, 0, seen.data, x.data);
    const std::vector<float> values = seen.read();
    for (int t = 0; t < 32; t++) {
        const auto at = [&](int when, int group) { return values[size_t((when * 3 + group) * 32 + t)]; };
        const float arrived[3] = {4.0f * t + 3.0f, t % 2 ? 0.0f : 3.0f, 4.0f * (64 + t) + 3.0f};
        for (int group = 0; group < 3; group++) {
            EXPECT_TRUE(std::isnan(at(0, group))) << "neither the old contents nor the new";
            EXPECT_EQ(at(2, group), arrived[group]);
        }
        EXPECT_EQ(at(1, 0), arrived[0]);
        EXPECT_TRUE(std::isnan(at(1, 1)) && std::isnan(at(1, 2)));
    }
}

// ---- collectives, atomics, geometry ------------------------------------------------------------------------------

__global__ void shuffles_kernel(int* out, double* wide, unsigned long long* bits) {
    const int t = threadIdx.x;
    out[t] = __shfl_sync(~0u, t, 5);
    out[32 + t] = __shfl_sync(~0u, t, 3, 8);
    out[64 + t] = __shfl_xor_sync(~0u, t, 6);
    out[96 + t] = __shfl_down_sync(~0u, t, 3, 16);
    out[128 + t] = __shfl_up_sync(~0u, t, 3, 16);
    wide[t] = __shfl_xor_sync(~0u, t + 0.5, 1);
    bits[t] = __shfl_sync(~0u, (1ull << 40) + t, 31 - t);
    if (t < 5) out[160 + t] = __shfl_xor_sync(0x1Fu, t, 4) == (t == 0 ? 4 : t == 4 ? 0 : -1);  // 5..7 are absent
}
TEST(Executor, Shuffles) {
    DeviceVector<int> out(zeros<int>(165));
    DeviceVector<double> wide(zeros<double>(32));
    DeviceVector<unsigned long long> bits(zeros<unsigned long long>(32));
    run(shuffles_kernel, 1, 32, 0, out.data, wide.data, bits.data);
    const std::vector<int> got = out.read();
    for (int t = 0; t < 32; t++) {
        EXPECT_EQ(got[t], 5);
        EXPECT_EQ(got[32 + t], t / 8 * 8 + 3);
        EXPECT_EQ(got[64 + t], t ^ 6);
        EXPECT_EQ(got[96 + t], t % 16 + 3 < 16 ? t + 3 : t);
        EXPECT_EQ(got[128 + t], t % 16 >= 3 ? t - 3 : t);
        EXPECT_EQ(wide.read()[t], (t ^ 1) + 0.5);
        EXPECT_EQ(bits.read()[t], (1ull << 40) + 31 - t);
    }
    for (int t = 0; t < 5; t++) EXPECT_EQ(got[160 + t], 1);
}
__global__ void votes_kernel(unsigned* out) {
    const int t = threadIdx.x;
    out[t * 6 + 0] = __ballot_sync(~0u, t % 3 == 0);
    out[t * 6 + 1] = unsigned(__any_sync(~0u, t == 40));
    out[t * 6 + 2] = unsigned(__all_sync(~0u, t >= 32));
    out[t * 6 + 3] = unsigned(__syncthreads_count(t % 4 == 0));
    out[t * 6 + 4] = unsigned(__syncthreads_or(t == 63));
    out[t * 6 + 5] = unsigned(__syncthreads_and(t != 63));
}
TEST(Executor, Votes) {
    DeviceVector<unsigned> out(zeros<unsigned>(64 * 6));
    run(votes_kernel, 1, 64, 0, out.data);
    const std::vector<unsigned> got = out.read();
    for (unsigned t = 0; t < 64; t++) {
        unsigned ballot = 0;
        for (unsigned lane = 0; lane < 32; lane++) ballot |= unsigned((t / 32 * 32 + lane) % 3 == 0) << lane;
        const unsigned expected[6] = {ballot, t >= 32, t >= 32, 16, 1, 0};
        for (unsigned i = 0; i < 6; i++) EXPECT_EQ(got[t * 6 + i], expected[i]) << t << ", " << i;
    }
}
__global__ void atomics_kernel(float* f, double* d, unsigned long long* u, int* i, unsigned* turns) {
    const int t = threadIdx.x + blockIdx.x * blockDim.x;
    atomicAdd(f, 1.0f);
    atomicAdd(d, 0.5);
    atomicAdd(u, 1ull << 33);
    atomicMax(&i[0], t);
    atomicMin(&i[1], t - 1000);
    atomicOr(&i[2], 1 << t % 31);
    atomicInc(turns, 9);
    for (int old = atomicCAS(&i[3], 0, 0), seen;; old = seen) {  // a running maximum by compare-and-swap
        if (old >= t || (seen = atomicCAS(&i[3], old, t)) == old) break;
    }
}
TEST(Executor, Atomics) {
    DeviceVector<float> f(zeros(1));
    DeviceVector<double> d(zeros<double>(1));
    DeviceVector<unsigned long long> u(zeros<unsigned long long>(1));
    DeviceVector<int> i(zeros<int>(4));
    DeviceVector<unsigned> turns(zeros<unsigned>(1));
    run(atomics_kernel, 3, 40, 0, f.data, d.data, u.data, i.data, turns.data);
    EXPECT_EQ(f.read()[0], 120.0f);
    EXPECT_EQ(d.read()[0], 60.0);
    EXPECT_EQ(u.read()[0], 120ull << 33);
    EXPECT_EQ(i.read(), (std::vector<int>{119, -1000, 0x7FFFFFFF, 119}));
    EXPECT_EQ(turns.read()[0], 0u);  // 120 steps around 0..9
}
__global__ void geometry_kernel(int* out) {
    GPU_SHARED_DYNAMIC(int, dynamic);
    GPU_SHARED(int, sums, [2]);
    const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    dynamic[t] = t * 100 + b;
    if (t < 2) sums[t] = 0;
    __syncthreads();
    atomicAdd(&sums[t % 2], dynamic[(t + 1) % 24]);
    __syncthreads();
    if (t < 2) out[b * 2 + t] = sums[t];
}
TEST(Executor, GridsAndBlocksOfThreeDimensions) {
    DeviceVector<int> out(zeros<int>(2 * 30));
    run(geometry_kernel, dim3(2, 3, 5), dim3(4, 3, 2), 24 * sizeof(int), out.data);
    for (int b = 0; b < 30; b++)
        for (int parity = 0; parity < 2; parity++) {
            int sum = 0;
            for (int t = parity; t < 24; t += 2) sum += (t + 1) % 24 * 100 + b;
            EXPECT_EQ(out.read()[b * 2 + parity], sum);
        }
}

}  // namespace
