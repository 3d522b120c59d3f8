// Messages and call stacks. Names and lines come from binutils' addr2line: kernels and tests are static functions,
// which dladdr cannot name.
#include "dev/cuda_on_cpu/executor/report.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace executor {

namespace {

// The address as the program's file counts it: from the load address if that is chosen at load time.
bool file_address(const void* address, std::string& file, uintptr_t& offset) {
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname) return false;
    const auto* header = static_cast<const Elf64_Ehdr*>(info.dli_fbase);
    offset = uintptr_t(address) - (header->e_type == ET_DYN ? uintptr_t(info.dli_fbase) : 0);
    file = info.dli_fname;
    return true;
}

const std::string kInlined = "(inlined by) ";  // how addr2line begins such a line

std::string executable() {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    return length > 0 ? std::string(path, size_t(length)) : std::string();
}

// "function at file:line" of each address, inlined functions included, in the order given.
std::vector<std::string> look_up(const std::vector<uintptr_t>& offsets) {
    std::string command = "addr2line -Cfip -e '" + executable() + "'";
    for (uintptr_t offset : offsets) {
        char hex[32];
        snprintf(hex, sizeof hex, " 0x%lx", static_cast<unsigned long>(offset));
        command += hex;
    }
    std::vector<std::string> lines;
    FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
    if (!pipe) return lines;
    for (char line[2048]; fgets(line, sizeof line, pipe);) {
        lines.emplace_back(line);
        if (lines.back().back() == '\n') lines.back().pop_back();
    }
    pclose(pipe);
    return lines;
}

// Frames that say nothing to the reader: the executor's own, the standard library's, and those without a line.
bool is_noise(const std::string& line) {
    const auto has = [&](const char* text) { return line.find(text) != std::string::npos; };
    return has("/dev/cuda_on_cpu/") || has("??:") || has(":?") || has("/include/c++/");
}

}  // namespace

CallStack CallStack::here() {
    CallStack stack;
    stack.depth = backtrace(stack.frames, kDepth);
    return stack;
}

std::string CallStack::text(int max_lines) const {
    const std::string program = executable();
    std::vector<uintptr_t> offsets;
    for (int i = 0; i < depth; i++) {
        std::string file;
        uintptr_t offset;
        // A return address may already belong to the next line; the call lies before it.
        if (!file_address(static_cast<char*>(frames[i]) - 1, file, offset)) continue;
        char resolved[4096];
        if (realpath(file.c_str(), resolved) && program == resolved) offsets.push_back(offset);
    }
    std::string text;
    int lines = 0;
    if (offsets.empty()) return text;
    for (std::string line : look_up(offsets)) {
        if (is_noise(line) || lines++ >= max_lines) continue;
        const size_t name = line.find(kInlined);
        text += "\n    " + (name == std::string::npos ? line : line.substr(name + kInlined.size()));
    }
    return text;
}

std::string function_name(const void* address) {
    std::string file;
    uintptr_t offset;
    if (!address || !file_address(address, file, offset)) return "a kernel";
    const std::vector<std::string> lines = look_up({offset});
    const std::string line = lines.empty() ? "" : lines.front();
    return line.empty() || line[0] == '?' ? "a kernel" : "kernel " + line;
}

void complain(const std::string& message, const CallStack& stack) {
    const std::string place = stack.text(8);
    fflush(stdout);
    fprintf(stderr, "==CUDA-on-CPU== ERROR: %s%s%s\n", message.c_str(), place.empty() ? "" : "\n  called from",
            place.c_str());
}

void die(const std::string& message, const CallStack& stack) {
    complain(message, stack);
    abort();
}

void leaked(const std::string& message) {
    fprintf(stderr, "==CUDA-on-CPU== LEAK: %s\n", message.c_str());
    const char* const action = getenv("EXECUTOR_LEAKS");
    if (!action || strcmp(action, "error")) return;
    fflush(nullptr);
    _exit(1);
}

}  // namespace executor
