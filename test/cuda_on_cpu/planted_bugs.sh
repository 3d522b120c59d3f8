#!/bin/bash
# Programs with one mistake each (planted_bugs/): runs each in all modes and prints what caught it. Fails if a mode misses a
# bug that it must catch, or if a mode accuses the program without a bug.
# SEEDS=N: how many random orders to try.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/cuda_on_cpu/common.bash
build planted-bugs
seeds=${SEEDS:-10}
export EXECUTOR_LEAKS=error ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_signal_unsafe=0 OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# caught MODE BUG WORDS: runs one program in one mode; says how it was caught, or nothing. An executor's report must have
# these words.
caught() {
    local order=forward streams=immediate variant=plain last=1 seed
    local output=$work/$2.$1
    case $1 in
        reverse) order=reverse ;;
        random) order=random last=$seeds ;;
        deferred) streams=deferred ;;
        asan | tsan) variant=$1 ;;
    esac
    for ((seed = 1; seed <= last; seed++)); do
        EXECUTOR_ORDER=$order EXECUTOR_SEED=$seed EXECUTOR_STREAMS=$streams \
            timeout 60 "build/cuda_on_cpu/$variant/planted_bugs" "$2" >"$output" 2>&1 && continue
        if grep -q 'ERROR: AddressSanitizer\|runtime error:' "$output"; then echo asan
        elif grep -q 'ThreadSanitizer' "$output"; then echo tsan
        elif grep -q '==CUDA-on-CPU==' "$output"; then
            if grep -q -- "$3" "$output"; then echo executor; else echo words; fi
        elif grep -q '^WRONG' "$output"; then echo result
        else echo crash; fi
        return
    done
}

modes=(forward reverse random deferred asan tsan)
failures=0
printf '%-38s' 'bug (! = must be caught here)'
printf '%-12s' "${modes[@]}"
echo
while IFS='|' read -r bug expected words; do
    for mode in "${modes[@]}"; do caught "$mode" "$bug" "$words" >"$work/how.$mode" 2>/dev/null & done
    wait
    printf '%-38s' "$bug"
    for mode in "${modes[@]}"; do
        how=$(cat "$work/how.$mode")
        mark=' '
        [[ " $expected " = *" $mode "* ]] && mark='!'
        if [[ ($mark = '!' && -z $how) || ($bug = none* && -n $how) || $how = crash || $how = words ]]; then
            failures=$((failures + 1))
            mark='X'
        fi
        printf '%-12s' "$mark${how:--}"
    done
    echo
done < <(build/cuda_on_cpu/plain/planted_bugs)
echo "$failures unexpected outcomes"
[[ $failures -eq 0 ]]
