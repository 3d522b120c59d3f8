"""Runs a mutant against the cases of its file's ops, in the modes of kernels.sh."""
import collections
import fnmatch
import functools
import os
import pathlib
import re
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("BUILD", "build")) / "cuda_on_cpu/mutate"

# These ops test a file, as a filter of GoogleTest's. Shapes behind the "-" take long, and others do the same.
MAPS = "add_*:convert_*:gelu_*"
EMBEDDING = "embedding_*"
CASES = {
    "adamw.cu": "adamw_*",
    "attention_hopper*": "attention_*_wgmma",
    "attention_flash*": "attention_*_bf16_*-*1x257x2x64*",
    "attention*": "attention_*-*1x257x2x64*",
    "cross_entropy.cu": "cross_entropy_*",
    "elementwise.cu": f"{MAPS}:fill_fp32*:zero_*",
    "elementwise.cuh": MAPS,
    "dither.cuh": "add_dithered_*:add_low_rank_*",
    "embedding.cu": EMBEDDING,
    "fragments.cuh": "add_low_rank_*:attention_*",
    "gelu.cu": "gelu_*",
    "gpu.cuh": "layernorm_*_5x1600*:sum_*:cross_entropy_*:fill_uniform_*:prune_random_*:prune_magnitude_*",
    "hopper.cuh": "attention_*_wgmma",
    "layernorm.cu": "layernorm_*-*257x768*",
    "low_rank_sum.cu": "add_low_rank_*",
    "prune.cu": "prune_magnitude_*",
    "random_fill.cu": "fill_uniform_*:fill_normal_*:dropout_*:add_dithered_*:prune_random_*",
    "sample.cu": "sample_token_*",
    "reduce.cu": "sum_*:bias_backward_*:norm_squared_*:count_zeros_*",
    "slices.cuh": f"{MAPS}:{EMBEDDING}:adamw_*:dropout_*:prune_random_*",
}
Mode = collections.namedtuple("Mode", "name variant environment cases")


@functools.cache
def modes():
    """The modes of kernels.sh, but for those that differ in the device alone."""
    show = '. test/cuda_on_cpu/modes.bash; printf "%s\\n" "${mode_environment[*]}" "${modes[@]}"'
    shared, *rows = subprocess.run(["bash", "-c", show], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = []
    for name, variant, environment, cases in (row.split("|") for row in rows):
        variables = dict(pair.split("=", 1) for pair in (shared + " " + environment).split())
        if "EXECUTOR_CAPABILITY" not in variables:
            found.append(Mode(name, variant, variables, cases))
    return found


@functools.cache
def all_cases():
    program = BUILD / "plain/kernel_tests"
    listed = subprocess.run([program, "--gtest_list_tests"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [line.split()[0].rpartition("/")[2] for line in listed.splitlines() if line.startswith("  ") and "/" in line]


def matches(name, wanted):
    """Would GoogleTest run the test with this filter?"""
    take, _, leave = wanted.partition("-")
    return (any(fnmatch.fnmatchcase(name, pattern) for pattern in take.split(":")) and
            not any(fnmatch.fnmatchcase(name, pattern) for pattern in leave.split(":")))


def cases_of(file):
    return next(wanted for pattern, wanted in CASES.items() if fnmatch.fnmatch(file, pattern))


def run(number, file, mode, seconds):
    """What caught the mutant, or nothing."""
    cases = [name for name in all_cases() if matches(name, cases_of(file)) and matches(name, mode.cases)]
    assert cases, f"{file}: no case runs in mode {mode.name}"
    environment = dict(os.environ, MUTANT=str(number), TSAN_OPTIONS="halt_on_error=1") | mode.environment
    command = [BUILD / mode.variant / "kernel_tests", "--gtest_brief=1", "--gtest_fail_fast",
               "--gtest_filter=" + ":".join("*/" + name for name in cases)]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              errors="replace")
    except subprocess.TimeoutExpired:
        return "hang"
    if done.returncode == 0:
        return None
    for sign, what in (("ERROR: AddressSanitizer", "ASan"), ("runtime error:", "UBSan"), ("ThreadSanitizer", "TSan"),
                       ("==CUDA-on-CPU==", "executor"), ("Failure", "result")):
        if sign in done.stdout:
            return what
    return "crash"


@functools.cache
def baseline(file, mode_name):
    """Without a mutant everything must pass; returns how many seconds that takes."""
    mode = next(m for m in modes() if m.name == mode_name)
    begin = time.time()
    caught = run(0, file, mode, 600)
    if caught:
        print(f"{file} without a mutation fails in mode {mode.name}: {caught}", flush=True)
        os._exit(1)
    return time.time() - begin


def test(mutant, known):
    file = mutant.region.file
    like_it = next(name for name in CASES if cases_of(name) == cases_of(file))  # a file with the same cases
    # A survivor with an explanation needs no proof that it survives: it counts as one. It should not be caught at once, though.
    for mode in modes()[:1] if mutant.key in known else modes():
        # Enough for a slow moment, short enough for the few that never end.
        caught = run(mutant.number, file, mode, 15 + 4 * baseline(like_it, mode.name))
        if caught:
            return caught, mode.name
    return "survived", ""
