#!/bin/bash
# Every CUDA kernel, executed on the CPU, against the CPU op: in three orders of threads, under AddressSanitizer with
# UndefinedBehaviorSanitizer, and under ThreadSanitizer.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/cuda_on_cpu/common.bash
. test/cuda_on_cpu/small_cases.bash

build kernel-tests-on-cpu

mode() {  # name, variant, then variables of the environment
    local name=$1 program=build/cuda_on_cpu/$2/kernel_tests
    shift 2
    echo "== $name"
    env ASAN_OPTIONS=detect_leaks=0 "$@" "$program" --gtest_brief=1
}
mode 'forward' plain EXECUTOR_LEAKS=error
mode 'reverse' plain EXECUTOR_ORDER=reverse EXECUTOR_GUARD=0
mode 'random' plain EXECUTOR_ORDER=random EXECUTOR_GUARD=0
mode 'a GPU before 9.0' plain EXECUTOR_CAPABILITY=8.0 EXECUTOR_GUARD=0 GTEST_FILTER='*matmul*:*Matmul*'
mode 'the second of two GPUs' plain EXECUTOR_CAPABILITY=7.5,9.0 EXECUTOR_GUARD=0 GTEST_FILTER='Devices.*'
mode 'deferred streams' plain EXECUTOR_STREAMS=deferred EXECUTOR_GUARD=0
mode 'address and undefined behaviour' asan EXECUTOR_GUARD=0
# One thread for the CPU ops, whose OpenMP runtime ThreadSanitizer doesn't know; the executor has one here anyway. It costs a
# hundredfold, so a part of the shapes has to do.
mode 'data races' tsan OMP_NUM_THREADS=1 GTEST_FILTER="$small_cases"

# A shape without an algorithm fails, and is told from wrong numbers: three GELU products in three placements.
echo '== products without an algorithm'
code=0
said=$(EXECUTOR_NO_ALGORITHM=5x7x3 EXECUTOR_GUARD=0 build/cuda_on_cpu/plain/kernel_tests --gtest_brief=1 \
    --gtest_filter='*matmul_bf16_*_gelu*') || code=$?
if [ "$code" -ne 1 ] || [ "$(grep -c '^no algorithm: ' <<<"$said")" -ne 9 ] ||
    [ "${said##*$'\n'}" != '9 cases without an algorithm, 0 wrong' ]; then
    printf '%s\n' "$said"
    echo "ended with code $code; expected 9 cases without an algorithm"
    exit 1
fi
