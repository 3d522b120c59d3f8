// Mistakes with what compute capability 9.0 added: in the product that the executor's tests run, and by themselves.
#include "test/cuda_on_cpu/executor/hopper_product.cuh"
#include "test/cuda_on_cpu/planted_bugs/bugs.h"

namespace {

using gpu::Swizzle;
using hopper_product::Mistake;

// ---- in a product ------------------------------------------------------------------------------------------------

constexpr int kRows = 128, kColumns = 64, kDepth = 256;  // four tiles: both stages are used twice

// Numbers that differ from tile to tile, so that a wrong one shows.
std::vector<bf16> matrix(int rows, int columns) {
    std::vector<bf16> values;
    for (int i = 0; i < rows * columns; i++) values.push_back(gpu::from_float<bf16>(float((i * 7 + i / 64) % 13 - 6)));
    return values;
}
struct Matrix : Buffer {
    explicit Matrix(const std::vector<bf16>& values) : Buffer(int(values.size()) / 2) {
        check(cudaMemcpy(data, values.data(), 2 * values.size(), cudaMemcpyHostToDevice));
        check(cudaStreamSynchronize(nullptr));
    }
    bf16* numbers() const { return reinterpret_cast<bf16*>(data); }
};

template <bool A_IN_REGISTERS, class M>
void multiply(M makes) {
    const std::vector<bf16> a = matrix(kRows, kDepth), b = matrix(kColumns, kDepth);
    Matrix device_a(a), device_b(b);
    Buffer c(kRows * kColumns, [](int) { return -1.0f; });
    expect(hopper_product::run_product<Swizzle::bytes128, false, false, A_IN_REGISTERS>(
               c.data, device_a.numbers(), device_b.numbers(), kRows, kColumns, kDepth, kDepth, kDepth, kColumns,
               makes) == CUDA_SUCCESS);
    check(cudaGetLastError());
    c.expect_values(kRows * kColumns, [&](int i) {
        float sum = 0.0f;
        for (int k = 0; k < kDepth; k++)
            sum += gpu::to_float(a[size_t(i / kColumns * kDepth + k)]) *
                   gpu::to_float(b[size_t(i % kColumns * kDepth + k)]);
        return sum;
    });
}
template <Mistake MISTAKE, bool A_IN_REGISTERS = false>
void product_with() {
    multiply<A_IN_REGISTERS>(hopper_product::Makes{MISTAKE});
}
template <bool A_IN_REGISTERS>
void product_without() {
    multiply<A_IN_REGISTERS>(hopper_product::NoMistake{});
}

// ---- one wgmma ---------------------------------------------------------------------------------------------------

enum class Slip {
    written_after_issue,
    unused_bits,
    no_such_memory,
    other_shape,
    never_committed,
    aligned_by_chance,
};
__global__ void one_wgmma_kernel(float* out, Slip slip) {
    GPU_SHARED_DYNAMIC(bf16, unaligned);
    GPU_SHARED(bf16, tile, [2 * 64 * 16]);
    bf16* const at = slip == Slip::aligned_by_chance ? unaligned : tile;
    const int t = threadIdx.x;
    for (int i = t; i < 2 * 64 * 16; i += 128) at[i] = gpu::from_float<bf16>(1.0f);
    gpu::fence_proxy_async();
    __syncthreads();
    float sums[32] = {};
    const Swizzle swizzle = slip == Slip::aligned_by_chance ? Swizzle::bytes32 : Swizzle::none;
    uint64_t a = gpu::matrix_descriptor(at, 1024, 128 << int(swizzle), swizzle);
    const uint64_t b = gpu::matrix_descriptor(at + 64 * 16, 1024, 128 << int(swizzle), swizzle);
    if (slip == Slip::unused_bits) a |= 1u << 14;
    if (slip == Slip::no_such_memory) a = gpu::matrix_descriptor(at, 8192, 128, swizzle);
    gpu::wgmma_fence(sums);
    gpu::wgmma<64>(sums, a, b, true);
    if (slip == Slip::other_shape) gpu::wgmma<32>(reinterpret_cast<float(&)[16]>(sums), a, b, true);
    if (slip == Slip::written_after_issue && t == 0) at[0] = gpu::from_float<bf16>(2.0f);
    if (slip != Slip::never_committed) gpu::wgmma_commit();
    gpu::wgmma_wait<0>(sums);
    out[t] = sums[0];
}
template <Slip SLIP>
void one_wgmma() {
    Buffer out(128);
    run(one_wgmma_kernel, 1, 128, 2 * 64 * 16 * sizeof(bf16), out.data, SLIP);
    out.expect_values(128, [](int) { return 16.0f; });
}
__global__ void half_a_warpgroup_kernel(float* out) {
    gpu::wgmma_fence();
    out[threadIdx.x] = 1.0f;
}
void half_a_warpgroup() {
    Buffer out(192);
    run(half_a_warpgroup_kernel, 1, 192, 0, out.data);
    out.expect_values(192, [](int) { return 1.0f; });
}

// ---- one copy ----------------------------------------------------------------------------------------------------

enum class Fumble {
    no_map,
    wrong_rank,
    beyond_its_variable,
    nobody_waits,
    barrier_overwritten,
    global_barrier,
    no_arrivals,
    loaded_twice
};
__global__ void one_load_kernel(float* out, const __grid_constant__ CUtensorMap map, Fumble fumble) {
    GPU_SHARED_TILES(float, tile);
    GPU_SHARED(uint64_t, arrived, [1]);
    if (threadIdx.x == 0) {
        uint64_t* const barrier = fumble == Fumble::global_barrier ? reinterpret_cast<uint64_t*>(out) : arrived;
        gpu::mbarrier_init(barrier, fumble == Fumble::no_arrivals ? 0 : 1);
        gpu::mbarrier_init_fence();
        if (fumble == Fumble::barrier_overwritten) arrived[0] = 0;
        gpu::mbarrier_arrive_expect(arrived, 16 * 16 * 4);
        if (fumble == Fumble::loaded_twice) gpu::tensor_load(tile, map, arrived, {0, 0});
        if (fumble == Fumble::wrong_rank)
            gpu::tensor_load(tile, map, arrived, {0, 0, 0});
        else
            gpu::tensor_load(tile + (fumble == Fumble::beyond_its_variable ? 32 : 0), map, arrived, {0, 0});
    }
    __syncthreads();
    if (fumble != Fumble::nobody_waits) gpu::mbarrier_wait(arrived, 0);
    if (fumble != Fumble::nobody_waits) out[threadIdx.x] = tile[threadIdx.x];
}
template <Fumble FUMBLE>
void one_load() {
    Buffer x(16 * 16, [](int) { return 1.0f; }), out(32, [](int) { return 1.0f; });
    CUtensorMap map{};
    if (FUMBLE != Fumble::no_map)
        expect(hopper_product::matrix_map(&map, x.data, 16, 16, 16, 16, 16, Swizzle::none) == CUDA_SUCCESS);
    run(one_load_kernel, 1, 32, 16 * 16 * 4, out.data, map, FUMBLE);
    out.expect_values(32, [](int) { return 1.0f; });
}

// A map that the driver refuses.
template <int OFFSET, int PITCH, int BOX_ROWS, int BOX_COLUMNS, Swizzle SWIZZLE>
void refused_map() {
    Buffer x(1024);
    CUtensorMap map;
    expect(hopper_product::matrix_map(&map, x.data + OFFSET, 8, 16, PITCH, BOX_ROWS, BOX_COLUMNS, SWIZZLE) ==
           CUDA_SUCCESS);
}
void map_beyond_its_tensor() {
    Buffer x(1024);
    CUtensorMap map;
    expect(hopper_product::matrix_map(&map, x.data, 65, 16, 16, 8, 16, Swizzle::none) == CUDA_SUCCESS);
}

// ---- named barriers ----------------------------------------------------------------------------------------------

__global__ void named_barrier_kernel(float* out, int id, int threads) {
    if (threadIdx.x < 64) gpu::named_barrier_sync(id, threads);
    out[threadIdx.x] = 1.0f;
}
template <int ID, int THREADS>
void named_barrier() {
    Buffer out(96);
    run(named_barrier_kernel, 1, 96, 0, out.data, ID, THREADS);
    out.expect_values(96, [](int) { return 1.0f; });
}

}  // namespace

std::vector<Bug> hopper_bugs() {
    using enum Mistake;
#define AT " at [a-z_./]*hopper_[a-z.]*:[0-9]*"
    return {
        {"none of them, in a product", "", product_without<false>},
        {"none of them, with rows in registers", "", product_without<true>},
        {"mbarrier without a fence", "all", product_with<no_fence_after_init>,
         "load" AT ": no fence .*initialisation" AT},
        {"mbarrier without a barrier", "all", product_with<no_barrier_after_init>,
         AT ": \\(no barrier\\|there is no init\\)"},
        {"mbarrier initialised twice", "all", product_with<initialised_twice>,
         "init" AT ": it was initialised before," AT},
        {"mbarrier never initialised", "all", product_with<never_initialised>, AT ": there is no initialised mbarrier"},
        {"mbarrier misaligned", "all", product_with<misaligned_barrier>,
         "init" AT ": the address is not a multiple of 8"},
        {"mbarrier of wrong parity", "all", product_with<wrong_parity>,
         "deadlock.*for an mbarrier (phase 0 misses 8.*)" AT},
        {"mbarrier of wrong parity, polled", "all", product_with<polls_wrong_parity>,
         "deadlock.*that they test (phase.*)" AT},
        {"mbarrier expects too little", "all", product_with<too_few_bytes>, AT ": 128 bytes more have arrived"},
        {"mbarrier expects too much", "all", product_with<too_many_bytes>, "deadlock.*0 arrivals and 128 bytes)" AT},
        {"mbarrier expects nothing", "all", product_with<bytes_not_expected>,
         AT " a phase .*while the copy of [a-z_./]*hopper_[a-z.]*:[0-9]* is"},
        {"mbarrier expects beyond its count", "all", product_with<bytes_beyond_the_count>,
         AT " an mbarrier counts 1048576"},
        {"mbarrier with too many arrivals", "all", product_with<too_many_arrivals>,
         "arrive" AT ": more arrivals than the 1 "},
        {"mbarrier for no arrivals", "all", one_load<Fumble::no_arrivals>, "init" AT " for 0 arrivals"},
        {"mbarrier in global memory", "all", one_load<Fumble::global_barrier>, "init" AT ": .* not in shared memory"},
        {"mbarrier overwritten", "all", one_load<Fumble::barrier_overwritten>, AT ": the mbarrier was overwritten"},
        {"tensor load not waited for", "all", product_with<load_not_waited_for>},
        {"tensor load whose stage is in use", "all", product_with<stage_not_waited_for>, AT ": more arrivals"},
        {"tensor load where one is under way", "all", one_load<Fumble::loaded_twice>, AT " goes where that of"},
        {"tensor load nobody waits for", "all", one_load<Fumble::nobody_waits>,
         "copy of [a-z_./]*hopper_[a-z.]*:[0-9]* has arrived: nobody"},
        {"tensor load to a wrong address", "all", product_with<misaligned_tile>, AT ": .* not a multiple of 128"},
        {"tensor load beyond a variable", "all", one_load<Fumble::beyond_its_variable>,
         AT ": a box of 1024 bytes does not"},
        {"tensor load without a map", "all", one_load<Fumble::no_map>, AT ": this is no tensor map"},
        {"tensor load of wrong rank", "all", one_load<Fumble::wrong_rank>, AT ": 3 coordinates for a tensor of 2"},
        {"tensor store without a proxy fence", "all", product_with<no_proxy_fence>,
         AT " reads .* without a fence.proxy.async"},
        {"tensor store before its tile is full", "all", product_with<no_barrier_before_store>},
        {"tensor store of what changes", "all", product_with<source_overwritten>,
         "overwritten what the tensor store of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"tensor store not waited for", "all", product_with<store_not_waited_for>,
         "before its tensor store of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"map of a misaligned tensor", "all", refused_map<2, 16, 8, 16, Swizzle::none>, "not a multiple of 16"},
        {"map with a misaligned stride", "all", refused_map<0, 18, 8, 16, Swizzle::none>, "a stride of 72"},
        {"map with a long box", "all", refused_map<0, 16, 257, 16, Swizzle::none>, "a box of 257"},
        {"map with a narrow box", "all", refused_map<0, 16, 8, 2, Swizzle::none>, "no multiple of 16"},
        {"map with a box wider than its swizzle", "all", refused_map<0, 16, 8, 16, Swizzle::bytes32>,
         "longer than the swizzle"},
        {"map beyond its tensor", "all", map_beyond_its_tensor, "ends beyond its allocation"},
        {"wgmma off its swizzle", "all", product_with<tile_off_its_swizzle>, "wgmma" AT ": an operand swizzled by 128"},
        {"wgmma on unaligned dynamic memory", "all", one_wgmma<Slip::aligned_by_chance>,
         "wgmma" AT ": an operand swizzled by 32"},
        {"wgmma without a fence", "all", product_with<no_wgmma_fence>, "wgmma" AT ": no wgmma.fence"},
        {"wgmma on registers written late", "all", product_with<registers_written_behind_fence, true>,
         AT ".* after the last wgmma.fence"},
        {"wgmma on registers overwritten", "all", product_with<registers_overwritten, true>,
         "overwritten .*of the wgmma of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"wgmma with accumulators written", "all", product_with<accumulators_written>,
         "written accumulators of the wgmma of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"wgmma with accumulators read early", "all", product_with<accumulators_read_early>},
        {"wgmma with accumulators not named", "all", product_with<accumulators_not_named>, "wait" AT " is not given"},
        {"wgmma with accumulators of two shapes", "all", one_wgmma<Slip::other_shape>,
         AT ": its accumulators are those"},
        {"wgmma never waited for", "all", product_with<wgmma_never_waited_for>,
         "waited for the wgmma of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"wgmma never committed", "all", one_wgmma<Slip::never_committed>,
         "waited for the wgmma of [a-z_./]*hopper_[a-z.]*:[0-9]*"},
        {"wgmma without one of its warps", "all", product_with<warp_stays_away>, AT},
        {"wgmma with different descriptors", "all", product_with<different_descriptors>, AT ": threads 0 and 127"},
        {"wgmma whose stage is given back", "random tsan", product_with<stage_given_back_early>},
        {"wgmma whose operand is written", "all", one_wgmma<Slip::written_after_issue>, "wgmma" AT " reads what"},
        {"wgmma with unused bits set", "all", one_wgmma<Slip::unused_bits>, "wgmma" AT ": the descriptor"},
        {"wgmma beyond shared memory", "all", one_wgmma<Slip::no_such_memory>, "wgmma" AT ": an operand reaches"},
        {"wgmma in half a warpgroup", "all", half_a_warpgroup, "fence" AT ", and their warpgroup is only 64"},
        {"setmaxnreg to no multiple of 8", "all", product_with<uneven_registers>, "setmaxnreg" AT ": 228"},
        {"setmaxnreg beyond the budget", "all", product_with<too_many_registers>,
         "deadlock.*for registers (setmaxnreg.inc)" AT},
        {"setmaxnreg.dec to more", "all", product_with<more_registers_by_dec>, "setmaxnreg.dec" AT " from 168 to 200"},
        {"named barrier of two sizes", "all", product_with<named_barrier_of_others>,
         "named barrier [12] is one of .*" AT},
        {"named barrier 0", "all", named_barrier<0, 64>, AT ": number 0"},
        {"named barrier of half a warp", "all", named_barrier<1, 48>, AT ": of 48 threads"},
        {"named barrier with too few", "all", named_barrier<1, 96>, "deadlock.*at a named barrier" AT},
    };
#undef AT
}
