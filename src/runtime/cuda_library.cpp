#include "runtime/cuda_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

using Folders = std::vector<fs::path>;

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

void add(Folders& folders, const fs::path& folder) {
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(folder);
}

// Where CUDA is installed as a whole. Conda unpacks its packages of it into the environment itself.
Folders toolkits(int major) {
    Folders found;
    for (const char* const name : {"CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"})
        if (const std::string value = variable(name); !value.empty()) add(found, value);
    add(found, "/usr/local/cuda");
    add(found, str("/usr/local/cuda-", major));
    return found;
}

// The installations and virtual environments of Python: those that variables name, those that an interpreter on the
// PATH belongs to, and where Debian's Python and `pip install --user` put packages.
Folders pythons() {
    Folders found;
    for (const char* const name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
        if (const std::string value = variable(name); !value.empty()) add(found, value);
    std::istringstream path(variable("PATH"));
    for (std::string folder; std::getline(path, folder, ':');) {
        std::error_code error;
        fs::path python = fs::path(folder) / "python3";
        if (folder.empty() || !fs::exists(python, error)) continue;
        // The python3 of a virtual environment is a link to the interpreter that it was made with, and there may be a
        // link to it: each of these places may have packages.
        while (true) {
            add(found, python.parent_path().parent_path());
            const fs::path target = fs::read_symlink(python, error);
            if (error) break;
            python = (python.parent_path() / target).lexically_normal();
        }
    }
    add(found, "/usr/local");
    if (const std::string home = variable("HOME"); !home.empty()) add(found, fs::path(home) / ".local");
    return found;
}

// Where the packages of a Python are that exist: PREFIX/lib/python3.12/site-packages, or Debian's dist-packages.
// Without links, since lib64 is often one to lib, and /lib one to /usr/lib.
Folders package_folders(const fs::path& prefix) {
    Folders found;
    for (const char* const lib : {"lib", "lib64"}) {
        std::error_code error;
        for (const fs::directory_entry& entry : fs::directory_iterator(prefix / lib, error))
            if (entry.path().filename().string().starts_with("python3"))
                for (const char* const name : {"site-packages", "dist-packages"}) {
                    const fs::path packages = fs::canonical(entry.path() / name, error);
                    if (!error) add(found, packages);
                }
    }
    std::sort(found.begin(), found.end());
    return found;
}

Folders library_folders(const CudaLibraryName& name) {
    Folders folders;
    for (const fs::path& toolkit : toolkits(name.cuda_major))
        for (const char* const lib : {"lib64", "lib", "targets/x86_64-linux/lib"}) add(folders, toolkit / lib);
    for (const fs::path& python : pythons())
        for (const fs::path& packages : package_folders(python))
            add(folders, packages / "nvidia" / name.folder / "lib");
    return folders;
}

}  // namespace

CudaLibraryName toolkit_library(const std::string& name, const std::string& package, int cuda_major) {
    return {str("lib", name, ".so.", cuda_major), cuda_major >= 13 ? str("cu", cuda_major) : package, cuda_major};
}

void* CudaLibrary::symbol(const char* name) const { return handle ? dlsym(handle, name) : nullptr; }

CudaLibrary open_cuda_library(const CudaLibraryName& name) {
    const std::string& file = name.file;
    CudaLibrary library;
    const auto open = [&](const fs::path& path) {
        library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library.handle) library.problem += str(library.problem.empty() ? "" : "; ", dlerror());
        return library.handle != nullptr;
    };
    if (open(file)) return library;
    std::string looked_in;
    for (const fs::path& folder : library_folders(name)) {
        std::error_code error;
        if (fs::exists(folder / file, error) && open(folder / file)) return library;
        looked_in += str(looked_in.empty() ? "" : ", ", folder.string());
    }
    library.problem += "; looked in " + looked_in;
    return library;
}
