# train_relora: `make` builds the trainer and the tokenizer, `make test` runs the tests, `make help` lists the rest.
CXX      ?= g++
DEBUG     = 0
WERROR   ?= 0
BUILD    ?= $(if $(filter 1,$(DEBUG)),build/debug,build)
PORTABLE ?= 0
DEPS     ?=
# Stands for a comma within a function's argument.
, := ,
# Programs go here, or into another BUILD than the usual one, so that neither build takes the other's for its own.
PROGRAMS := $(if $(filter-out build,$(BUILD)),$(BUILD)/)

CXXFLAGS += -std=c++20 -O1 -g1 -fopenmp -Wall -Wextra -Wno-unknown-pragmas -Wno-missing-field-initializers -fno-math-errno -fno-trapping-math -MMD -MP -Isrc -I.
# The CPU to build for: this one, any of its architecture (PORTABLE=1), or one that is named as -march does.
ifeq ($(PORTABLE),0)
CXXFLAGS += -march=native
else ifneq ($(PORTABLE),1)
CXXFLAGS += -march=$(PORTABLE)
endif
ifeq ($(PORTABLE)-$(shell uname -m),0-x86_64)
CXXFLAGS += -mprefer-vector-width=512
endif
# clang says so where it leaves a loop of `omp simd` scalar, which is a matter of speed.
ifneq ($(findstring clang,$(shell $(CXX) --version)),)
CXXFLAGS += -Wno-pass-failed
endif
# DEBUG=1 checks accesses and arithmetic in host code, and on a GPU every op waits for its result (RELORA_DEBUG).
ifeq ($(DEBUG),1)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
CXXFLAGS += -g -fno-omit-frame-pointer $(SANITIZE)
CPPFLAGS += -DRELORA_DEBUG=1 -D_GLIBCXX_ASSERTIONS
endif
ifeq ($(WERROR),1)
CXXFLAGS  += -Werror
NVCCFLAGS += -Werror all-warnings -Xcompiler -Werror
endif
LDLIBS   += -ldnnl -lcrypto -lpthread
ifneq ($(DEPS),)
MULTIARCH := $(shell uname -m)-linux-gnu
CPPFLAGS  += $(addprefix -isystem ,$(wildcard $(addprefix $(DEPS)/,usr/include/$(MULTIARCH) usr/include include)))
LIBDIRS   := $(wildcard $(addprefix $(DEPS)/,usr/lib/$(MULTIARCH) usr/lib/$(MULTIARCH)/lapack usr/lib/$(MULTIARCH)/blas usr/lib lib/$(MULTIARCH) lib))
LDFLAGS   += $(foreach dir,$(LIBDIRS),-L$(dir) -Wl,-rpath-link,$(dir))
override RPATHS += $(LIBDIRS)
endif
# A program finds its libraries by RPATH when it starts, and so do these: RUNPATH doesn't hold for the libraries of libraries.
LDFLAGS   += $(if $(RPATHS),-Wl$(,)--disable-new-dtags) $(RPATHS:%=-Wl,-rpath,'%')

# The CUDA half is built where nvcc 12 or newer is (older ones know no C++20), or as CUDA=0 or 1 says: for the GPU that is
# present, else for sm_80 with PTX, which the driver translates for a newer GPU. `make release` builds for RELEASE_ARCHS.
NVCC          ?= $(shell command -v nvcc 2>/dev/null)
NVCC_RELEASE  := $(if $(NVCC),$(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\).*/\1/p'))
CUDA          ?= $(if $(filter-out 7 8 9 10 11,$(NVCC_RELEASE)),1,0)
CUDA_HOME     ?= $(firstword $(patsubst %/bin/nvcc,%,$(NVCC)) $(wildcard /usr/local/cuda))
ARCHS         ?= $(or $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -dc 0-9),80)
RELEASE_ARCHS := 80 86 89 90 100 120
NVCCFLAGS     += -std=c++20 -O3 -lineinfo --threads 0 -Xcompiler -Wall,-Wextra -MMD -MP -Isrc -I.
GENCODE       := $(foreach a,$(ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
                 $(foreach a,$(shell printf '%s\n' $(ARCHS) | sort -n | tail -n 1),-gencode arch=compute_$(a),code=compute_$(a))
CPPFLAGS      += -DRELORA_CUDA=$(CUDA)
ifeq ($(CUDA),1)
CPPFLAGS      += -I$(CUDA_HOME)/include
LDFLAGS       += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64
LDLIBS        += -lcudart_static -ldl -lrt
endif

# Is NCCL's header where CUDA is installed, or where the compiler looks? Only the files that name RELORA_NCCL ask for it.
NCCL          ?= $(if $(shell printf '\043if __has_include(<nccl.h>)\nfound\n\043endif\n' | \
                   $(CXX) $(CPPFLAGS) -I$(CUDA_HOME)/include -E -P -x c++ - 2>/dev/null),1,0)

# MPI carries tensors between ranks on CPUs, where its compiler says how to link it (Open MPI: libopenmpi-dev).
MPICC         ?= $(shell command -v mpicc 2>/dev/null)
MPI           ?= $(if $(MPICC),1,0)
ifeq ($(MPI),1)
MPI_CPPFLAGS  := -DOMPI_SKIP_MPICXX=1 -DMPICH_SKIP_MPICXX=1 $(addprefix -isystem ,$(shell $(MPICC) --showme:incdirs))
LDLIBS        += $(addprefix -L,$(shell $(MPICC) --showme:libdirs)) -Wl,--push-state,--as-needed \
                 $(addprefix -l,$(shell $(MPICC) --showme:libs)) -Wl,--pop-state
endif

# Everything is compiled anew when the flags change.
FLAGS     := $(strip NCCL=$(NCCL) $(CXX) $(CPPFLAGS) $(CXXFLAGS) $(NVCC) $(NVCCFLAGS) $(GENCODE))
ifneq ($(FLAGS),$(strip $(shell cat $(BUILD)/flags 2>/dev/null)))
$(shell mkdir -p $(BUILD) && echo '$(FLAGS)' >$(BUILD)/flags)
endif
# MPI, which may come later, concerns two files only.
MPI_FLAGS := $(strip MPI=$(MPI) $(MPI_CPPFLAGS))
ifneq ($(MPI_FLAGS),$(strip $(shell cat $(BUILD)/mpi_flags 2>/dev/null)))
$(shell mkdir -p $(BUILD) && echo '$(MPI_FLAGS)' >$(BUILD)/mpi_flags)
endif

KERNELS   := $(wildcard src/kernels/cuda/*.cu)
# The host code of the CUDA half. cuBLASLt and NCCL are loaded at run time (src/runtime/cuda_library.h).
CUDA_HOST := $(filter-out $(if $(filter 0,$(NCCL)),%/nccl_library.cpp %/nccl.cpp),$(wildcard src/*/cuda/*.cpp))
# These files ask whether the binary has a CUDA half (src/runtime/build.h).
CUDA_AWARE := src/runtime/device.cpp src/runtime/ranks.cpp src/kernels/op_timer.cpp $(wildcard src/kernels/dispatch*.cpp)
# These ask whether NCCL's header was there, and so do the programs with mistakes of dev/cuda_on_cpu.
NCCL_AWARE := src/runtime/ranks.cpp test/cuda_on_cpu/planted_bugs/main.cpp
LIB_SRC   := $(filter-out $(if $(filter 0,$(MPI)),%/mpi.cpp),$(wildcard src/*/*.cpp src/*/cpu/*.cpp src/*/ranks/*.cpp))
LIB_OBJ   := $(LIB_SRC:%=$(BUILD)/%.o)
ifeq ($(CUDA),1)
LIB_OBJ   += $(CUDA_HOST:%=$(BUILD)/%.o) $(KERNELS:%=$(BUILD)/%.o)
endif
LIB       := $(BUILD)/librelora.a
TEST_SRC  := $(wildcard test/*/*.cpp)
TEST_BIN  := $(BUILD)/tests
BENCH     := $(patsubst dev/bench/%.cpp,$(BUILD)/bench/%,$(wildcard dev/bench/*.cpp))

all: $(PROGRAMS)train_relora $(PROGRAMS)data/tokenize $(PROGRAMS)data/rdb_strings

# Time goes by in the CPU's ops and where text is read: these files are fully optimised. All others compile in two thirds of
# the time with less optimisation; files that are mostly CLI11 or JSON get none.
ifneq ($(DEBUG),1)
HOT := $(filter-out %/json.cpp %/metrics.cpp %/safetensors.cpp,$(wildcard src/kernels/cpu/*.cpp src/io/*.cpp)) src/checkpoint/arrays.cpp
$(HOT:%=$(BUILD)/%.o): private CXXFLAGS += -O3
endif
COLD := data/tokenize.cpp src/train/options.cpp src/train/option_table.cpp src/train/config_file.cpp src/train/route_cache.cpp src/io/safetensors.cpp src/checkpoint/run_state.cpp src/checkpoint/state_fields.cpp src/checkpoint/huggingface.cpp
$(COLD:%=$(BUILD)/%.o): private CXXFLAGS += -O0

$(PROGRAMS)train_relora: $(BUILD)/train_relora.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)
$(PROGRAMS)data/tokenize: $(BUILD)/data/tokenize.cpp.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)
$(PROGRAMS)data/rdb_strings: $(BUILD)/data/rdb_strings.cpp.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lz $(LDLIBS)
# The program's FAIL throws; gtest's is not used.
$(BUILD)/test/%.o: private CXXFLAGS += -DGTEST_DONT_DEFINE_FAIL=1
$(TEST_BIN): $(TEST_SRC:%=$(BUILD)/%.o) $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lgtest -lgtest_main -llapack $(LDLIBS)
# test/kernels/adamw_bits.sh builds this one file of the tests by itself, for several CPUs.
$(BUILD)/adamw_bits: $(BUILD)/test/kernels/test_adamw_bits.cpp.o $(BUILD)/src/kernels/cpu/adamw.cpp.o
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lgtest -lgtest_main
$(BUILD)/bench/%: $(BUILD)/dev/bench/%.cpp.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)
# The program itself holds no device code: the C++ compiler takes it as it is.
$(BUILD)/train_relora.o: train_relora.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -x c++ -c $< -o $@
$(BUILD)/%.cpp.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@
$(BUILD)/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(NVCC) $(CPPFLAGS) $(NVCCFLAGS) $(GENCODE) -c $< -o $@

# What only compute capability 9.0 has is in no other's code: the driver takes another file's kernels for a newer GPU.
$(BUILD)/src/kernels/cuda/attention_hopper.cu.o: private GENCODE := -gencode arch=compute_90a,code=sm_90a

# `make release` makes binaries for any machine: every supported GPU, any CPU of this architecture.
release:
	$(MAKE) BUILD=$(BUILD)/release CUDA=1 PORTABLE=1 ARCHS='$(RELEASE_ARCHS)' all

# ---- programs to take along -----------------------------------------------------------------------------------
# A bundle is built for the GPUs of ARCHS and a CPU of the last ten years, and packed with all that it needs. Its programs find
# their libraries from where they lie themselves. bundle-on-cpu takes programs with the CUDA half executed on the CPU instead,
# for dev/rehearse_gpu.sh.
BUNDLE       := $(BUILD)/bundle
BUNDLE_MAKE   = $(MAKE) BUILD=$(BUNDLE) CUDA=1 MPI=0 PORTABLE=$(if $(filter x86_64,$(shell uname -m)),x86-64-v3,1) \
                RPATHS='$$$$ORIGIN/lib $$$$ORIGIN/../lib $$$$ORIGIN/../../lib'
BUNDLED       = train_relora=$(1)train_relora data/tokenize=$(BUNDLE)/data/tokenize build/kernel_tests=$(1)kernel_tests \
                build/kernel_bench=$(1)kernel_bench build/bench/step=$(1)$(2)step
ifeq ($(CUDA),1)
bundle:
	$(BUNDLE_MAKE) gpu-programs
	TOOLS=$(BUNDLE)/data scripts/bundle.sh $(BUILD)/train_relora-bundle.tar.xz $(call BUNDLED,$(BUNDLE)/,bench/)
else
bundle:
	@echo 'make bundle needs nvcc' >&2; exit 1
endif
bundle-on-cpu:
	$(BUNDLE_MAKE) all cuda-on-cpu
	TOOLS=$(BUNDLE)/data scripts/bundle.sh $(BUILD)/train_relora-on-cpu.tar.xz $(call BUNDLED,$(BUNDLE)/cuda_on_cpu/plain/)

# ---- the kernels on the GPU itself: tests and times (dev/kernels) ----
KERNEL_BENCH := $(wildcard dev/kernels/bench*.cpp dev/kernels/cases*.cpp)
KERNEL_TEST  := $(filter-out dev/kernels/bench%,$(wildcard dev/kernels/*.cpp))
$(BUILD)/dev/kernels/%.o: private CPPFLAGS += -DGTEST_DONT_DEFINE_FAIL=1
$(BUILD)/kernel_bench: $(KERNEL_BENCH:%=$(BUILD)/%.o) $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)
$(BUILD)/kernel_tests: $(KERNEL_TEST:%=$(BUILD)/%.o) $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lgtest -lgtest_main $(LDLIBS)
kernel-bench: $(BUILD)/kernel_bench
ifeq ($(CUDA),1)
test-gpu: $(BUILD)/kernel_tests
	$<
# dev/gpu_check.sh runs these.
gpu-programs: all $(BUILD)/kernel_tests kernel-bench $(BUILD)/bench/step
else
test-gpu gpu-programs:
	@echo 'make $@ needs nvcc' >&2; exit 1
endif

# ---- the CUDA half, executed on the CPU (dev/cuda_on_cpu) ----
ON_CPU      := $(BUILD)/cuda_on_cpu
# The host code that depends on CUDA is never compiled with a sanitizer, nor is the executor, which finds sanitizers by itself.
NO_NCCL     := $(if $(filter 0,$(NCCL)),dev/cuda_on_cpu/nccl/% test/cuda_on_cpu/nccl/% %/nccl_bugs.cpp)
EXECUTOR    := $(patsubst %,$(ON_CPU)/host/%.o,$(filter-out $(NO_NCCL),$(wildcard $(addprefix dev/cuda_on_cpu/,executor/*.cpp \
               runtime/*.cpp nccl/*.cpp))))
ON_CPU_HOST := $(patsubst %,$(ON_CPU)/host/%.o,$(filter-out %/cublaslt_library.cpp %/nccl_library.cpp,$(CUDA_HOST)) \
               $(CUDA_AWARE) $(wildcard dev/cuda_on_cpu/cublaslt/*.cpp)) $(EXECUTOR)
ON_CPU_TEST := $(patsubst %,$(ON_CPU)/host/%.o,$(KERNEL_TEST) $(filter-out $(NO_NCCL),$(wildcard $(addprefix test/cuda_on_cpu/,*/test_*.cpp \
               nccl/ranks.cpp))))
PLANTED     := $(filter-out $(NO_NCCL),$(wildcard test/cuda_on_cpu/planted_bugs/*.cpp))
ON_CPU_LIBS := -lboost_context $(filter-out -lcudart_static,$(LDLIBS)) -ldl -lrt
VARIANTS := plain asan tsan
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZE_tsan := -fsanitize=thread
$(ON_CPU)/%: private CPPFLAGS += -URELORA_CUDA -DRELORA_CUDA=1 -I$(CUDA_HOME)/include -iquotedev/cuda_on_cpu/executor -DGTEST_DONT_DEFINE_FAIL=1
$(ON_CPU)/host/dev/cuda_on_cpu/%.o: private CXXFLAGS += -O2
$(foreach folder,$(BUILD) $(VARIANTS:%=$(ON_CPU)/%) $(ON_CPU)/host,$(NCCL_AWARE:%=$(folder)/%.o)): private CXXFLAGS += -DRELORA_NCCL=$(NCCL)
$(BUILD)/src/runtime/ranks.cpp.o $(ON_CPU)/host/src/runtime/ranks.cpp.o: private CXXFLAGS += -DRELORA_MPI=$(MPI)
$(BUILD)/src/runtime/cpu/mpi.cpp.o: private CPPFLAGS += $(MPI_CPPFLAGS)
$(addprefix $(BUILD)/src/runtime/,ranks.cpp.o cpu/mpi.cpp.o) $(ON_CPU)/host/src/runtime/ranks.cpp.o $(LIB): $(BUILD)/mpi_flags
$(ON_CPU)/host/%.o: % $(BUILD)/flags
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@
define on_cpu_variant
$(ON_CPU)/$(1)/%.o: % $(BUILD)/flags
	@mkdir -p $$(@D)
	$(CXX) $$(CPPFLAGS) $$(CXXFLAGS) -O1 $(SANITIZE_$(1)) -x c++ -c $$< -o $$@
$(ON_CPU)/$(1)/kernel_tests: $(KERNELS:%=$(ON_CPU)/$(1)/%.o) $(ON_CPU_TEST) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ -lgtest -lgtest_main $(ON_CPU_LIBS)
$(ON_CPU)/$(1)/kernel_bench: $(KERNELS:%=$(ON_CPU)/$(1)/%.o) $(KERNEL_BENCH:%=$(ON_CPU)/host/%.o) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ $(ON_CPU_LIBS)
$(ON_CPU)/$(1)/step: $(BUILD)/dev/bench/step.cpp.o $(KERNELS:%=$(ON_CPU)/$(1)/%.o) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ $(ON_CPU_LIBS)
$(ON_CPU)/$(1)/train_relora: $(BUILD)/train_relora.o $(KERNELS:%=$(ON_CPU)/$(1)/%.o) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ $(ON_CPU_LIBS)
# Programs with one mistake each, which the executor or the sanitizer has to find.
$(ON_CPU)/$(1)/planted_bugs: $(PLANTED:%=$(ON_CPU)/$(1)/%.o) $(EXECUTOR)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ -lboost_context -ldl -lrt -lpthread
endef
$(foreach variant,$(VARIANTS),$(eval $(call on_cpu_variant,$(variant))))
kernel-tests-on-cpu: $(VARIANTS:%=$(ON_CPU)/%/kernel_tests)
planted-bugs: $(VARIANTS:%=$(ON_CPU)/%/planted_bugs)
cuda-on-cpu: $(foreach program,train_relora kernel_tests kernel_bench step,$(ON_CPU)/plain/$(program))
test-cuda-on-cpu:
	./scripts/test.sh 'cuda_on_cpu.*'

# The tests of copies of the kernels that hold mistakes to choose from; test/cuda_on_cpu/mutants/mutate.py writes the copies.
define mutated_variant
$(ON_CPU)/mutate/$(1)/%.cu.o: $(ON_CPU)/mutate/src/kernels/cuda/%.cu $(ON_CPU)/mutate/mutation.h
	@mkdir -p $$(@D)
	$(CXX) -include $(ON_CPU)/mutate/mutation.h -I$(ON_CPU)/mutate/src $$(CPPFLAGS) $$(CXXFLAGS) -O1 -w -fno-aggressive-loop-optimizations $(SANITIZE_$(1)) -x c++ -c $$< -o $$@
$(ON_CPU)/mutate/$(1)/kernel_tests: $(patsubst src/kernels/cuda/%,$(ON_CPU)/mutate/$(1)/%.o,$(KERNELS)) $(ON_CPU_TEST) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ -lgtest -lgtest_main $(ON_CPU_LIBS)
endef
$(foreach variant,$(VARIANTS),$(eval $(call mutated_variant,$(variant))))
mutated-kernel-tests: $(VARIANTS:%=$(ON_CPU)/mutate/%/kernel_tests)
test-mutants:
	BUILD=$(BUILD) python3 test/cuda_on_cpu/mutants/mutate.py

# ---- faults (test/faults): what disturbs the calls of a program, and what disturbs it often ----
FAULT_SHIM   := $(BUILD)/fault_shim.so
SOAK_TRIALS  ?= 5000
SOAK_SECONDS ?= 1e9
SOAK_JOBS    ?= $(shell nproc)
$(FAULT_SHIM): test/faults/shim/fault_shim.cpp $(BUILD)/flags
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -shared -fPIC $(LDFLAGS) $< -o $@ -ldl
soak: all $(FAULT_SHIM)
	python3 test/faults/soak --build $(BUILD) --trials $(SOAK_TRIALS) --seconds $(SOAK_SECONDS) --jobs $(SOAK_JOBS)
# A short run under valgrind, which knows no AVX-512.
memcheck:
	$(MAKE) BUILD=$(BUILD)/memcheck CUDA=0 MPI=0 PORTABLE=$(if $(filter x86_64,$(shell uname -m)),x86-64-v2,1) all
	BUILD=$(BUILD)/memcheck bash test/faults/memcheck/run.sh

# libFuzzer, with the library built by clang under ASan and UBSan: every target of test/fuzz, or FUZZ_TARGETS, for SECONDS each.
SECONDS      ?= 60
FUZZ_TARGETS ?= $(notdir $(wildcard test/fuzz/corpus/*))
fuzz:
	CXXFLAGS=-fsanitize=fuzzer-no-link $(MAKE) BUILD=$(BUILD)/fuzz CXX='$(patsubst %g++,%clang++,$(CXX))' DEBUG=1 CUDA=0 MPI=0 build-fuzzer
	BUILD=$(BUILD)/fuzz SECONDS=$(SECONDS) test/fuzz/libfuzzer/run.sh $(FUZZ_TARGETS)
$(BUILD)/fuzzer: $(patsubst %,$(BUILD)/%.o,$(filter-out %/test_fuzz.cpp,$(wildcard test/fuzz/*.cpp)) test/fuzz/libfuzzer/main.cpp) $(LIB)
	$(CXX) $(CXXFLAGS) -fsanitize=fuzzer $(LDFLAGS) $^ -o $@ $(LDLIBS)
build-fuzzer: $(BUILD)/fuzzer

# ---- what reads the sources only (scripts/lint.sh) ----
format check-format lint:
	scripts/lint.sh $(filter-out lint,$@)
lint-flags:
	@echo '$(CPPFLAGS) $(MPI_CPPFLAGS) -DGTEST_DONT_DEFINE_FAIL=1 $(filter -std=% -fopenmp -I% -Wno-unknown-pragmas,$(CXXFLAGS))'
lint-sources:
	@printf '%s\n' train_relora.cu $(LIB_SRC) $(wildcard data/*.cpp) $(if $(CI),,$(TEST_SRC) $(wildcard dev/bench/*.cpp))

# All programs that tests run. The ones that execute the CUDA half on the CPU need the CUDA headers, and bring their own sanitizers.
tests: all $(TEST_BIN) $(FAULT_SHIM)
ifneq ($(and $(filter-out 1,$(DEBUG)),$(wildcard $(CUDA_HOME)/include/cublasLt.h)),)
tests: kernel-tests-on-cpu planted-bugs cuda-on-cpu
endif
test:
	./scripts/test.sh
bench: all $(BENCH)
	./dev/bench/run.sh
clean:
	rm -rf $(BUILD) $(PROGRAMS)train_relora $(PROGRAMS)data/tokenize $(PROGRAMS)data/rdb_strings
help:
	@echo 'make                the trainer ./train_relora and the tokenizer data/tokenize'
	@echo 'make release        the same for every supported GPU and any CPU of this architecture, into $(BUILD)/release'
	@echo 'make test           build and run all tests; make tests: only build them'
	@echo 'make test-cuda-on-cpu   of these, the ones that execute the CUDA half on the CPU (they need the CUDA headers)'
	@echo 'make test-gpu       build and run the tests of the kernels on the GPU: $(BUILD)/kernel_tests'
	@echo 'make soak           disturb tiny runs SOAK_TRIALS times, SOAK_JOBS at once, or for SOAK_SECONDS; prints what became of them'
	@echo 'make memcheck       a short run, a resume, an export and the tokenizer under valgrind'
	@echo 'make fuzz           libFuzzer on every parser, under ASan and UBSan, for SECONDS each (needs clang)'
	@echo 'make test-mutants   plant mistakes in the CUDA kernels and see whether those tests catch them (takes long)'
	@echo 'make lint           what clang-tidy, cppcheck, shellcheck and clang-format find; make format: lay out every file anew'
	@echo 'make kernel-bench   build what times every op on the GPU (or the CPU): $(BUILD)/kernel_bench'
	@echo 'make gpu-programs   all that dev/gpu_check.sh runs: the trainer, $(BUILD)/kernel_tests, the two benchmarks'
	@echo 'make bundle         the same with the libraries they need, to unpack on a machine without any: $(BUILD)/train_relora-bundle.tar.xz'
	@echo 'make cuda-on-cpu    the same programs with the CUDA half executed on the CPU: $(ON_CPU)/plain/train_relora, …'
	@echo 'make bench          build and run the benchmarks (dev/bench), results under dev/results'
	@echo 'dev/gpu_check.sh    on a machine with a GPU: test, train, measure and sanitize, with a report (--help)'
	@echo 'make clean          remove everything that was built'
	@echo 'DEBUG=1             to find mistakes: with ASan, UBSan and checked containers, into build/debug; WERROR=1: warnings are errors'
	@echo 'MPI=0, MPI=1        without or with several ranks on CPUs (default: with, where mpicc is)'
	@echo 'CUDA=0, CUDA=1      without or with the CUDA half (default: with, where nvcc is)'
	@echo 'NCCL=0, NCCL=1      without or with what needs nccl.h (default: with, where the compiler finds it)'
	@echo 'ARCHS="80 90"       GPU architectures to build for (default: of the GPU that is present, else 80)'
	@echo 'PORTABLE=1          a binary for any CPU of this architecture, or for the one named as -march does (default: native)'
	@echo 'DEPS=PREFIX         also look for headers and libraries under PREFIX (unpacked packages)'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all release bundle bundle-on-cpu tests test test-cuda-on-cpu test-gpu test-mutants soak memcheck fuzz build-fuzzer kernel-tests-on-cpu planted-bugs kernel-bench gpu-programs mutated-kernel-tests cuda-on-cpu format check-format lint lint-flags lint-sources bench clean help
.SECONDARY:
