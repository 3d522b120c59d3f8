#!/usr/bin/env bash
# Builds the planted bugs plainly, under ASan with UBSan and under TSan, runs each in all modes, prints what caught it.
# Fails if a mode missed a bug that it must catch, or if a mode accuses the program without a bug.
# CUDA_HOME: where the CUDA headers are. BUILD: where to build. SEEDS: how many random orders to try.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=dev/cuda_on_cpu
build=${BUILD:-build}/cuda_on_cpu
seeds=${SEEDS:-10}
mkdir -p "$build"

flags=(-std=c++20 -g -fopenmp -I. -Isrc -I"${CUDA_HOME:-/usr/local/cuda}/include")
executor=()
for source in async_copy capture collectives fiber grid guard launch memory multiprocessor options report \
              runtime_device runtime_graphs runtime_memory runtime_streams shared_memory streams warp_matrix; do
    executor+=("$build/$source.o")
    if [[ ! $build/$source.o -nt $here/$source.cpp || -n $(find $here -name '*.h' -newer "$build/$source.o") ]]; then
        ${CXX:-g++} -O2 "${flags[@]}" -c $here/$source.cpp -o "$build/$source.o"
    fi
done
programs=($here/planted_bugs.cpp $here/planted_kernel_bugs.cpp $here/planted_host_bugs.cpp)
variant() {  # name, sanitizer flags
    ${CXX:-g++} -O1 "${flags[@]}" "${@:2}" "${programs[@]}" "${executor[@]}" -lboost_context -ldl -o "$build/planted_$1"
}
variant plain
variant asan -fsanitize=address,undefined -fno-sanitize-recover=undefined
variant tsan -fsanitize=thread

export EXECUTOR_LEAKS=error ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_signal_unsafe=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# Runs one program in one mode; says how it was caught, or nothing.
caught() {  # mode, bug
    local order=forward streams=immediate binary=plain last=1
    case $1 in
        reverse) order=reverse ;;
        random) order=random last=$seeds ;;
        deferred) streams=deferred ;;
        asan | tsan) binary=$1 ;;
    esac
    for ((seed = 1; seed <= last; seed++)); do
        if ! EXECUTOR_ORDER=$order EXECUTOR_SEED=$seed EXECUTOR_STREAMS=$streams \
            timeout 60 "$build/planted_$binary" "$2" >"$output" 2>&1; then
            if grep -q 'ERROR: AddressSanitizer\|runtime error:' "$output"; then echo asan
            elif grep -q 'ThreadSanitizer' "$output"; then echo tsan
            elif grep -q '==CUDA-on-CPU==' "$output"; then echo executor
            elif grep -q '^WRONG' "$output"; then echo result
            else echo crash; fi
            return
        fi
    done
}

modes=(forward reverse random deferred asan tsan)
failures=0
printf '%-38s' 'bug (! = must be caught here)'
printf '%-12s' "${modes[@]}"
echo
while IFS='|' read -r bug expected; do
    printf '%-38s' "$bug"
    for mode in "${modes[@]}"; do
        how=$(caught "$mode" "$bug")
        mark=' '
        [[ " $expected " = *" $mode "* ]] && mark='!'
        if [[ ($mark = '!' && -z $how) || ($bug = none && -n $how) || $how = crash ]]; then
            failures=$((failures + 1))
            mark='X'
        fi
        printf '%-12s' "$mark${how:--}"
    done
    echo
done < <("$build/planted_plain")
echo "$failures unexpected outcomes"
[[ $failures -eq 0 ]]
