#!/bin/bash
# Checks the sources without running them. `make lint` and CI run every step; make format is the step that rewrites.
#   scripts/lint.sh [STEP…]
#     format         writes every C++ file as .clang-format says (only where it is named)
#     check-format   says which files `format` would change
#     scripts        shellcheck for the shell scripts, syntax of the Python ones
#     cppcheck       the C++ files, with what is written to suppress beside the code
#     clang-tidy     the C++ files as the build compiles them without CUDA, with the checks of .clang-tidy; in CI, where it
#                    takes the longest, not the tests and benchmarks
# What a tool reports depends on its version. With another one than here, or none, its step is skipped; in CI that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
export TOOL_FLAGS
failed=() skipped=()

# find_tool NAME VERSION: sets `tool`, to NAME-VERSION where that is installed.
find_tool() {
    local found
    tool=$(type -P "$1-$2" || type -P "$1" || true)
    if [ -z "$tool" ]; then
        echo "  $1 is not installed: skipped (scripts/setup.sh --lint installs it)"
    else
        found=$("$tool" --version | grep -oEm1 '[0-9]+\.[0-9.]+')
        [[ $found. != "$2".* ]] || return 0
        echo "  $tool is version $found, and $2 is what is checked: skipped"
    fi
    skipped+=("$1")
    [ -z "${CI:-}" ] && [ "$step" != format ] || failed+=("$step: no $1 $2")
    return 1
}
listed() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do [ ! -e "$file" ] || echo "$file"; done; }
cpp=('*.cpp' '*.cu' '*.cuh' '*.h')

format() { ! find_tool clang-format 14 || listed "${cpp[@]}" | xargs -P "$(nproc)" -n 20 "$tool" -i; }
check-format() { ! find_tool clang-format 14 || listed "${cpp[@]}" | xargs -P "$(nproc)" -n 20 "$tool" --dry-run -Werror; }
scripts() {
    local compile='import sys; [compile(open(f, encoding="utf-8").read(), f, "exec") for f in sys.argv[1:]]'
    listed '*.py' | xargs python3 -c "$compile" || failed+=("$step: Python")
    ! find_tool shellcheck 0.9 || listed '*.sh' '*.bash' '*.sbatch' .ci/run | xargs -P "$(nproc)" -n 8 "$tool" -x -P SCRIPTDIR -f gcc
}
cppcheck() {
    # Version 2.10 cannot read template lambdas with a conditional in `if constexpr` (internalAstError).
    ! find_tool cppcheck 2.10 || listed 'src/*.cpp' 'data/*.cpp' 'dev/*.cpp' 'test/*.cpp' train_relora.cu |
        "$tool" --file-list=- -j "$(nproc)" -q --std=c++20 --language=c++ --library=googletest -Isrc -I. -DRELORA_CUDA=0 \
            '-DTYPED_TEST(A, B)=void A##B()' --enable=warning --inline-suppr --suppress=internalAstError --error-exitcode=1 \
            --template='{file}:{line}: {message} [{id}]'
}
clang-tidy() {
    find_tool clang-tidy 14 || return 0
    TOOL_FLAGS=$(make -s BUILD=build/lint CUDA=0 lint-flags) || return 1
    # shellcheck disable=SC2016  # for the shell that xargs starts
    make -s BUILD=build/lint CUDA=0 lint-sources | xargs ls -S | xargs -P "$(nproc)" -I{} bash -c '
        start=$SECONDS
        if said=$("$0" --quiet "$1" -- -x c++ $TOOL_FLAGS 2>&1); then echo "  $1 ok  ($((SECONDS - start)) s)"
        else printf "  %s FAILED\n%s\n" "$1" "$said"; exit 1; fi' "$tool" {}
}

[ $# -gt 0 ] || set -- check-format scripts cppcheck clang-tidy
for step in "$@"; do
    case $step in format | check-format | scripts | cppcheck | clang-tidy) ;;
        *) echo "lint.sh: unknown step '$step'" >&2; sed -n '3,9s/^# *//p' "$0" >&2; exit 2 ;;
    esac
    echo "lint: $step …"
    start=$SECONDS
    # In a condition `set -e` does not hold: every step ends with the command that decides.
    "$step" || failed+=("$step")
    echo "lint: $step took $((SECONDS - start)) s"
done
[ ${#failed[@]} -eq 0 ] || { printf 'lint: FAILED: %s\n' "${failed[@]}"; exit 1; }
echo "lint: nothing found${skipped:+; skipped: ${skipped[*]}}"
