#!/bin/bash
# Every CUDA kernel, executed on the CPU, against the CPU op: in three orders of threads, in deferred streams, under
# AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer. MODES=PATTERN: only modes with such a name.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/cuda_on_cpu/common.bash
. test/cuda_on_cpu/modes.bash
. scripts/side_by_side.bash
build kernel-tests-on-cpu

names=() failed=0
declare -A variants environments cases
for mode in "${modes[@]}"; do
    IFS='|' read -r name variant environment filter <<<"$mode"
    # shellcheck disable=SC2053  # the right side is a pattern
    [[ $name == ${MODES:-*} ]] || continue
    names+=("$name")
    variants[$name]=$variant environments[$name]=$environment cases[$name]=$filter
done

run() {  # MODE
    # shellcheck disable=SC2086  # the environment is several words
    env "${mode_environment[@]}" ${environments[$1]} "build/cuda_on_cpu/${variants[$1]}/kernel_tests" \
        --gtest_brief=1 --gtest_filter="${cases[$1]}"
}
show() {  # MODE EXIT_CODE SECONDS FILE
    echo "$1: $([ "$2" -eq 0 ] && echo ok || echo "FAILED, exit code $2") ($3 s)"
    sed 's/^/    /' "$4"
    [ "$2" -eq 0 ] || failed=$((failed + 1))
}
side_by_side run show "${names[@]}"

# A shape without an algorithm fails, and is told from wrong numbers: five GELU products in three placements.
echo 'products without an algorithm'
code=0
said=$(EXECUTOR_NO_ALGORITHM=5x7x3 EXECUTOR_GUARD=0 build/cuda_on_cpu/plain/kernel_tests --gtest_brief=1 \
    --gtest_filter='*matmul_bf16_*_gelu*') || code=$?
if [ "$code" -ne 1 ] || [ "$(grep -c '^no algorithm: ' <<<"$said")" -ne 15 ] ||
    [ "${said##*$'\n'}" != '15 cases without an algorithm, 0 wrong' ]; then
    printf '%s\n' "$said"
    echo "ended with code $code; expected 15 cases without an algorithm"
    failed=$((failed + 1))
fi
[ "$failed" -eq 0 ]
