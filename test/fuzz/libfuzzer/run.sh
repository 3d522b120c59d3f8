#!/bin/bash
# Runs libFuzzer on targets, one after another: BUILD=build/fuzz SECONDS=60 test/fuzz/libfuzzer/run.sh TARGET…
# What it finds worth keeping goes to $BUILD/found/TARGET, an input that breaks a parser to $BUILD/broken-TARGET-….
set -euo pipefail
cd "$(dirname "$0")/../../.."
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=0 FUZZ_TARGET
time=$SECONDS
unset SECONDS  # bash's own counts seconds since its start
runs=0 broken=()
for FUZZ_TARGET in "$@"; do
    mkdir -p "$BUILD/found/$FUZZ_TARGET"
    log=$BUILD/fuzz-$FUZZ_TARGET.log
    "$BUILD/fuzzer" -max_total_time="$time" -max_len=8192 -rss_limit_mb=4096 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$BUILD/broken-$FUZZ_TARGET-" "$BUILD/found/$FUZZ_TARGET" "test/fuzz/corpus/$FUZZ_TARGET" \
        >"$log" 2>&1 || broken+=("$FUZZ_TARGET")
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 || true)
    printf '%-14s %9d inputs  %s%s\n' "$FUZZ_TARGET" "${count:-0}" "$coverage" \
        "$([[ " ${broken[*]} " != *" $FUZZ_TARGET "* ]] || echo "  BROKEN: $log")"
    runs=$((runs + ${count:-0}))
done
echo "$runs inputs, ${#broken[@]} of $# targets broken"
[ ${#broken[@]} -eq 0 ]
