#include "train/agreement.h"

#include <cstring>
#include <filesystem>

#include "kernels/kernels.h"
#include "runtime/device.h"
#include "runtime/version.h"

namespace {

std::string lines_of(const DataFiles& files) {
    std::string lines;
    for (const FileFingerprint& shard : files.shards)
        lines += str(std::filesystem::path(shard.path).filename().string(), " = ", shard.bytes, " bytes, SHA-256 ",
                     shard.sha256.substr(0, 16), "\n");
    return lines;
}

}  // namespace

std::string start_agreement(const Options& o) {
    return str("train_relora ", kVersion, "\n", o.to_toml(), "device = ", o.run_device == Device::cuda ? "cuda" : "cpu",
               "\nresumed = ", o.resumed_from, "\n", lines_of(o.train_files), lines_of(o.val_files));
}

void WeightCheck::prepare(const std::vector<Parameter*>& parameters) {
    if (ranks_.alone()) return;
    memory_.release();
    memory_.add(&prints_, MemoryCategory::workspaces, DType::i32, int64_t(parameters.size()), 2);
    memory_.allocate();
    parameters_ = parameters;
}

namespace {

// "0, 2" for the ranks that have the first rank's value, "1, 3" for the others.
std::string ranks_where(const std::vector<std::string>& values, bool as_the_first) {
    std::string list;
    for (size_t r = 0; r < values.size(); r++)
        if ((values[r] == values[0]) == as_the_first) list += str(list.empty() ? "" : ", ", r);
    return list;
}

}  // namespace

void WeightCheck::check(const std::string& when) const {
    if (ranks_.alone()) return;
    for (size_t i = 0; i < parameters_.size(); i++)
        kernels::fingerprint(prints_.row_range(int64_t(i), 1), parameters_[i]->weight);
    std::vector<uint64_t> own(parameters_.size());
    device::download(own.data(), prints_);
    // One number for all first; which parameter differs is asked only where that does.
    uint64_t sum = 0;
    for (const uint64_t print : own) sum = sum * 0x9E3779B97F4A7C15u + print;
    const auto bytes_of = [](const uint64_t* values, size_t n) {
        return std::string(reinterpret_cast<const char*>(values), n * sizeof(uint64_t));
    };
    const std::vector<std::string> sums = ranks_.gather(bytes_of(&sum, 1));
    if (ranks_where(sums, false).empty()) return;
    const std::vector<std::string> all = ranks_.gather(bytes_of(own.data(), own.size()));
    for (size_t i = 0; i < own.size(); i++) {
        std::vector<std::string> prints;
        for (const std::string& of_rank : all) prints.push_back(of_rank.substr(i * sizeof(uint64_t), sizeof(uint64_t)));
        const std::string others = ranks_where(prints, false);
        if (!others.empty())
            FAIL("the ranks no longer have the same weights ", when, ": ", parameters_[i]->name, " of rank ", others,
                 " differs from that of rank ", ranks_where(prints, true),
                 "; memory or a link may be faulty; go on from the last checkpoint");
    }
}
