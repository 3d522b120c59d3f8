// Compute capability 9.0's instructions on the executor: a product through tensor copies and wgmma, with every layout
// of its operands, and what each part does by itself.
#include <cmath>
#include <random>

#include "test/cuda_on_cpu/executor/device_vector.h"
#include "test/cuda_on_cpu/executor/hopper_product.cuh"

namespace {

using gpu::Swizzle;
using namespace hopper_product;

std::vector<bf16> integers(size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<bf16> values(n);
    for (bf16& value : values) value = gpu::from_float<bf16>(float(int(random() % 17) - 8));
    return values;
}

// No size is a multiple of its tile, so that every map is read or written beyond its end.
template <Swizzle SWIZZLE, bool A_TRANSPOSED, bool B_TRANSPOSED, bool A_IN_REGISTERS = false>
void check_product() {
    constexpr int M = 136, N = 72, K = 200, C_PITCH = 76;
    constexpr int A_PITCH = A_TRANSPOSED ? 144 : 208, B_PITCH = B_TRANSPOSED ? 80 : 200;
    const std::vector<bf16> a = integers(size_t(A_TRANSPOSED ? K : M) * A_PITCH, 1),
                            b = integers(size_t(B_TRANSPOSED ? K : N) * B_PITCH, 2);
    DeviceVector<bf16> device_a(a), device_b(b);
    DeviceVector<float> device_c(std::vector<float>(M * C_PITCH, -1.0f));
    ASSERT_EQ((run_product<SWIZZLE, A_TRANSPOSED, B_TRANSPOSED, A_IN_REGISTERS>(
                  device_c.data, device_a.data, device_b.data, M, N, K, A_PITCH, B_PITCH, C_PITCH)),
              CUDA_SUCCESS);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    const std::vector<float> c = device_c.read();
    int wrong = 0;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < C_PITCH; n++) {
            float sum = n < N ? 0.0f : -1.0f;
            for (int k = 0; k < K && n < N; k++)
                sum += gpu::to_float(a[size_t(A_TRANSPOSED ? k * A_PITCH + m : m * A_PITCH + k)]) *
                       gpu::to_float(b[size_t(B_TRANSPOSED ? k * B_PITCH + n : n * B_PITCH + k)]);
            if (c[size_t(m * C_PITCH + n)] != sum && wrong++ < 3)
                ADD_FAILURE() << m << ", " << n << ": " << c[size_t(m * C_PITCH + n)] << " and should be " << sum;
        }
    EXPECT_EQ(wrong, 0);
}
template <Swizzle SWIZZLE>
void check_products() {
    check_product<SWIZZLE, false, false>();
    check_product<SWIZZLE, false, true>();
    check_product<SWIZZLE, true, false>();
    check_product<SWIZZLE, true, true>();
    check_product<SWIZZLE, false, false, true>();
    check_product<SWIZZLE, false, true, true>();
}
TEST(Hopper, ProductsWithoutSwizzle) { check_products<Swizzle::none>(); }
TEST(Hopper, ProductsSwizzledBy32Bytes) { check_products<Swizzle::bytes32>(); }
TEST(Hopper, ProductsSwizzledBy64Bytes) { check_products<Swizzle::bytes64>(); }
TEST(Hopper, ProductsSwizzledBy128Bytes) { check_products<Swizzle::bytes128>(); }

// ---- wgmma by itself ---------------------------------------------------------------------------------------------

// d (64, N) = a (64, 16) b (16, N) + d, with operands that threads have written: rows of 8 numbers behind each other,
// first all of columns 0 to 7. Notes an accumulator before the wait.
template <int N>
__global__ void wgmma_kernel(float* d, float* early, const bf16* a, const bf16* b) {
    GPU_SHARED_TILES(bf16, tile_a);
    bf16* const tile_b = tile_a + 64 * 16;
    const int t = threadIdx.x, lane = t % 32;
    for (int i = t; i < 64 * 16; i += 128) tile_a[i % 16 / 8 * 64 * 8 + i / 16 * 8 + i % 8] = a[i];
    for (int i = t; i < N * 16; i += 128) tile_b[i / N / 8 * N * 8 + i % N * 8 + i / N % 8] = b[i];
    gpu::fence_proxy_async();
    __syncthreads();
    const auto index = [&](int i) {
        return (t / 32 * 16 + lane / 4 + i / 2 % 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2;
    };
    float sums[N / 2];
    for (int i = 0; i < N / 2; i++) sums[i] = d[index(i)];
    gpu::wgmma_fence(sums);
    gpu::wgmma<N>(sums, gpu::matrix_descriptor(tile_a, 64 * 16, 128, Swizzle::none),
                  gpu::matrix_descriptor(tile_b, N * 16, 128, Swizzle::none), true);
    gpu::wgmma_commit();
    early[t] = sums[0];
    gpu::wgmma_wait<0>(sums);
    for (int i = 0; i < N / 2; i++) d[index(i)] = sums[i];
}
template <int N>
void check_wgmma() {
    const std::vector<bf16> a = integers(64 * 16, 3), b = integers(16 * N, 4);
    DeviceVector<bf16> device_a(a), device_b(b);
    DeviceVector<float> d(std::vector<float>(64 * N, 0.5f)), early(zeros(128));
    run(wgmma_kernel<N>, 1, 128, (64 + N) * 16 * sizeof(bf16), d.data, early.data, device_a.data, device_b.data);
    for (const float value : early.read()) EXPECT_TRUE(std::isnan(value));
    const std::vector<float> result = d.read();
    for (int m = 0; m < 64; m++)
        for (int n = 0; n < N; n++) {
            float sum = 0.5f;
            for (int k = 0; k < 16; k++) sum += gpu::to_float(a[m * 16 + k]) * gpu::to_float(b[k * N + n]);
            ASSERT_EQ(result[m * N + n], sum) << N << ": " << m << ", " << n;
        }
}
TEST(Hopper, WgmmaOfAllWidths) {
    check_wgmma<8>();
    check_wgmma<24>();
    check_wgmma<128>();
    check_wgmma<200>();
    check_wgmma<256>();
}

// ---- tensor copies by themselves ---------------------------------------------------------------------------------

// Loads a box and stores it elsewhere; notes what is there between issue and wait.
template <int RANK>
__global__ void box_kernel(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to,
                           float* early, float* box, int bytes, int start) {
    GPU_SHARED_TILES(float, tile);
    GPU_SHARED(uint64_t, arrived, [1]);
    if (threadIdx.x == 0) {
        int at[RANK] = {};
        at[0] = start;
        at[RANK - 1] = -1;
        gpu::mbarrier_init(arrived, 1);
        gpu::fence_proxy_async();
        gpu::mbarrier_expect(arrived, unsigned(bytes) + 64);
        gpu::tensor_load(tile, from, arrived, at);
        gpu::mbarrier_complete(arrived, 64);
        early[0] = tile[0];
        gpu::mbarrier_arrive(arrived);
        while (!gpu::mbarrier_test(arrived, 0)) {
        }
        gpu::tensor_store(to, at, tile);
        gpu::bulk_commit();
        gpu::bulk_wait<0>();
    }
    __syncthreads();
    if (threadIdx.x != 0) gpu::mbarrier_wait(arrived, 0);
    for (int i = threadIdx.x; i < bytes / 4; i += blockDim.x) box[i] = tile[i];
}
template <int RANK>
void check_box() {
    const int sizes[4] = {6, 5, 4, 3}, boxes[4] = {4, 3, 2, 3};  // in memory a row has eight numbers
    cuuint64_t dims[4], strides[4];
    cuuint32_t box[4];
    int elements = 8, box_elements = 4;
    for (int i = 0; i < RANK; i++) {
        dims[i] = cuuint64_t(sizes[i]);
        box[i] = cuuint32_t(boxes[i]);
        strides[i] = sizeof(float) * cuuint64_t(elements);
        if (i > 0) elements *= sizes[i], box_elements *= boxes[i];
        if (i > 0) strides[i] = sizeof(float) * cuuint64_t(elements);
    }
    std::vector<float> values(static_cast<size_t>(elements));
    for (size_t i = 0; i < values.size(); i++) values[i] = float(i + 1);
    DeviceVector<float> from(values), to(zeros(values.size())), early(zeros(1)), copied(zeros(size_t(box_elements)));
    CUtensorMap from_map, to_map;
    for (const auto& [map, address] : {std::pair(&from_map, from.data), std::pair(&to_map, to.data)})
        ASSERT_EQ(gpu::encode_tensor_map(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, RANK, address, dims, strides, box,
                                         CU_TENSOR_MAP_SWIZZLE_NONE),
                  CUDA_SUCCESS);
    const int start = 4;  // the last two columns of the box are outside, and so is its first slice
    run(box_kernel<RANK>, 1, 32, 4 * size_t(box_elements), from_map, to_map, early.data, copied.data, 4 * box_elements,
        start);
    EXPECT_TRUE(std::isnan(early.read()[0]));
    const std::vector<float> in_box = copied.read(), result = to.read();
    std::vector<float> expected(values.size(), 0.0f);
    for (int i = 0; i < box_elements; i++) {
        int rest = i, index = 0, stride = 1;
        bool inside = true;
        for (int dim = 0; dim < RANK; dim++) {
            const int at = rest % boxes[dim] + (dim == 0 ? start : 0) - (dim == RANK - 1);
            rest /= boxes[dim];
            inside &= at >= 0 && at < sizes[dim];
            index += at * stride;
            stride *= dim == 0 ? 8 : sizes[dim];
        }
        EXPECT_EQ(in_box[size_t(i)], inside ? float(index + 1) : 0.0f) << RANK << ": " << i;
        if (inside) expected[size_t(index)] = float(index + 1);
    }
    EXPECT_EQ(result, expected);
}
TEST(Hopper, BoxesOfTwoToFourDimensions) {
    check_box<2>();
    check_box<3>();
    check_box<4>();
}

// ---- barriers ----------------------------------------------------------------------------------------------------

// A ring of four numbers between a warp that fills it and one that adds them up, then a meeting of both.
__global__ void ring_kernel(int* sum, int n) {
    GPU_SHARED(int, ring, [4 * 32]);
    GPU_SHARED(int, totals, [32]);
    GPU_SHARED(uint64_t, barriers, [8]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (threadIdx.x == 0)
        for (int i = 0; i < 8; i++) gpu::mbarrier_init(barriers + i, 32);
    __syncthreads();
    int total = 0;
    for (int i = 0; i < n; i++) {
        const int place = i % 4, parity = i / 4 % 2;
        gpu::mbarrier_wait(barriers + place + (warp ? 0 : 4), unsigned(warp ? parity : parity ^ 1));
        if (warp == 0)
            ring[place * 32 + lane] = i + lane;
        else
            total += ring[place * 32 + (lane + 1) % 32];
        gpu::mbarrier_arrive(barriers + place + (warp ? 4 : 0));
    }
    if (warp == 1) totals[lane] = total;
    if (warp == 1)
        gpu::named_barrier_arrive(3, 64);
    else
        gpu::named_barrier_sync(3, 64);
    if (warp == 0) sum[lane] = totals[lane];
}
TEST(Hopper, BarriersOrderAProducerAndAConsumer) {
    DeviceVector<int> sum(zeros<int>(32));
    run(ring_kernel, 1, 64, 0, sum.data, 10);
    for (int lane = 0; lane < 32; lane++) EXPECT_EQ(sum.read()[size_t(lane)], 45 + 10 * ((lane + 1) % 32));
}

}  // namespace
