#!/bin/bash
# Build and run every benchmark of dev/bench; `make bench` calls this. Results go to dev/results/DATE-CPU.txt (machine, commands,
# tables) and dev/results/DATE-CPU.jsonl (the same rows, one object a line).
#
#   PEER_PYTHON=python   an interpreter that has torch: times PyTorch's step beside ours (else only ours)
#   MODELS="gpt2 gpt2-medium gpt2-large"
#   ROUNDS=2             rounds of the step comparison, each of 4 steps after a fresh start (2 for models other than gpt2)
#   COMPARE="..."        more options for dev/bench/compare.py, such as "--modes full,lora,relora --dtypes fp32"
#   NAME=...             another name for the two files
#
# Steps are those of full-rank training and of ReLoRA by each route of the adapters, rank 128, 1024 tokens; a LoRA step is one
# of ReLoRA. gpt2 is measured in fp32 and bf16 beside PyTorch eager and compiled, the others in bf16 beside eager. This takes
# about 45 minutes on two cores, 20 without PyTorch. Workers run one at a time, in interleaved rounds; the largest, PyTorch
# with gpt2-large, takes some 18 GB.
#
# A benchmark is a program build/bench/NAME from dev/bench/NAME.cpp, run without arguments: lines of its stdout that begin with
# "{" are rows, all others its table. build/bench/step is the worker of compare.py instead.
set -euo pipefail
cd "$(dirname "$0")/../.."

cpu_model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
slug=$(printf '%s' "${cpu_model:-$(uname -m)}" | tr '[:upper:]' '[:lower:]' | sed 's/([^)]*)//g; s/[^a-z0-9]\{1,\}/-/g; s/-$//')
name=${NAME:-$(date +%Y-%m-%d)-$slug}
mkdir -p dev/results
text=dev/results/$name.txt
rows=dev/results/$name.jsonl
fresh_text=$(mktemp) fresh_rows=$(mktemp)
trap 'rm -f "$fresh_text" "$fresh_rows"' EXIT

programs=()
for source in dev/bench/*.cpp; do
    [ -e "$source" ] || { echo "dev/bench/run.sh: no benchmark in dev/bench/*.cpp" >&2; exit 1; }
    programs+=("build/bench/$(basename "$source" .cpp)")
done
make all "${programs[@]}"

# Prints the command and its table to the terminal and the text file; rows go to the rows file.
bench() {
    { echo; echo "\$ $*"; } | tee -a "$fresh_text"
    "$@" | while IFS= read -r line; do
        case $line in
        '{'*) printf '%s\n' "$line" >>"$fresh_rows" ;;
        *) printf '%s\n' "$line" | tee -a "$fresh_text" ;;
        esac
    done
}

{
    settings=''
    for setting in MODELS ROUNDS COMPARE; do
        [ -z "${!setting:-}" ] || settings+="$setting=\"${!setting}\" "
    done
    echo "\$ ${PEER_PYTHON:+PEER_PYTHON=python }${settings}dev/bench/run.sh"
    echo "$(date -u '+%Y-%m-%d %H:%M UTC'), ${cpu_model:-unknown CPU}, $(nproc) CPUs, $(awk '/^MemTotal/ {printf "%.0f", $2 / 2^20}' /proc/meminfo) GiB," \
         "load $(cut -d' ' -f1-3 /proc/loadavg), ${CXX:-g++} $("${CXX:-g++}" -dumpfullversion)"
    if [ -n "${PEER_PYTHON:-}" ]; then
        "$PEER_PYTHON" -c 'import sys, torch; print("peer: torch", torch.__version__, "on Python", sys.version.split()[0])'
    fi
} | tee "$fresh_text"

failed=()

# compare.py and memory.py write their rows themselves. The path of the interpreter stays out of the record.
for model in ${MODELS:-gpt2 gpt2-medium gpt2-large}; do
    case $model in
    gpt2 | gpt2:*) turns=4 options=(--dtypes 'fp32,bf16' --peers 'eager,compiled') ;;
    *) turns=2 options=(--dtypes bf16 --peers eager) ;;
    esac
    # shellcheck disable=SC2206  # COMPARE holds several words
    compare=(python3 dev/bench/compare.py --model "$model" --modes 'full,relora' --routes 'merged,factored,project'
        "${options[@]}" --alone "$turns" --rounds "${ROUNDS:-2}" ${COMPARE:-})
    { echo; echo "\$ ${compare[*]}${PEER_PYTHON:+ --peer-python python}"; } | tee -a "$fresh_text"
    "${compare[@]}" ${PEER_PYTHON:+--peer-python "$PEER_PYTHON"} --json "$fresh_rows" | tee -a "$fresh_text" ||
        failed+=("compare.py --model $model")
done

memory=(python3 dev/bench/memory.py)
{ echo; echo "\$ ${memory[*]}"; } | tee -a "$fresh_text"
"${memory[@]}" --json "$fresh_rows" | tee -a "$fresh_text" || failed+=(memory.py)

for program in "${programs[@]}"; do
    [ "$program" = build/bench/step ] || bench "$program" || failed+=("$program")
done

cp "$fresh_text" "$text"
cp "$fresh_rows" "$rows"
chmod 644 "$text" "$rows"
echo
echo "$text and $rows written"
if [ ${#failed[@]} -gt 0 ]; then
    echo "dev/bench/run.sh: failed: ${failed[*]}" >&2
    exit 1
fi
