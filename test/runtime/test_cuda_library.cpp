// The search for a library of CUDA's, in trees of folders that hold a tiny one which says where it lies.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runtime/cuda_library.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

constexpr const char* kVariables[] = {"CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH", "HOME"};

class CudaLibrarySearch : public testing::Test {
  protected:
    // Nothing of the machine's own is found by these variables; every test sets those that it is about.
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "relora_library_XXXXXX").string();
        ASSERT_TRUE(mkdtemp(name.data()));
        root_ = name;
        for (const char* const variable : kVariables) {
            const char* const value = std::getenv(variable);
            before_.emplace_back(variable, value ? value : "");
        }
        compile();
        for (const char* const variable : kVariables) unsetenv(variable);
    }
    void TearDown() override {
        for (const auto& [variable, value] : before_)
            value.empty() ? unsetenv(variable) : setenv(variable, value.c_str(), 1);
        fs::remove_all(root_);
    }
    // Sets a variable to a folder, which is given from the root on.
    void set(const char* variable, const std::string& folder) { setenv(variable, (root_ / folder).c_str(), 1); }
    void put(const std::string& folder, int major = 13) {
        fs::create_directories(root_ / folder);
        fs::copy_file(root_ / "compiled.so", root_ / folder / str("libanywhere.so.", major));
    }
    // Opens the library; returns its folder, from the root on, or the problem.
    std::string opened(int major = 13) { return opened(toolkit_library("anywhere", "cublas", major)); }
    std::string opened(const CudaLibraryName& name) {
        const CudaLibrary library = open_cuda_library(name);
        if (!library.handle) return library.problem;
        const auto path = reinterpret_cast<const char* (*)()>(dlsym(library.handle, "path_of_library"));
        const std::string found =
            path ? fs::relative(fs::path(path()).parent_path(), root_).string() : "another library";
        dlclose(library.handle);
        return found;
    }
    fs::path root_;

  private:
    void compile() {
        std::ofstream(root_ / "source.cpp") << "#include <dlfcn.h>\n"
                                               "extern \"C\" const char* path_of_library() {\n"
                                               "    Dl_info info;\n"
                                               "    dladdr(reinterpret_cast<void*>(&path_of_library), &info);\n"
                                               "    return info.dli_fname;\n"
                                               "}\n";
        const char* const compiler = std::getenv("CXX");
        const std::string command = str(compiler ? compiler : "g++", " -shared -fPIC -o ",
                                        (root_ / "compiled.so").string(), " ", (root_ / "source.cpp").string());
        ASSERT_EQ(std::system(command.c_str()), 0) << command;
    }
    std::vector<std::pair<const char*, std::string>> before_;
};

TEST_F(CudaLibrarySearch, LooksIntoToolkits) {
    for (const auto& [variable, folder] : {std::pair{"CUDA_HOME", "a/lib64"},
                                           {"CUDA_PATH", "b/lib"},
                                           {"CUDA_PATH", "c/targets/x86_64-linux/lib"},
                                           {"CONDA_PREFIX", "d/lib"}}) {
        put(folder);
        set(variable, std::string(folder).substr(0, 1));
        EXPECT_EQ(opened(), folder);
        unsetenv(variable);
    }
}

TEST_F(CudaLibrarySearch, PrefersAToolkitToPackages) {
    put("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
    set("VIRTUAL_ENV", "venv");
    EXPECT_EQ(opened(), "venv/lib/python3.12/site-packages/nvidia/cu13/lib");
    put("toolkit/lib64");
    set("CUDA_HOME", "toolkit");
    EXPECT_EQ(opened(), "toolkit/lib64");
}

TEST_F(CudaLibrarySearch, LooksIntoThePackagesOfPythons) {
    for (const auto& [variable, folder] : {std::pair{"VIRTUAL_ENV", "a/lib/python3.12/site-packages"},
                                           {"VIRTUAL_ENV", "b/lib64/python3.9/site-packages"},
                                           {"CONDA_PREFIX", "c/lib/python3.13/site-packages"},
                                           {"VIRTUAL_ENV", "d/lib/python3/dist-packages"}}) {
        const std::string packages = str(folder, "/nvidia/cu13/lib");
        put(packages);
        set(variable, packages.substr(0, 1));
        EXPECT_EQ(opened(), packages);
        unsetenv(variable);
    }
    put(".local/lib/python3.11/site-packages/nvidia/cu13/lib");
    set("HOME", ".");
    EXPECT_EQ(opened(), ".local/lib/python3.11/site-packages/nvidia/cu13/lib");
}

// The python3 of a virtual environment is a link out of it.
TEST_F(CudaLibrarySearch, FollowsThePathToAVirtualEnvironmentAndToWhatItWasMadeWith) {
    const std::string packages = "lib/python3.12/site-packages/nvidia/cu13/lib";
    fs::create_directories(root_ / "base/bin");
    fs::create_directories(root_ / "venv/bin");
    std::ofstream(root_ / "base/bin/python3.12") << "an interpreter";
    fs::create_symlink("../../base/bin/python3.12", root_ / "venv/bin/python3");
    setenv("PATH", str("/nowhere::", (root_ / "venv/bin").string()).c_str(), 1);
    put("base/" + packages);
    EXPECT_EQ(opened(), "base/" + packages);
    put("venv/" + packages);
    EXPECT_EQ(opened(), "venv/" + packages);
    fs::create_directories(root_ / "bin");
    fs::create_symlink(root_ / "venv/bin/python3", root_ / "bin/python3");
    set("PATH", "bin");
    EXPECT_EQ(opened(), "venv/" + packages);
}

TEST_F(CudaLibrarySearch, TakesTheMajorVersionThatItIsAskedFor) {
    const std::string packages = "venv/lib/python3.12/site-packages/nvidia/";
    put(packages + "cublas/lib", 12);
    put("toolkit/lib64", 12);
    set("VIRTUAL_ENV", "venv");
    EXPECT_EQ(opened(12), packages + "cublas/lib");
    set("CUDA_HOME", "toolkit");
    EXPECT_EQ(opened(12), "toolkit/lib64");
    EXPECT_NE(opened(13).find("libanywhere.so.13: cannot open shared object file"), std::string::npos);
}

// NCCL counts its own versions, and its package has a folder of its own in all versions of CUDA.
TEST_F(CudaLibrarySearch, FindsALibraryThatIsNoPartOfAToolkit) {
    const CudaLibraryName name{"libanywhere.so.2", "nccl", 13};
    put("venv/lib/python3.12/site-packages/nvidia/cu13/lib", 2);
    set("VIRTUAL_ENV", "venv");
    EXPECT_NE(opened(name).find("venv/lib/python3.12/site-packages/nvidia/nccl/lib"), std::string::npos);
    put("venv/lib/python3.12/site-packages/nvidia/nccl/lib", 2);
    EXPECT_EQ(opened(name), "venv/lib/python3.12/site-packages/nvidia/nccl/lib");
    put("toolkit/lib64", 2);
    set("CUDA_HOME", "toolkit");
    EXPECT_EQ(opened(name), "toolkit/lib64");
    EXPECT_NE(opened({"libanywhere.so.3", "nccl", 13}).find("/usr/local/cuda-13/lib64"), std::string::npos);
}

TEST_F(CudaLibrarySearch, SaysWhereItLooked) {
    fs::create_directories(root_ / "venv/lib/python3.12/site-packages");
    fs::create_directories(root_ / "toolkit/lib64");
    std::ofstream(root_ / "toolkit/lib64/libanywhere.so.13") << "not a library";
    set("CUDA_HOME", "toolkit");
    set("VIRTUAL_ENV", "venv");
    const std::string problem = opened();
    for (const char* const place :
         {"toolkit/lib64/libanywhere.so.13: file too short", "toolkit/lib64,", "toolkit/lib,",
          "toolkit/targets/x86_64-linux/lib,", "venv/lib/python3.12/site-packages/nvidia/cu13/lib"})
        EXPECT_NE(problem.find(str((root_ / place).string())), std::string::npos) << place << "\n" << problem;
    EXPECT_NE(problem.find("/usr/local/cuda/lib64"), std::string::npos) << problem;
    EXPECT_EQ(problem.find('\n'), std::string::npos);
    put("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
    EXPECT_EQ(opened(), "venv/lib/python3.12/site-packages/nvidia/cu13/lib");
}

}  // namespace
