#include "dev/cuda_on_cpu/executor/tensor_copy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

void TensorCopies::begin_block(int threads) {
    if (int(stores_.size()) < threads) stores_.resize(size_t(threads));
    if (!used_) return;
    used_ = false;
    loads_.clear();
    for (Stores& stores : stores_) {
        stores.copies.clear();
        stores.group = 0;
    }
}

void TensorCopies::end_block() const {
    if (!loads_.empty())
        kernel_error("the block has ended before the copy of %s:%d has arrived: nobody waited for its mbarrier",
                     loads_[0].place.file, loads_[0].place.line);
}

TensorCopies::Copy TensorCopies::checked(const char* what, const void* shared, const CUtensorMap* map, const int* at,
                                         int rank, Place place) {
    Copy copy{};
    std::memcpy(&copy.map, map, sizeof copy.map);
    if (copy.map.mark != TensorMap::kMark)
        kernel_error("%s at %s:%d: this is no tensor map", what, place.file, place.line);
    if (copy.map.rank != rank)
        kernel_error("%s at %s:%d: %d coordinates for a tensor of %d dimensions", what, place.file, place.line, rank,
                     copy.map.rank);
    if (uintptr_t(shared) % 128)
        kernel_error("%s at %s:%d: the address in shared memory is not a multiple of 128", what, place.file,
                     place.line);
    if (!Multiprocessor::mine().shared.region_of(shared, copy.map.box_bytes()))
        kernel_error("%s at %s:%d: a box of %zu bytes does not lie within one variable of shared memory", what,
                     place.file, place.line, copy.map.box_bytes());
    std::copy(at, at + rank, copy.at);
    copy.shared = const_cast<char*>(static_cast<const char*>(shared));
    copy.place = place;
    return copy;
}

// Calls f(number, shared, global, first, last) for each 16 bytes of the box. Its bytes [first, last) are within the
// tensor, and `global` is the address of the first of them.
template <class F>
void TensorCopies::for_each_piece(const Copy& copy, const F& f) {
    const TensorMap& map = copy.map;
    const int64_t bytes = map.element_bytes, row_bytes = int64_t(map.row_bytes());
    const int64_t begin = -copy.at[0] * bytes, end = (int64_t(map.dims[0]) - copy.at[0]) * bytes;
    int number = 0;
    for (size_t row = 0; row < map.rows(); row++) {
        bool inside = true;
        const char* global = map.address + copy.at[0] * bytes;
        size_t rest = row;
        for (int i = 1; i < map.rank; i++) {
            const int64_t index = copy.at[i] + int64_t(rest % map.box[i]);
            rest /= map.box[i];
            inside &= index >= 0 && index < int64_t(map.dims[i]);
            global += index * int64_t(map.strides[i - 1]);
        }
        for (int64_t x = 0; x < row_bytes; x += 16) {
            const int64_t first = inside ? std::clamp<int64_t>(begin - x, 0, 16) : 0;
            const int64_t last = inside ? std::clamp<int64_t>(end - x, first, 16) : 0;
            const uintptr_t shared = uintptr_t(copy.shared) + row * size_t(row_bytes) + size_t(x);
            f(number++, reinterpret_cast<char*>(swizzled(shared, map.swizzle)), global + x + first, size_t(first),
              size_t(last));
        }
    }
}

// ---- loads -------------------------------------------------------------------------------------------------------

void TensorCopies::load(void* shared, const CUtensorMap* map, const int* at, int rank, uint64_t* barrier, Place place) {
    Multiprocessor& m = Multiprocessor::mine();
    Copy copy = checked("a tensor load", shared, map, at, rank, place);
    copy.barrier = barrier;
    Mbarriers::Barrier& reports_to = m.hopper.mbarriers.use(barrier, "a tensor load", place);
    if (!reports_to.fenced)
        kernel_error("a tensor load at %s:%d: no fence stands behind the mbarrier's initialisation at %s:%d",
                     place.file, place.line, reports_to.initialised.file, reports_to.initialised.line);
    const size_t bytes = copy.map.box_bytes();
    for (const Copy& other : loads_)
        if (copy.shared < other.shared + other.map.box_bytes() && other.shared < copy.shared + bytes)
            kernel_error("a tensor load at %s:%d goes where that of %s:%d has not arrived yet", place.file, place.line,
                         other.place.file, other.place.line);
    reports_to.copies++;
    reports_to.copied = place;
    fill_as_thread(shared, 0xFF, bytes);
    m.hopper.proxy.wrote(shared, bytes);
    release(m.hopper.mbarriers.tag(reports_to, reports_to.phase));
    {
        Unseen unseen;
        loads_.push_back(std::move(copy));
        used_ = true;
    }
    m.wake(barrier);  // whoever waits there makes it arrive
}

void TensorCopies::deliver(uint64_t* barrier) {
    Multiprocessor& m = Multiprocessor::mine();
    for (size_t i = 0; i < loads_.size();) {
        if (loads_[i].barrier != barrier) {
            i++;
            continue;
        }
        Copy copy;
        {
            Unseen unseen;
            copy = std::move(loads_[i]);
            loads_.erase(loads_.begin() + long(i));
        }
        for_each_piece(copy, [](int, char* shared, const char* global, size_t first, size_t last) {
            if (last > first) copy_as_thread(shared + first, global, last - first);
            if (first > 0) fill_as_thread(shared, 0, first);
            if (last < 16) fill_as_thread(shared + last, 0, 16 - last);
        });
        m.hopper.proxy.wrote(copy.shared, copy.map.box_bytes());
        Mbarriers::Barrier& reports_to = m.hopper.mbarriers.use(barrier, "a tensor load", copy.place);
        release(m.hopper.mbarriers.tag(reports_to, reports_to.phase));
        reports_to.copies--;
        m.hopper.mbarriers.add_bytes(barrier, -int64_t(copy.map.box_bytes()), copy.place);
    }
}

// ---- stores ------------------------------------------------------------------------------------------------------

void TensorCopies::store(const CUtensorMap* map, const int* at, int rank, const void* shared, Place place) {
    Multiprocessor& m = Multiprocessor::mine();
    Copy copy = checked("a tensor store", shared, map, at, rank, place);
    if (m.hopper.proxy.differs(shared, copy.map.box_bytes()))
        kernel_error("a tensor store at %s:%d reads what a thread has written without a fence.proxy.async", place.file,
                     place.line);
    Stores& mine = stores_[size_t(m.number())];
    copy.group = mine.group;
    Unseen unseen;
    mine.copies.push_back(std::move(copy));
    used_ = true;
}

void TensorCopies::commit() {
    stores_[size_t(Multiprocessor::mine().number())].group++;
    used_ = true;
}

void TensorCopies::read_source(Copy& copy) {
    if (Multiprocessor::mine().hopper.proxy.differs(copy.shared, copy.map.box_bytes()))
        kernel_error("a thread has overwritten what the tensor store of %s:%d was about to read", copy.place.file,
                     copy.place.line);
    {
        Unseen unseen;
        copy.read.resize(copy.map.box_bytes() / 16);
    }
    for_each_piece(copy, [&](int number, const char* shared, const char*, size_t, size_t) {
        Piece piece;
        copy_as_thread(&piece, shared, 16);
        copy.read[size_t(number)] = piece;
    });
}

void TensorCopies::write_target(const Copy& copy) {
    for_each_piece(copy, [&](int number, const char*, const char* global, size_t first, size_t last) {
        const Piece piece = copy.read[size_t(number)];
        if (last > first)
            copy_as_thread(const_cast<char*>(global), reinterpret_cast<const char*>(&piece) + first, last - first);
    });
}

void TensorCopies::wait(int groups_left, bool read_only) {
    Stores& mine = stores_[size_t(Multiprocessor::mine().number())];
    const auto waited_for = [&](const Copy& copy) { return copy.group < mine.group - groups_left; };
    for (Copy& copy : mine.copies)
        if (waited_for(copy) && copy.read.empty()) read_source(copy);
    if (read_only) return;
    for (const Copy& copy : mine.copies)
        if (waited_for(copy)) write_target(copy);
    Unseen unseen;
    std::erase_if(mine.copies, waited_for);
}

// What was read is written when the grid is over, at the latest.
void TensorCopies::thread_exits() {
    if (!used_) return;
    Stores& mine = stores_[size_t(Multiprocessor::mine().number())];
    for (const Copy& copy : mine.copies) {
        if (copy.read.empty())
            kernel_error("a thread exits before its tensor store of %s:%d has read shared memory", copy.place.file,
                         copy.place.line);
        write_target(copy);
    }
    if (mine.copies.empty()) return;
    Unseen unseen;
    mine.copies.clear();
}

void tensor_load(void* shared, const CUtensorMap* map, const int* at, int rank, uint64_t* barrier, Place place) {
    Multiprocessor::mine().hopper.copies.load(shared, map, at, rank, barrier, place);
}
void tensor_store(const CUtensorMap* map, const int* at, int rank, const void* shared, Place place) {
    Multiprocessor::mine().hopper.copies.store(map, at, rank, shared, place);
}
void bulk_commit() { Multiprocessor::mine().hopper.copies.commit(); }
void bulk_wait(int groups_left, bool read_only) { Multiprocessor::mine().hopper.copies.wait(groups_left, read_only); }

}  // namespace executor
