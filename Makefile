# train_relora: `make` builds the trainer and the tokenizer, `make test` runs the tests, `make help` lists the rest.
CXX      ?= g++
BUILD    ?= build
PORTABLE ?= 0
DEPS     ?=

CXXFLAGS += -std=c++20 -O3 -g1 -fopenmp -Wall -Wextra -Wno-unknown-pragmas -Wno-missing-field-initializers -fno-math-errno -fno-trapping-math -MMD -MP -Isrc -I.
ifeq ($(PORTABLE),0)
CXXFLAGS += -march=native
ifeq ($(shell uname -m),x86_64)
CXXFLAGS += -mprefer-vector-width=512
endif
endif
# Whether the binary has its CUDA half.
CUDA     ?= 0
CPPFLAGS += -DRELORA_CUDA=$(CUDA)
LDLIBS   += -ldnnl -lcrypto -lpcre2-8 -lpthread
ifneq ($(DEPS),)
CPPFLAGS += -I$(DEPS)/usr/include -I$(DEPS)/include
LIBDIRS  := $(wildcard $(DEPS)/usr/lib/$(shell $(CXX) -dumpmachine) $(DEPS)/lib $(DEPS)/usr/lib)
LDFLAGS  += $(LIBDIRS:%=-L%) $(LIBDIRS:%=-Wl,-rpath,%)
endif

LIB_SRC  := $(filter-out src/runtime/gpu.cpp,$(wildcard src/*/*.cpp src/kernels/cpu/*.cpp))
LIB_OBJ  := $(LIB_SRC:%=$(BUILD)/%.o)
LIB      := $(BUILD)/librelora.a
TEST_SRC := $(wildcard test/*/*.cpp)
TEST_BIN := $(BUILD)/tests
BENCH    := $(patsubst dev/bench/%.cpp,$(BUILD)/bench/%,$(wildcard dev/bench/*.cpp))

all: train_relora data/tokenize data/rdb_strings

# Little time is spent in the options and the headers of CLI11 take long to optimise: -O1 takes a third off a clean build.
$(BUILD)/src/train/%.o $(BUILD)/data/%.o $(BUILD)/train_relora.o: CXXFLAGS += -O1

train_relora: $(BUILD)/train_relora.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)
data/tokenize: $(BUILD)/data/tokenize.cpp.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)
data/rdb_strings: $(BUILD)/data/rdb_strings.cpp.o $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lz $(LDLIBS)
# The program's FAIL throws; gtest's is not used.
$(TEST_BIN): CXXFLAGS += -DGTEST_DONT_DEFINE_FAIL=1
$(TEST_BIN): $(TEST_SRC:%=$(BUILD)/%.o) $(LIB)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ -lgtest -lgtest_main -llapack $(LDLIBS)
$(BUILD)/bench/%: $(BUILD)/dev/bench/%.cpp.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)

# ---- the CUDA half, executed on the CPU (dev/cuda_on_cpu) and compiled by nvcc ----
NVCC      := $(shell command -v nvcc 2>/dev/null)
CUDA_HOME ?= $(firstword $(patsubst %/bin/nvcc,%,$(NVCC)) $(wildcard /usr/local/cuda))
ON_CPU    := $(BUILD)/cuda_on_cpu
KERNELS   := $(wildcard src/kernels/cuda/*.cu)
# Host code of the CUDA half, and the executor: never with a sanitizer, which they find by themselves.
ON_CPU_HOST := $(patsubst %,$(ON_CPU)/host/%.o,$(wildcard src/kernels/cuda/*.cpp) src/kernels/dispatch.cpp src/runtime/gpu.cpp \
               $(filter-out dev/cuda_on_cpu/test_% dev/cuda_on_cpu/planted_%,$(wildcard dev/cuda_on_cpu/*.cpp)))
ON_CPU_TEST := $(patsubst %,$(ON_CPU)/host/%.o,$(wildcard dev/kernels/*.cpp dev/cuda_on_cpu/test_*.cpp))
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZE_tsan := -fsanitize=thread
$(ON_CPU)/%: private CUDA = 1
$(ON_CPU)/%: private CPPFLAGS += -I$(CUDA_HOME)/include -DGTEST_DONT_DEFINE_FAIL=1
$(ON_CPU)/host/%.o: %
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -O2 -c $< -o $@
define on_cpu_variant
$(ON_CPU)/$(1)/%.o: %
	@mkdir -p $$(@D)
	$(CXX) $$(CPPFLAGS) $$(CXXFLAGS) -O1 $(SANITIZE_$(1)) -x c++ -c $$< -o $$@
$(ON_CPU)/$(1)/kernel_tests: $(KERNELS:%=$(ON_CPU)/$(1)/%.o) $(ON_CPU_TEST) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ -lgtest -lgtest_main -lboost_context -ldl $(LDLIBS)
endef
$(foreach variant,plain asan tsan,$(eval $(call on_cpu_variant,$(variant))))
kernel-tests: $(foreach variant,plain asan tsan,$(ON_CPU)/$(variant)/kernel_tests)

# The same tests of kernels that hold mistakes to choose from, which dev/cuda_on_cpu/mutate.py writes.
define mutated_variant
$(ON_CPU)/mutate/$(1)/%.cu.o: $(ON_CPU)/mutate/src/kernels/cuda/%.cu $(ON_CPU)/mutate/mutation.h
	@mkdir -p $$(@D)
	$(CXX) -include $(ON_CPU)/mutate/mutation.h $$(CPPFLAGS) $$(CXXFLAGS) -O1 -w -fno-aggressive-loop-optimizations $(SANITIZE_$(1)) -x c++ -c $$< -o $$@
$(ON_CPU)/mutate/$(1)/kernel_tests: $(patsubst src/kernels/cuda/%,$(ON_CPU)/mutate/$(1)/%.o,$(KERNELS)) $(ON_CPU_TEST) $(ON_CPU_HOST) $(LIB)
	$(CXX) $$(CXXFLAGS) $(SANITIZE_$(1)) $$(LDFLAGS) $$^ -o $$@ -lgtest -lgtest_main -lboost_context -ldl $(LDLIBS)
endef
$(foreach variant,plain asan tsan,$(eval $(call mutated_variant,$(variant))))
mutated-kernel-tests: $(foreach variant,plain asan tsan,$(ON_CPU)/mutate/$(variant)/kernel_tests)
mutate:
	BUILD=$(BUILD) python3 dev/cuda_on_cpu/mutate.py

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
# The program itself holds no device code: the C++ compiler takes it as it is.
$(BUILD)/train_relora.o: train_relora.cu
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -x c++ -c $< -o $@
$(BUILD)/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@

tests: all $(TEST_BIN)
test: tests
	./scripts/test.sh
bench: all $(BENCH)
	./dev/bench/run.sh
clean:
	rm -rf $(BUILD) train_relora data/tokenize data/rdb_strings
help:
	@echo 'make                the trainer ./train_relora and the tokenizer data/tokenize'
	@echo 'make tests          build the tests; make test: build and run them'
	@echo 'make kernel-tests   build the tests of the CUDA kernels, executed on the CPU (needs the CUDA headers)'
	@echo 'make mutate         plant mistakes in the CUDA kernels and see whether those tests catch them (takes long)'
	@echo 'make bench          build and run the benchmarks (dev/bench), results under dev/results'
	@echo 'make clean          remove everything that was built'
	@echo 'PORTABLE=1          a binary for any CPU of this architecture (default: -march=native)'
	@echo 'DEPS=PREFIX         also look for headers and libraries under PREFIX (unpacked packages)'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all tests kernel-tests mutated-kernel-tests mutate test bench clean help
.SECONDARY:
