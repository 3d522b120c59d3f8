#include "dev/cuda_on_cpu/executor/warpgroup.h"

#include <algorithm>
#include <bit>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

constexpr uint32_t kNan = 0xFFFFFFFF;  // what accumulators hold while a product is under way
constexpr int kRegisters = 65536;      // of a multiprocessor

uint64_t hash(const void* at, size_t bytes) {
    uint64_t h = 0;
    for (size_t i = 0; i < bytes / 4; i++) h = (h ^ static_cast<const uint32_t*>(at)[i]) * 0x9E3779B97F4A7C15;
    return h ^ h >> 32;
}

// Thread t has number i of its accumulators at this row and column, as mma.m16n8k16 has for each warp.
int row_of(int t, int i) { return t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8; }
int column_of(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

}  // namespace

void Warpgroups::begin_block(int threads) {
    num_groups_ = (threads + kThreads - 1) / kThreads;
    // As if the kernel had been compiled for one block of this size on a multiprocessor.
    const int registers = std::min(248, kRegisters / std::max(threads, 1) / 8 * 8);
    free_registers_ = 0;
    for (Warpgroup& group : groups_) {
        group.max_registers = registers;
        if (!used_) continue;
        group.waiting = group.group = 0;
        group.meetings = 0;
        group.fenced = false;
        group.sums.clear();
        group.products.clear();
        for (std::vector<Registers>& registers_of_thread : group.registers) registers_of_thread.clear();
    }
    used_ = false;
}

void Warpgroups::end_block() const {
    for (int i = 0; i < num_groups_; i++)
        if (!groups_[i].products.empty())
            kernel_error("the block has ended before anybody waited for the wgmma of %s:%d",
                         groups_[i].products.front().place.file, groups_[i].products.front().place.line);
}

// Waits for the other threads of the warpgroup; the last one to come does what they came for.
template <class Action>
void Warpgroups::meet(const char* what, void* operand, bool orders_memory, Place place, const Action& action) {
    Multiprocessor& m = Multiprocessor::mine();
    const int number = m.number() / kThreads, thread = m.number() % kThreads;
    Warpgroup& group = groups_[number];
    if (m.num_threads() < (number + 1) * kThreads)
        kernel_error("threads wait %s at %s:%d, and their warpgroup is only %d", what, place.file, place.line,
                     m.num_threads() - number * kThreads);
    if (group.waiting && (group.what != what || !same(group.place, place)))
        kernel_error("divergent warpgroup: its threads wait %s at %s:%d and %s at %s:%d", group.what, group.place.file,
                     group.place.line, what, place.file, place.line);
    used_ = true;
    group.what = what;
    group.place = place;
    group.operands[thread] = operand;
    const unsigned turn = group.meetings;
    void* const tag = m.shared.async_tag(160 + 2 * number + int(turn % 2));
    if (++group.waiting < kThreads) {
        do m.wait_on(&group, what, place);
        while (group.meetings == turn);
        if (orders_memory) acquire(tag);
        return;
    }
    action(group);
    group.waiting = 0;
    group.meetings++;
    if (orders_memory) release(tag);
    m.wake(&group);
}

// ---- products ----------------------------------------------------------------------------------------------------

void Warpgroups::multiply(WgmmaOperands& operands, Place place) {
    meet("in wgmma", &operands, false, place, [&](Warpgroup& group) {
        Unseen unseen;
        start(group, place);
    });
}

void Warpgroups::start(Warpgroup& group, Place place) {
    const auto operands = [&](int t) -> const WgmmaOperands& {
        return *static_cast<WgmmaOperands*>(group.operands[t]);
    };
    const WgmmaOperands& first = operands(0);
    for (int t = 1; t < kThreads; t++)
        if (operands(t).a_descriptor != first.a_descriptor || operands(t).b_descriptor != first.b_descriptor ||
            operands(t).accumulate != first.accumulate)
            kernel_error("wgmma at %s:%d: threads 0 and %d of the warpgroup give different descriptors", place.file,
                         place.line, t);
    if (!first.a) check_operand(first.a_descriptor, 64, first.a_transposed, place);
    check_operand(first.b_descriptor, first.columns, first.b_transposed, place);

    auto sums =
        std::find_if(group.sums.begin(), group.sums.end(), [&](const Sums& s) { return s.threads[0] == first.d; });
    if (sums == group.sums.end()) {
        sums =
            group.sums.insert(sums, Sums{{}, first.columns, 0, place, std::vector<float>(64 * size_t(first.columns))});
        for (int t = 0; t < kThreads; t++) {
            float* const d = sums->threads[t] = operands(t).d;
            check_registers(group, t, d, sizeof(float) * size_t(first.columns) / 2, place);
            for (int i = 0; i < first.columns / 2; i++) {
                sums->values[size_t(row_of(t, i) * first.columns + column_of(t, i))] = d[i];
                d[i] = std::bit_cast<float>(kNan);
            }
        }
    } else if (sums->columns != first.columns) {
        kernel_error("wgmma at %s:%d: its accumulators are those of one of another shape at %s:%d, under way",
                     place.file, place.line, sums->place.file, sums->place.line);
    }
    sums->products++;
    group.products.push_back({&*sums, first, {}, {}, group.group, place});
    Product& product = group.products.back();
    if (!first.a) return;
    for (int t = 0; t < kThreads; t++) {
        product.a[t] = operands(t).a;
        check_registers(group, t, product.a[t], sizeof product.a_values[t], place);
        std::copy(product.a[t], product.a[t] + 4, product.a_values[t]);
    }
}

// Registers may be an operand if they have not changed since the last fence. For those that never were one, there must
// have been a fence since the last wait.
void Warpgroups::check_registers(Warpgroup& group, int thread, const void* at, size_t bytes, Place place) {
    for (const Registers& known : group.registers[thread])
        if (known.at == at && known.bytes == bytes) {
            if (known.hash != hash(at, bytes))
                kernel_error(
                    "wgmma at %s:%d: thread %d of the warpgroup has written its registers after the last "
                    "wgmma.fence",
                    place.file, place.line, thread);
            return;
        }
    if (!group.fenced)
        kernel_error("wgmma at %s:%d: no wgmma.fence stands between the writing of its registers and this", place.file,
                     place.line);
    group.registers[thread].push_back({at, bytes, hash(at, bytes)});
}

void Warpgroups::fence(Place place) {
    meet("in wgmma.fence", nullptr, false, place, [](Warpgroup& group) {
        for (std::vector<Registers>& thread : group.registers)
            for (Registers& registers : thread) registers.hash = hash(registers.at, registers.bytes);
        group.fenced = true;
    });
}

void Warpgroups::commit(Place place) {
    meet("in wgmma.commit_group", nullptr, false, place, [](Warpgroup& group) { group.group++; });
}

// Orders memory, as a thread that has waited may tell others that the operands were read, whoever read them here.
void Warpgroups::wait(WgmmaWait wait, Place place) {
    meet("in wgmma.wait_group", &wait, true, place, [&](Warpgroup& group) {
        const WgmmaWait& first = *static_cast<WgmmaWait*>(group.operands[0]);
        finish(group, first, place);
        group.fenced = false;
    });
}

void Warpgroups::finish(Warpgroup& group, const WgmmaWait& wait, Place place) {
    while (!group.products.empty() && group.products.front().group < group.group - wait.groups_left) {
        const Product& product = group.products.front();
        finish(group, product);
        Unseen unseen;
        Sums* const sums = product.sums;
        group.products.pop_front();
        if (sums->products) continue;
        give_back(group, *sums, wait, place);
        group.sums.remove_if([&](const Sums& s) { return &s == sums; });
    }
}

void Warpgroups::finish(Warpgroup&, const Product& product) {
    const WgmmaOperands& operands = product.operands;
    float a[64 * 16], b[256 * 16];
    read_operand(b, operands.b_descriptor, operands.columns, operands.b_transposed, product.place);
    if (!operands.a) {
        read_operand(a, operands.a_descriptor, 64, operands.a_transposed, product.place);
    } else {
        for (int t = 0; t < kThreads; t++) {
            if (!std::equal(product.a[t], product.a[t] + 4, product.a_values[t]))
                kernel_error(
                    "thread %d of the warpgroup has overwritten the operand in registers of the wgmma of %s:%d "
                    "before it waited",
                    t, product.place.file, product.place.line);
            for (int i = 0; i < 8; i++) {  // two numbers in each register; rows change before columns
                const int row = row_of(t, i / 2 % 2 * 2), column = t % 4 * 2 + i % 2 + i / 4 * 8;
                const uint32_t pair = product.a_values[t][i / 2];
                a[row * 16 + column] = std::bit_cast<float>(i % 2 ? pair & 0xFFFF0000u : pair << 16);
            }
        }
    }
    float* const sums = product.sums->values.data();
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < operands.columns; j++) {
            float sum = 0.0f;
            for (int k = 0; k < 16; k++) sum += a[i * 16 + k] * b[j * 16 + k];
            float& d = sums[i * operands.columns + j];
            d = operands.accumulate ? d + sum : sum;
        }
    product.sums->products--;
}

void Warpgroups::give_back(Warpgroup& group, const Sums& sums, const WgmmaWait& wait, Place place) {
    if (std::find(std::begin(wait.accumulators), std::end(wait.accumulators), sums.threads[0]) ==
        std::end(wait.accumulators))
        kernel_error(
            "wgmma_wait at %s:%d is not given the accumulators of the wgmma of %s:%d, which it waits for: a "
            "compiler may read them before it",
            place.file, place.line, sums.place.file, sums.place.line);
    for (int t = 0; t < kThreads; t++) {
        float* const d = sums.threads[t];
        for (int i = 0; i < sums.columns / 2; i++) {
            if (std::bit_cast<uint32_t>(d[i]) != kNan)
                kernel_error(
                    "thread %d of the warpgroup has written accumulators of the wgmma of %s:%d before it waited", t,
                    sums.place.file, sums.place.line);
            d[i] = sums.values[size_t(row_of(t, i) * sums.columns + column_of(t, i))];
        }
        for (Registers& registers : group.registers[t])
            if (registers.at == d) registers.hash = hash(d, registers.bytes);
    }
}

// ---- registers ---------------------------------------------------------------------------------------------------

void Warpgroups::set_max_registers(int registers, bool more, Place place) {
    Multiprocessor& m = Multiprocessor::mine();
    meet("in setmaxnreg", nullptr, false, place, [&](Warpgroup& group) {
        if (registers % 8 || registers < 24 || registers > 256)
            kernel_error("setmaxnreg at %s:%d: %d is not a multiple of 8 from 24 to 256", place.file, place.line,
                         registers);
        const int change = registers - group.max_registers;
        if (more ? change < 0 : change > 0)
            kernel_error("setmaxnreg.%s at %s:%d from %d to %d registers", more ? "inc" : "dec", place.file, place.line,
                         group.max_registers, registers);
        while (free_registers_ < change * kThreads)
            m.wait_on(&free_registers_, "for registers (setmaxnreg.inc)", place);
        free_registers_ -= change * kThreads;
        group.max_registers = registers;
        m.wake(&free_registers_);
    });
}

void wgmma(WgmmaOperands& operands, Place place) { Multiprocessor::mine().hopper.warpgroups.multiply(operands, place); }
void wgmma_fence(Place place) { Multiprocessor::mine().hopper.warpgroups.fence(place); }
void wgmma_commit(Place place) { Multiprocessor::mine().hopper.warpgroups.commit(place); }
void wgmma_wait(WgmmaWait wait, Place place) { Multiprocessor::mine().hopper.warpgroups.wait(wait, place); }
void set_max_registers(int registers, bool more, Place place) {
    Multiprocessor::mine().hopper.warpgroups.set_max_registers(registers, more, place);
}

}  // namespace executor
