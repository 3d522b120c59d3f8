#include "checkpoint/run_folder.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "io/files.h"
#include "io/paths.h"
#include "io/temporary.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step_";
constexpr size_t kDigits = 8;

std::vector<std::pair<int64_t, std::string>> by_step(const std::string& out) {
    std::vector<std::pair<int64_t, std::string>> found;
    for (const std::string& name : names_in(out)) {
        const auto step = step_of(name);
        std::error_code none;
        if (step && fs::is_directory(out + "/" + name, none)) found.push_back({*step, out + "/" + name});
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

std::string step_name(int64_t step) {
    std::string digits = std::to_string(step);
    digits.insert(0, kDigits - std::min(kDigits, digits.size()), '0');
    return std::string(kPrefix) + digits;
}

std::optional<int64_t> step_of(const std::string& name) {
    int64_t step = 0;
    const char* const digits = name.data() + std::min(kPrefix.size(), name.size());
    std::from_chars(digits, name.data() + name.size(), step);
    return name == step_name(step) ? std::optional(step) : std::nullopt;
}

std::optional<int64_t> step_number(const std::string& text) {
    if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos) return {};
    return std::stoll(text);
}

std::vector<std::string> checkpoints(const std::string& out) {
    std::vector<std::string> folders;
    for (auto& [step, folder] : by_step(out)) folders.push_back(std::move(folder));
    return folders;
}

WholeCheckpoint whole_checkpoint(const std::string& folder) {
    WholeCheckpoint found{folder, read_state(folder)};
    verify_files(folder, found.state);
    return found;
}

std::optional<WholeCheckpoint> newest_whole(const std::string& out, std::vector<std::string>& passed_over) {
    const std::vector<std::string> all = checkpoints(out);
    for (auto folder = all.rbegin(); folder != all.rend(); ++folder) try {
            return whole_checkpoint(*folder);
        } catch (const Error& error) {
            passed_over.push_back(error.what());
        }
    return {};
}

void remove_old(const std::string& out, const Keep& keep) {
    if (keep.newest == 0) return;
    auto all = by_step(out);
    std::erase_if(all, [](const auto& found) { return !is_checkpoint(found.second); });
    for (size_t i = 0; i + size_t(keep.newest) < all.size(); i++) {
        const auto& [step, folder] = all[i];
        if (keep.every > 0 && step % keep.every == 0) continue;
        // It gives its name up first: one that is half removed is no checkpoint. A new folder gives way to it.
        const Temporary trash(out, Temporary::Kind::folder);
        std::error_code ignored;
        fs::rename(folder, trash.path(), ignored);
    }
}

std::string set_aside(const std::string& path) {
    std::string name = path + ".abandoned";
    for (int i = 2; fs::exists(fs::symlink_status(name)); i++) name = str(path, ".abandoned.", i);
    std::error_code error;
    fs::rename(path, name, error);
    if (error) fail_errno("rename", path, error.value());
    return name;
}

std::vector<std::string> set_aside_later(const std::string& out, int64_t step) {
    std::vector<std::string> names;
    for (const auto& [later, folder] : by_step(out))
        if (later > step) names.push_back(set_aside(folder));
    return names;
}

void check_room(const std::string& out, int64_t bytes) {
    constexpr int64_t kMiB = 1 << 20;
    const int64_t free = free_bytes(out);
    if (free >= bytes) return;
    throw DiskFull(str(out, ": a checkpoint takes ", (bytes + kMiB - 1) / kMiB, " MiB, and only ", free / kMiB,
                       " MiB are free: ", (bytes - free + kMiB - 1) / kMiB, " MiB too few"),
                   __FILE__, __LINE__);
}
