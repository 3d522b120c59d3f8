#!/bin/bash
# Checks and measures the CUDA half on a machine with a GPU, in one go: each stage is reported as PASS, FAIL or SKIPPED,
# the next one runs in any case, and the exit code is 1 if any failed.
#
#   dev/gpu_check.sh                    all stages, within half an hour
#   dev/gpu_check.sh build tests        some of them, in this order
#
#   build       the program, the kernels' tests and the benchmarks; without nvcc what was built elsewhere is used
#   tests       every kernel on the GPU against the CPU op
#   memcheck, racecheck, initcheck, synccheck
#               the same on small shapes under NVIDIA's compute-sanitizer
#   training    losses beside the CPU's, restarts, graphs on and off, resume, bit for bit (test/cuda_on_cpu/training.sh)
#   text        ReLoRA on text, as in scripts/quickstart.sh, and in bf16 with heads of 64
#   kernels     time of every op at a model's sizes (build/kernel_bench)
#   throughput  tokens/s, MFU and memory of GPT-2's sizes, beside PyTorch where there is one (dev/bench/compare.py)
#
#   DEPS=FOLDER           headers and libraries of unpacked packages, as for make
#   PEER_PYTHON=python3   an interpreter that has torch
#   MODELS="gpt2 gpt2-xl" of the throughput; NAME:B for another batch size
#   LIMIT_STAGE=SECONDS   for a stage, such as LIMIT_TESTS=300
#   LIMIT=1740            seconds for all stages together: what does not fit is skipped
#   RESULTS=dev/results   where the report goes: DATE-GPU.txt, and its rows as DATE-GPU.jsonl; a second call appends
#   NAME=...              another name for the two files
set -euo pipefail
cd "$(dirname "$0")/.."

all_stages=(build tests memcheck racecheck initcheck synccheck training text kernels throughput)
declare -A limits=([build]=600 [tests]=300 [memcheck]=180 [racecheck]=180 [initcheck]=150 [synccheck]=150
    [training]=240 [text]=180 [kernels]=180 [throughput]=900)
. test/cuda_on_cpu/small_cases.bash
trainer=${TRAINER:-./train_relora}

skip() { echo "$*"; exit 77; }
fail() { echo "$*"; exit 1; }
# Prints a command, then runs it.
run() {
    echo "\$ $*"
    "$@"
}
need() {
    local file
    for file in "$@"; do [ -x "$file" ] || skip "$file is not there: it was not built"; done
}

# ---- the stages, each in a process of its own --------------------------------------------------------------------

stage_build() {
    local targets=(all gpu-tests kernel-bench build/bench/step) log=build/gpu_check_make.log
    if ! command -v "${NVCC:-nvcc}" >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
        for file in train_relora data/tokenize build/kernel_tests build/kernel_bench build/bench/step; do
            [ -x "$file" ] || fail "no nvcc, and no $file built elsewhere"
        done
        skip 'no nvcc: what was built elsewhere is used'
    fi
    mkdir -p build
    local options=(CUDA=1 ${DEPS:+DEPS="$DEPS"})
    command -v "${NVCC:-nvcc}" >/dev/null || options+=(NVCC=/usr/local/cuda/bin/nvcc)
    echo "\$ make CUDA=1${DEPS:+ DEPS=FOLDER} ${targets[*]}"
    make -j"$(nproc)" "${options[@]}" "${targets[@]}" >"$log" 2>&1 || {
        grep -E -B2 -A6 'error|Error|undefined reference' "$log" | head -n 60 || true
        fail "make failed; everything it said is in $log"
    }
    grep -E 'warning' "$log" | sort | uniq -c | head -n 20 || true
}

stage_tests() {
    need build/kernel_tests
    local log=build/gpu_check_tests.log code=0
    echo '$ build/kernel_tests'
    build/kernel_tests --gtest_color=no >"$log" 2>&1 || code=$?
    if [ "$code" -ne 0 ]; then
        grep -aE -A3 ': Failure$|C\+\+ exception|^terminate' "$log" | cut -c1-200 | head -n 60 || true
        grep -aE '^\[  FAILED  \] .*/.*' "$log" | sed 's/, where GetParam.*//' | sort -u | head -n 60 || true
    fi
    grep -aE '^\[==========\].* ran|^\[  PASSED  \]' "$log" || true
    [ "$code" -eq 0 ] || fail "exit code $code; everything it said is in $log"
}

# sanitized TOOL FILTER [OPTION…]
sanitized() {
    need build/kernel_tests
    local tool=$1 filter=$2 sanitizer log=build/gpu_check_$1.log code=0
    shift 2
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
    [ -n "$sanitizer" ] || skip 'no compute-sanitizer'
    echo "\$ compute-sanitizer --tool $tool $* build/kernel_tests --gtest_filter='$filter'"
    "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$@" \
        build/kernel_tests --gtest_brief=1 --gtest_color=no --gtest_filter="$filter" >"$log" 2>&1 || code=$?
    grep -E '^=========' "$log" | head -n 40 | cut -c1-200 || true
    tail -n 3 "$log" | cut -c1-200
    [ "$code" -eq 0 ] || fail "exit code $code; everything it said is in $log"
}
stage_memcheck() { sanitized memcheck "$small_cases"; }
stage_racecheck() { sanitized racecheck "$own_small_cases" --racecheck-report all; }
stage_initcheck() { sanitized initcheck "$own_small_cases"; }
stage_synccheck() { sanitized synccheck "$small_cases"; }

stage_training() {
    need "$trainer" data/tokenize
    export TRAINER=$trainer
    run bash test/cuda_on_cpu/training.sh
}

# validation NAME: the losses of a run, in order.
validation() { sed -nE 's/.*"val_loss":"?([^,}"]*).*/\1/p' "$1/metrics.jsonl"; }

stage_text() {
    need "$trainer" data/tokenize
    local work shards most='' first last name
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder as it is now
    trap "rm -rf '$work'" EXIT
    if ls data/austen/shards/train_*.bin data/austen/shards/val_*.bin >/dev/null 2>&1; then
        shards=data/austen/shards
        most=1.85  # what the README says of this run
        echo 'text: six novels, as scripts/quickstart.sh has them'
    else
        shards=$work/shards
        data/tokenize --val-fraction 0.05 --out "$shards" README.md dev/*.md relora.cuh train_relora.cu src/*/*.h \
            src/*/*.cpp >"$work/tokenize.log" 2>&1 || fail "data/tokenize: $(tail -n 1 "$work/tokenize.log")"
        echo "text: the documentation and sources of this repository; $(sed 's/^[^:]*: //' "$work/tokenize.log")"
    fi
    local common=(--device cuda --mode relora --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --rank 32
        --warm-start-steps 400 --max-steps 1000 --merge-every 200 --restart-warmup-steps 20 --lr 2e-3 --warmup-steps 40
        --seq-len 128 --batch-size 16 --eval-every 100 --log-every 200 --sample-tokens 64)
    for name in fp32 bf16; do
        local shape=(--dtype fp32 --layers 4 --heads 4 --channels 192)
        [ "$name" = fp32 ] || shape=(--dtype bf16 --layers 6 --heads 6 --channels 384)
        run "$trainer" "${common[@]}" "${shape[@]}" --out "$work/$name" >"$work/$name.log" 2>&1 ||
            { tail -n 20 "$work/$name.log"; fail "the run in $name failed"; }
        grep -avE '^(run folder|merged model)' "$work/$name.log" | sed "s|$work/||g" | cut -c1-600
        first=$(validation "$work/$name" | head -n 1) last=$(validation "$work/$name" | tail -n 1)
        echo "$name: validation loss $first at first, $last at last"
        awk "BEGIN { exit !($last < ${most:-$first}) }" || fail "$name: $last is not below ${most:-the first loss}"
    done
}

stage_kernels() {
    need build/kernel_bench
    run build/kernel_bench --seconds 0.3 --json "$rows"
}

stage_throughput() {
    need build/bench/step
    local model part shown peer=${PEER_PYTHON:-python3} failed='' compare=(python3 dev/bench/compare.py --device cuda)
    command -v python3 >/dev/null || skip 'no python3 to run dev/bench/compare.py'
    if "$peer" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        "$peer" -c 'import sys, torch; print("peer: torch", torch.__version__, "on Python", sys.version.split()[0])'
    else
        peer=''
        echo 'no Python with torch that sees the GPU (PEER_PYTHON): only ours'
    fi
    # What is ours first: PyTorch's compiler takes minutes for the large ones.
    for part in ours ${peer:+peers}; do
        for model in ${MODELS:-gpt2 gpt2-medium gpt2-large gpt2-xl}; do
            # 64k tokens a step, in micro-batches of 16 sequences, of 8 for the large ones.
            local batch=16 left=$((deadline - $(date +%s) - 10)) code=0
            case $model in *:*) batch=${model#*:} ;; gpt2-large | gpt2-xl) batch=8 ;; esac
            local options=(--models "$model" --grad-accum $((batch < 64 ? 64 / batch : 1)) --steps-per-turn 2 --modes 'full,relora')
            if [ "$part" = ours ]; then options+=(--routes 'merged,factored,project'); else options+=(--peer-python "$peer"); fi
            [ "$left" -gt 10 ] || { echo "$model ($part): not run, the time is up"; continue; }
            echo
            shown=${options[*]}
            [ -z "$peer" ] || shown=${shown/"--peer-python $peer"/--peer-python python}  # its path stays out of the record
            echo "\$ ${compare[*]} $shown"
            timeout --foreground --kill-after=5 "$left" "${compare[@]}" "${options[@]}" --json "$rows" || code=$?
            [ $code -eq 0 ] || echo "$model ($part): exit code $code$([ $code -ne 124 ] || echo ', out of time')"
            [ $code -eq 0 ] || [ $code -eq 124 ] || failed+=" $model"
        done
    done
    [ -z "$failed" ] || fail "failed:$failed"
}

# ---- the one that runs them --------------------------------------------------------------------------------------

if [ "${1:-}" = --stage ]; then  # in a process of its own: STAGE ROWS DEADLINE
    rows=$3 deadline=$4
    "stage_$2"
    exit
fi
case "${1:-}" in -h | --help) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac

stages=("$@")
[ $# -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
    [ -n "${limits[$stage]:-}" ] || { echo "dev/gpu_check.sh: no stage '$stage'; there are: ${all_stages[*]}" >&2; exit 2; }
done

smi() {
    local all
    all=$(nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null) && printf '%s' "${all%%$'\n'*}"
}
if ! gpu=$(smi name) || [ -z "$gpu" ] || [ "$gpu" = 'No devices were found' ]; then
    why='nvidia-smi finds none'
    command -v nvidia-smi >/dev/null || why='nvidia-smi is not there'
    echo "dev/gpu_check.sh: no GPU on this machine: $why" >&2
    exit 1
fi
driver=$(smi driver_version) memory=$(smi memory.total || true) capability=$(smi compute_cap || true)
toolkit=$({ "${NVCC:-nvcc}" --version || /usr/local/cuda/bin/nvcc --version || true; } 2>/dev/null |
    sed -n 's/.*release \([0-9.]*\).*/\1/p')
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || commit+=' with changes'
if [ -n "${DEPS:-}" ]; then  # for a binary that was built where the libraries lay elsewhere
    machine=$(uname -m)
    export DEPS LD_LIBRARY_PATH="$DEPS/usr/lib/$machine-linux-gnu:$DEPS/usr/lib:$DEPS/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

slug=$(printf '%s' "$gpu" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g; s/-$//')
results=${RESULTS:-dev/results}
name=${NAME:-$(date -u +%Y-%m-%d)-$slug}
mkdir -p "$results"
report=$results/$name.txt rows=$results/$name.jsonl
say() { printf '%s\n' "$@" | tee -a "$report"; }

[ ! -s "$report" ] || say ''
say "\$ dev/gpu_check.sh${*:+ $*}"
cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
say "$(date -u '+%Y-%m-%d %H:%M UTC'), $gpu, $memory, sm_${capability//./}, driver $driver, CUDA ${toolkit:-unknown}" \
    "commit $commit; ${cpu:-unknown CPU}, $(nproc) CPUs"

start=$(date +%s)
total=${LIMIT:-1740}
# What a stage leaves: its process group (timeout makes one), to end on Ctrl-C; its exit code; temporary files.
state=$(mktemp -d)
export TMPDIR=$state
trap 'rm -rf "$state"' EXIT
trap 'echo "dev/gpu_check.sh: stopped" >&2; kill -KILL -- -"$(cat "$state/process")" 2>/dev/null; wait; exit 130' INT TERM
summary=() any_failed=
for stage in "${stages[@]}"; do
    variable=LIMIT_${stage^^}
    limit=${!variable:-${limits[$stage]}}
    left=$((start + total - $(date +%s)))
    say '' "== $stage"
    began=$(date +%s)
    if [ "$left" -lt 5 ]; then
        result=SKIPPED why="the $total s of all stages are used up"
    else
        [ "$limit" -le "$left" ] || limit=$left
        {
            timeout --signal=KILL "$limit" bash dev/gpu_check.sh --stage "$stage" "$rows" $((began + limit)) </dev/null 2>&1 &
            echo $! >"$state/process"
            code=0
            wait $! || code=$?
            echo "$code" >"$state/code"
        } 2>/dev/null | tee -a "$report" &
        wait $!
        why=$(tail -n 1 "$report")
        case $(cat "$state/code") in
            0) result=PASS why='' ;;
            77) result=SKIPPED ;;
            124 | 137) result=FAIL why="not done after $limit s" ;;
            *) result=FAIL ;;
        esac
    fi
    [ $result != FAIL ] || any_failed=1
    seconds=$(($(date +%s) - began))
    summary+=("$(printf '%-11s %-8s %4d s%s' "$stage" "$result" "$seconds" "${why:+  $why}")")
    say "-- $stage: $result ($seconds s)"
    json() { printf '%s' "$1" | sed 's/[\\"]/\\&/g' | tr -d '\000-\037'; }
    {
        printf '{"bench": "gpu_check", "stage": "%s", "result": "%s", "seconds": %d, ' "$stage" "$result" "$seconds"
        printf '"why": "%s", "gpu": "%s", "driver": "%s", ' "$(json "$why")" "$(json "$gpu")" "$(json "$driver")"
        printf '"cuda": "%s", "commit": "%s"}\n' "$toolkit" "$commit"
    } >>"$rows"
done

say '' "$(printf '%s\n' "${summary[@]}")" "all in $(($(date +%s) - start)) s"
echo "$report and $rows written"
[ -z "$any_failed" ]
