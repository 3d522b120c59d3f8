#!/bin/bash
# Checks and measures the CUDA half on a machine with a GPU, in two calls that fit a quarter of an hour. Each stage prints its
# verdict at once, PASS or FAIL, the most valuable first; the next one runs in any case, and the exit code is 1 if any failed.
#
#   dev/gpu_check.sh first        at most 300 s: tests, training and parity side by side, then throughput
#   dev/gpu_check.sh second       at most 420 s: ranks, kernels, sizes, text, pytorch, then memcheck beside racecheck
#   dev/gpu_check.sh STAGE…       some of these, in this order; A+B runs them side by side
#
#   tests       every kernel on the GPU against the CPU op
#   training    losses beside the CPU's, restarts, graphs on and off, resume, bit for bit (test/cuda_on_cpu/training.sh)
#   parity      GPT-2 124M through a switch, merges and resets beside PyTorch on the same GPU (dev/gpu_parity.py)
#   throughput  tokens/s of gpt2 and gpt2-xl, full-rank and low-rank, beside the model's prediction (dev/bench/compare.py), and
#               on a Hopper those of gpt2 with --attention wgmma
#   ranks       NCCL: one process with it has the bits of one without; where there are two GPUs, two processes reduce, and
#               --shard-optimizer changes no bit
#   kernels     time of every op in bf16 at the shapes of training (build/kernel_bench)
#   sizes       the throughput of gpt2-medium and gpt2-large
#   text        ReLoRA on the quickstart's text, in fp32 against its loss, and in bf16 with heads of 64
#   pytorch     the throughput of gpt2 beside PyTorch, compiled
#   memcheck, racecheck, initcheck, synccheck
#               small shapes under NVIDIA's compute-sanitizer; last, as they disturb times
#
# It builds nothing: `make gpu-programs` does, or a bundle has the programs (`make bundle`).
#   OUT=dev/results       where it leaves its reports: DATE-GPU-CALL.txt, .jsonl (rows) and .log (all that was said)
#   TMPDIR=/tmp           where it keeps the rest, up to 6 GB; not under OUT, so that a killed call leaves only reports there
#   PEER_PYTHON=python3   an interpreter that has torch and transformers
#   LIMIT=SECONDS         the time of all stages together: a stage that does not fit fails
#   REHEARSAL=1           small sizes, to try the check itself where there is no GPU (dev/rehearse_gpu.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
. test/cuda_on_cpu/small_cases.bash
. scripts/recipe.bash

declare -A limits=([tests]=150 [training]=150 [parity]=200 [throughput]=150 [kernels]=100 [sizes]=90 [text]=60 [ranks]=60 [pytorch]=170
    [memcheck]=120 [racecheck]=120 [initcheck]=120 [synccheck]=120)
peer=${PEER_PYTHON:-python3}
if [ -z "${REHEARSAL:-}" ]; then
    test_cases='*' shards=8
    parity_options=()
    bench_options=(--dtype bf16 --seconds 0.1)
    step_options=(--grad-accum 4 --steps-per-turn 2)
    first_models=(gpt2 gpt2-xl) other_models=(gpt2-medium gpt2-large)
    restarts=("${course[@]}" "${low_rank[@]}")
    larger=(--layers 6 --heads 6 --channels 384 --seq-len 128 --batch-size 16)
    most_loss=1.7  # what the README says of the quickstart
else
    test_cases=$small_cases shards=2
    parity_options=(--recorded test/fixtures/parity)
    bench_options=(--small --filter '5x7x3' --repeats 3 --flush-mib 1)
    step_options=(--batch-size 1 --seq-len 32 --rank 4 --rounds 1 --steps-per-turn 1)
    first_models=(gpt2-nano) other_models=(gpt2-nano)
    shape=(--layers 1 --heads 1 --channels 64 --seq-len 32 --batch-size 2)
    restarts=(--rank 4 --max-steps 30 --warm-start-steps 10 --merge-every 10 --restart-warmup-steps 2 --warmup-steps 2
        --lr 2e-3 --eval-every 10 --eval-batches 2)
    larger=("${shape[@]}")
    most_loss=5.6  # ln(257) is 5.55
fi

fail() { echo "$*"; exit 1; }
# Prints a command, without the paths of this machine, then runs it.
run() {
    local shown=${*//"$OUT"/OUT}
    shown=${shown//"$TMPDIR"/TMPDIR}
    echo "\$ ${shown//"$peer"/python3}"
    "$@"
}
need() {
    local file
    for file in "$@"; do [ -x "$file" ] || fail "$file is not there: make gpu-programs builds it"; done
}

# ---- the stages, each in a process of its own; TMPDIR is a folder that goes when it ends -------------------------------

# The tables and the last lines of all shards (dev/kernels/tally.cpp) as one; a shard without a last line didn't come to its end.
sum_up_shards() {
    awk -v shards="$shards" '
        /^op +cases/ { table = 1; next }
        /cases without an algorithm, [0-9]+ wrong$/ { table = 0; ended++; without += $1; wrong += $6; next }
        table { cases[$1] += $2; all += $2; if ($3 + 0 > most[$1]) most[$1] = $3 }
        END {
            printf "%-22s %6s  %s\n", "op", "cases", "largest distance / tolerance"
            fflush()
            for (op in cases) printf "%-22s %6d  %.3g\n", op, cases[op], most[op] | "sort"
            close("sort")
            printf "%d cases compared: %d wrong, %d without an algorithm; %d of %d shards came to their end\n", all, wrong, without, ended, shards
        }'
}
# run_shard NUMBER LOG: runs a shard, and after a fault of the GPU once more, without the op that the fault came from.
run_shard() {
    local cases=$test_cases- op
    until GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$1 OMP_NUM_THREADS=2 build/kernel_tests --gtest_color=no \
        --gtest_filter="$cases" >"$2" 2>&1; do
        op=$(sed -nE 's#^GPU lost in [^/]*/([a-z_]+)_[a-z]*[0-9].*#\1#p' "$2")
        [ -n "$op" ] || return 1
        cat "$2" >>"$2.lost"
        cases+=":*/${op}_*"
    done
    [ ! -e "$2.lost" ]
}
stage_tests() {
    need build/kernel_tests
    local shard code=0 processes=() said=$TMPDIR/said
    echo "\$ build/kernel_tests --gtest_filter='$test_cases'  # in $shards shards"
    for ((shard = 0; shard < shards; shard++)); do
        run_shard $shard "$TMPDIR/tests.$shard.log" &
        processes+=($!)
    done
    for shard in "${processes[@]}"; do wait "$shard" || code=1; done
    cat "$TMPDIR"/tests.* >"$said"
    cat "$said" >>"$log"
    if [ $code -ne 0 ]; then
        grep -aE '^GPU lost|^terminate' "$said" | cut -c1-200 || true
        grep -aE -A3 ': Failure$|C\+\+ exception' "$said" | grep -av '^no algorithm' | cut -c1-200 | head -n 60 || true
        grep -aE '^\[  FAILED  \] .*/.*' "$said" | sed 's/, where GetParam.*//' | sort -u | head -n 60 || true
        grep -aE '^no algorithm' "$said" | sort -u | cut -c1-200 | head -n 20 || true
    fi
    cat "$TMPDIR"/tests.*.log | sum_up_shards
    return $code
}

stage_training() {
    need ./train_relora data/tokenize
    TRAINER=./train_relora run bash test/cuda_on_cpu/training.sh
}

stage_parity() {
    need ./train_relora
    run "$peer" dev/gpu_parity.py --device cuda --trainer ./train_relora "${parity_options[@]}" --out "$TMPDIR/parity"
}

# compare MODE MODEL…: a call of compare.py for each model, so that what is done is printed when the time is up.
compare() {
    need build/bench/step
    local modes=$1 model failed=''
    shift
    # The prediction takes the ceilings of this machine where the kernels have been timed.
    ! grep -q '"ceilings"' "$rows" 2>/dev/null || more_options+=(--ceilings "$rows")
    for model in "$@"; do
        echo
        run python3 dev/bench/compare.py --device cuda --models "$model" --modes "$modes" --routes merged "${step_options[@]}" \
            "${more_options[@]}" --json "$rows" 2>>"$log" || failed+=" $model"
    done
    [ -z "$failed" ] || fail "compare.py failed for$failed; what it said is in $log"
}
more_options=()
stage_throughput() {
    compare full,relora "${first_models[@]}"
    [ "$capability" = 9.0 ] || { echo "attention by wgmma needs compute capability 9.0, not $capability: not timed"; return; }
    more_options+=(--worker 'build/bench/step --attention wgmma')
    compare full "${first_models[0]}"
}
stage_sizes() { compare full,relora "${other_models[@]}"; }
stage_pytorch() {
    "$peer" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)' 2>>"$log" ||
        fail "no torch in $peer: PEER_PYTHON names an interpreter that has it"
    more_options=(--peer-python "$peer" --peers compiled)
    local mode before
    for mode in full relora; do
        before=$(pytorch_rows)
        compare "$mode" "${first_models[0]}"
        [ "$(pytorch_rows)" -gt "$before" ] || fail "PyTorch gave no time; what it said is in $log"
    done
}
# Counts the times of PyTorch: compare.py leaves it out where it fails, and an earlier call may have had it.
pytorch_rows() { { grep -s '"worker": "torch compiled"' "$rows" || true; } | wc -l; }

stage_kernels() {
    need build/kernel_bench
    run build/kernel_bench "${bench_options[@]}" --json "$rows"
}

# validation NAME: the losses of a run, in order.
validation() { sed -nE 's/.*"val_loss":"?([^,}"]*).*/\1/p' "$TMPDIR/$1/metrics.jsonl"; }

stage_text() {
    need ./train_relora
    ls data/austen/shards/train_*.bin data/austen/shards/val_*.bin >/dev/null 2>&1 ||
        fail 'data/austen/shards is not there: data/make_austen_shards.sh makes it'
    local name last
    for name in fp32 bf16; do
        [ "$name" = fp32 ] || shape=("${larger[@]}")
        run ./train_relora --device cuda --mode relora --dtype "$name" "${data[@]}" "${shape[@]}" "${restarts[@]}" \
            --log-every 200 --sample-tokens 64 --out "$TMPDIR/$name" >"$TMPDIR/$name.log" 2>&1 ||
            { tail -n 20 "$TMPDIR/$name.log"; fail "the run in $name failed"; }
        cat "$TMPDIR/$name.log" >>"$log"
        head -n 1 "$TMPDIR/$name.log"
        grep -aE '^step .*(merge|switch|validation)|tokens/s' "$TMPDIR/$name.log" | cut -c1-300
        last=$(validation "$name" | tail -n 1)
        echo "$name: validation loss $last, at most $most_loss"
        awk "BEGIN { exit !($last < $most_loss) }" || fail "$name: the validation loss of $last is not below $most_loss"
    done
}

# ranked NAME OPTION…: a short run through the switch, a merge and a reset.
ranked() {
    local name=$1
    shift
    run ./train_relora --device cuda --mode relora "${data[@]}" --layers 2 --heads 2 --channels 128 --seq-len 64 \
        --batch-size 4 --total-batch-tokens 1024 --rank 8 --max-steps 24 --warm-start-steps 8 --merge-every 8 --eval-every 8 \
        --eval-batches 4 --adapter-route merged --sample-tokens 0 --check-every 1 --out "$TMPDIR/$name" "$@" \
        >"$TMPDIR/$name.log" 2>&1 || { tail -n 20 "$TMPDIR/$name.log"; fail "$name failed"; }
    cat "$TMPDIR/$name.log" >>"$log"
    grep -aE 'sends|reduced in|merge' "$TMPDIR/$name.log" | cut -c1-200 || true
    sed -nE 's/.*"loss":([^,]*),.*/\1/p' "$TMPDIR/$name/metrics.jsonl" >"$TMPDIR/$name.losses"
}
equal() { cmp "$TMPDIR/$1.losses" "$TMPDIR/$2.losses" || fail "$1 and $2 have other losses"; }
stage_ranks() {
    need ./train_relora
    ranked without
    ranked one --gpus 1
    equal one without
    ranked one_bf16_reduced --gpus 1 --reduce-dtype bf16 --no-cuda-graph
    echo 'one process with NCCL: the losses of one without'
    [ "$(nvidia-smi --query-gpu=name --format=csv,noheader | wc -l)" -gt 1 ] || { echo 'one GPU: two processes were not tried'; return; }
    ranked two --gpus 2
    ranked two_whole --gpus 2 --shard-optimizer off
    equal two two_whole
    paste "$TMPDIR/two.losses" "$TMPDIR/without.losses" | awk '
        { d = $1 - $2; d = d < 0 ? -d : d; if (d > most) most = d }
        END { printf "two processes: losses within %g of those of one\n", most; exit most > 1e-3 }'
}

# sanitized TOOL FILTER [OPTION…]
sanitized() {
    need build/kernel_tests
    local tool=$1 filter=$2 sanitizer said=$TMPDIR/$1.log code=0
    shift 2
    sanitizer=$(found compute-sanitizer "${CUDA_HOME:-/usr/local/cuda}/bin" "${CUDA_HOME:-/usr/local/cuda}/compute-sanitizer") ||
        fail 'compute-sanitizer is not there: it comes with the CUDA toolkit'
    echo "\$ compute-sanitizer --tool $tool $* build/kernel_tests --gtest_filter='$filter'"
    "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$@" \
        build/kernel_tests --gtest_brief=1 --gtest_color=no --gtest_filter="$filter" >"$said" 2>&1 || code=$?
    cat "$said" >>"$log"
    grep -E '^=========' "$said" | head -n 40 | cut -c1-200 || true
    tail -n 3 "$said" | cut -c1-200
    [ "$code" -eq 0 ] || fail "exit code $code"
}
# cuBLASLt tries calls that may fail, which is no fault.
stage_memcheck() { sanitized memcheck "$small_cases" --report-api-errors no; }
stage_racecheck() { sanitized racecheck "$own_small_cases" --racecheck-report all; }
stage_initcheck() { sanitized initcheck "$own_small_cases"; }
stage_synccheck() { sanitized synccheck "$small_cases"; }

# found PROGRAM FOLDER…: its path, on PATH or in one of the folders.
found() {
    local program=$1 folder
    shift
    command -v "$program" && return
    for folder in "$@"; do
        [ ! -x "$folder/$program" ] || { echo "$folder/$program"; return; }
    done
    return 1
}

# ---- the one that runs them --------------------------------------------------------------------------------------

if [ "${1:-}" = --stage ]; then  # in a process of its own: STAGE ROWS LOG
    rows=$3 log=$4
    mkdir -p "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
    "stage_$2"
    exit
fi
case "${1:-}" in '' | -h | --help) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac

call=stages total=${LIMIT:-1800} groups=("$@")
case $* in
    first) call=first total=${LIMIT:-300} groups=(tests+training+parity throughput) ;;
    second) call=second total=${LIMIT:-420} groups=(ranks kernels sizes text pytorch memcheck+racecheck) ;;
esac
for stage in $(tr + ' ' <<<"${groups[*]}"); do
    [ -n "${limits[$stage]:-}" ] || { echo "dev/gpu_check.sh: no stage '$stage'; there are: first, second, ${!limits[*]}" >&2; exit 2; }
done

smi() {
    local program all
    program=$(found nvidia-smi /usr/bin /usr/local/bin /usr/local/nvidia/bin /opt/bin) || return 1
    all=$("$program" --query-gpu="$1" --format=csv,noheader 2>/dev/null) && printf '%s' "${all%%$'\n'*}"
}
if ! gpu=$(smi name) || [ -z "$gpu" ] || [ "$gpu" = 'No devices were found' ]; then
    echo 'dev/gpu_check.sh: no GPU on this machine: nvidia-smi finds none, or is not there' >&2
    exit 1
fi
driver=$(smi driver_version) memory=$(smi memory.total || true) capability=$(smi compute_cap || true)
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || cat COMMIT 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || commit+=' with changes'

slug=$(printf '%s' "$gpu" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g; s/-$//')
mkdir -p "${OUT:=dev/results}"
OUT=$(cd "$OUT" && pwd)
export OUT
name=$OUT/$(date -u +%Y-%m-%d)-$slug-$call
report=$name.txt rows=$name.jsonl log=$name.log
export capability  # for the stages
# Caches of the program, of PyTorch and of the driver too.
work=$(mktemp -d)
export XDG_CACHE_HOME=$work/cache TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton \
    CUDA_CACHE_PATH=$work/cuda PYTHONPYCACHEPREFIX=$work/pycache PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
say() { printf '%s\n' "$@" | tee -a "$report"; }

[ ! -s "$report" ] || say ''
say "\$ dev/gpu_check.sh $*"
say "$(date -u '+%Y-%m-%d %H:%M UTC'), $gpu, $memory, sm_${capability//./}, driver $driver, commit $commit"
say "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs"

start=$(date +%s)
# Ends what is running, in the process groups that timeout makes.
stop() {
    local file
    for file in "$work"/*.process; do [ ! -e "$file" ] || kill -KILL -- -"$(cat "$file")" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'echo "dev/gpu_check.sh: stopped" >&2; exit 130' INT TERM

json() { printf '%s' "$1" | sed 's/[\\"]/\\&/g' | tr -d '\000-\037'; }
summary=() any_failed=
# verdict STAGE SECONDS: says how a stage has ended, from its exit code.
verdict() {
    local stage=$1 seconds=$2 code result=FAIL why file
    code=$(cat "$work/$stage.code")
    why=$(tail -n 1 "$work/$stage.said" 2>/dev/null || true)
    case $code in
        0) result=PASS why='' ;;
        124 | 137)
            why="not done after $seconds s; $why"
            for file in "$work/$stage"/*.log; do
                [ -s "$file" ] || continue
                cat "$file" >>"$log"
                say "${file##*/}: $(tail -n 1 "$file" | cut -c1-200)"
            done
            ;;
    esac
    [ $result = PASS ] || any_failed=1
    summary+=("$(printf '%-11s %-5s %4d s%s' "$stage" "$result" "$seconds" "${why:+  $why}")")
    say "-- $stage: $result ($seconds s)"
    {
        printf '{"bench": "gpu_check", "stage": "%s", "result": "%s", "seconds": %d, ' "$stage" "$result" "$seconds"
        printf '"why": "%s", "gpu": "%s", "driver": "%s", "commit": "%s"}\n' "$(json "$why")" "$(json "$gpu")" "$driver" "$commit"
    } >>"$rows"
}
# run_stage STAGE SECONDS PREFIX: runs a stage to its end; what it says goes to the report as it comes.
run_stage() {
    local stage=$1 limit=$2 prefix=$3 code=0
    {
        TMPDIR=$work/$stage timeout --signal=KILL "$limit" bash dev/gpu_check.sh --stage "$stage" "$rows" "$log" </dev/null 2>&1 &
        echo $! >"$work/$stage.process"
        wait $! || code=$?
        rm "$work/$stage.process"
        echo "$code" >"$work/$stage.code"
    } 2>/dev/null | tee "$work/$stage.said" | sed -u "s/^/$prefix/" | tee -a "$report"
}
for group in "${groups[@]}"; do
    say '' "== ${group//+/, beside }"
    began=$(date +%s)
    left=$((start + total - began))
    running=0
    for stage in ${group//+/ }; do
        limit=${limits[$stage]} prefix=''
        [ "$group" = "$stage" ] || prefix="$stage: "
        [ "$limit" -le "$left" ] || limit=$((left > 0 ? left : 0))
        if [ "$limit" -lt 5 ]; then
            echo "the $total s of all stages are used up" >"$work/$stage.said"
            echo 1 >"$work/$stage.code"
            verdict "$stage" 0
            continue
        fi
        { run_stage "$stage" "$limit" "$prefix"; touch "$work/$stage.done"; } &
        running=$((running + 1))
    done
    while [ "$running" -gt 0 ]; do
        wait -n || true
        for stage in ${group//+/ }; do
            [ -e "$work/$stage.done" ] || continue
            rm "$work/$stage.done"
            running=$((running - 1))
            verdict "$stage" $(($(date +%s) - began))
        done
    done
done

say '' "$(printf '%s\n' "${summary[@]}")" "all in $(($(date +%s) - start)) s"
echo "$report, $(basename "$rows") and $(basename "$log") written"
[ -z "$any_failed" ]
