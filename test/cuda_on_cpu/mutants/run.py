"""Runs a mutant against the cases of its file's ops, in the modes of kernels.sh."""
import fnmatch
import functools
import os
import pathlib
import re
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("BUILD", "build")) / "cuda_on_cpu/mutate"

# What a file is tested by: ops, each with the shapes that are small enough for ThreadSanitizer. "-": shapes to leave out,
# because they take long and others do the same.
SMALL = "*67x24*"
ATTENTION = {"attention_": "*2x7x3x5:*1x65x2x64", "-": "*1x257x2x64*"}
FLASH = {"attention_*_bf16_": "*1x65x2x64", "-": "*1x257x2x64*"}
EMBEDDING = {"embedding_": "*3x33x100*:*2x7x24*"}
LAYERNORM = {"layernorm_": SMALL + ":*_5x1600", "-": "*257x768*"}
MAPS = {op: SMALL for op in ("add_", "convert_", "gelu_")}
CASES = {
    "adamw.cu": {"adamw_": "*p32:*f16:*_one*"},
    "attention_flash*": FLASH,
    "attention*": ATTENTION,
    "cross_entropy.cu": {"cross_entropy_": "*5x320*"},
    "elementwise.cu": MAPS | {"fill_fp32": SMALL, "zero_": SMALL},
    "elementwise.cuh": MAPS,
    "embedding.cu": EMBEDDING,
    "gelu.cu": {"gelu_": SMALL},
    "gpu.cuh": {"layernorm_*_5x1600": "", "sum_": SMALL, "cross_entropy_": "*5x320*", "fill_uniform_": SMALL, "prune_random_": "*_4097_p50*",
                "prune_magnitude_": "*_4097_p50*"},
    "layernorm.cu": LAYERNORM,
    "prune.cu": {"prune_magnitude_": "*_4097_p50*"},
    "random_fill.cu": {"fill_uniform_": SMALL, "fill_normal_": SMALL, "dropout_": SMALL, "prune_random_": "*_4097_p50*"},
    "sample.cu": {"sample_token_": "*257_top40"},
    "reduce.cu": {"sum_": SMALL, "bias_backward_": SMALL, "norm_squared_": "*_1000", "count_zeros_": "*_1000"},
    "slices.cuh": MAPS | EMBEDDING,
}
# How they are run: cheap first.
MODES = [
    ("forward", "plain", {}),
    ("reverse", "plain", {"EXECUTOR_ORDER": "reverse"}),
    ("random", "plain", {"EXECUTOR_ORDER": "random"}),
    ("deferred", "plain", {"EXECUTOR_STREAMS": "deferred"}),
    ("asan", "asan", {}),
    ("tsan", "tsan", {}),
]


def cases_of(file):
    return next(c for pattern, c in CASES.items() if fnmatch.fnmatch(file, pattern))


def run(number, file, mode, seconds):
    """What caught the mutant, or nothing."""
    name, variant, environment = mode
    tests = []
    cases = cases_of(file)
    for op in cases.keys() - {"-"}:
        tests += [f"Registry/*/{op}{shape}" for shape in (cases[op].split(":") if variant == "tsan" else ["*"])]
    # What is out of bounds is so in small shapes, too.
    tests[-1] += "-" + cases.get("-", "") + (":*257x*:*200x*" if variant == "asan" else "")
    environment = dict(os.environ, MUTANT=str(number), OMP_NUM_THREADS="1", EXECUTOR_WORKERS="1",
                       EXECUTOR_GUARD="1" if name == "deferred" else "0", ASAN_OPTIONS="detect_leaks=0",
                       TSAN_OPTIONS="halt_on_error=1") | environment
    command = [BUILD / variant / "kernel_tests", "--gtest_brief=1", "--gtest_fail_fast", "--gtest_filter=" + ":".join(tests)]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              errors="replace")
    except subprocess.TimeoutExpired:
        return "hang"
    if done.returncode == 0:
        assert not re.search(r"\b0 tests", done.stdout), f"{file}: no case has run"
        return None
    for sign, what in (("ERROR: AddressSanitizer", "ASan"), ("runtime error:", "UBSan"), ("ThreadSanitizer", "TSan"),
                       ("==CUDA-on-CPU==", "executor"), ("Failure", "result")):
        if sign in done.stdout:
            return what
    return "crash"


@functools.cache
def baseline(file, mode):
    """Without a mutant everything must pass; returns how many seconds that takes."""
    begin = time.time()
    caught = run(0, file, MODES[mode], 600)
    if caught:
        print(f"{file} without a mutation fails in mode {MODES[mode][0]}: {caught}", flush=True)
        os._exit(1)
    return time.time() - begin


def test(mutant, known):
    file = mutant.region.file
    like_it = next(name for name in CASES if cases_of(name) == cases_of(file))  # a file with the same cases
    # That a survivor with an explanation survives needs no proof: it counts as one. It should not be caught at once, though.
    for mode in range(1 if mutant.key in known else len(MODES)):
        # Enough for a slow moment, short enough for the few that never end.
        caught = run(mutant.number, file, MODES[mode], 15 + 4 * baseline(like_it, mode))
        if caught:
            return caught, MODES[mode][0]
    return "survived", ""
