#!/bin/bash
# Training on the CUDA device, executed on the CPU: full-rank, then ReLoRA with restarts that keep A, or draw it anew,
# beside the same run on the CPU device. Captured or not, in deferred streams, resumed or not: the same bits.
# TRAINER=./train_relora does it on a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${TRAINER:-}" ]; then
    . test/cuda_on_cpu/common.bash
    build cuda-on-cpu
fi
source test/end_to_end/common.bash
on_device=${TRAINER:-build/cuda_on_cpu/plain/train_relora}
make_shards

# A head of 64 columns, so that bf16 takes the kernels for tensor cores. At four times this learning rate some gradients have
# a norm of 10 to 50, and the loss follows the rounding: in bf16 by up to 0.07.
shape=(--layers 2 --heads 1 --channels 64 --seq-len 24 --batch-size 2)
course=(--mode relora --rank 4 --max-steps 30 --warm-start-steps 10 --merge-every 5 --restart-until 1 --restart-warmup-steps 1
    --warmup-steps 2 --lr 5e-4 --eval-every 15 --eval-batches 2 --total-batch-tokens 96)
# Restarts are after 15, 20, 25 and 30, and keep A and all moments.
method=("${course[@]}")
on() {  # cpu or cuda, then as must_train
    device=$1 trainer=$on_device
    [ "$1" = cuda ] || trainer=./train_relora
    must_train "$2" "${method[@]}" "${@:3}"
}

same_bits() {  # RUN EXPECTED
    local file last=step_00000030
    cmp -s <(numbers "$work/$1") <(numbers "$work/$2") || differs "$1: metrics differ from those of $2"
    for file in model adapters optimizer; do
        cmp "$work/$1/$last/$file.safetensors" "$work/$2/$last/$file.safetensors" || differs "$1: $file differs from that of $2"
    done
}
# same_course RUN EXPECTED: the same batches in the same order, the same restarts.
same_course() {
    [ "$(grep -A 3 '"data"' "$work/$1/step_00000030/state.json")" = "$(grep -A 3 '"data"' "$work/$2/step_00000030/state.json")" ] ||
        differs "$1: another place in the data than $2"
    [ "$(grep '"event":"restart"' "$work/$1/metrics.jsonl" | field step - | tr '\n' ' ')" = '15 20 25 30 ' ] ||
        differs "$1: expected restarts after 15, 20, 25 and 30"
}

# In fp32 the sums have another order, and Adam turns a difference in the last bit of a tiny gradient into one of a step.
on cpu cpu32 --dtype fp32
on cuda cuda32 --dtype fp32 --save-every 1 --keep 0
same_course cuda32 cpu32
close cuda32 cpu32 loss 5e-6
close cuda32 cpu32 val_loss 5e-6

# Restarts that draw A anew, and resets that prune moments; the others start anew at the switch.
method=("${course[@]}" --restart-A redraw --reset magnitude:0.9 --others restart --lora-plus-ratio 1)
on cpu cpu32_redrawn --dtype fp32
EXECUTOR_GUARD=0 on cuda cuda32_redrawn --dtype fp32
same_course cuda32_redrawn cpu32_redrawn
[ "$(field zeroed_fraction "$work/cuda32_redrawn/metrics.jsonl" | wc -l)" -eq 4 ] || differs 'cuda32_redrawn: expected 4 resets'
close cuda32_redrawn cpu32_redrawn zeroed_fraction 0
close cuda32_redrawn cpu32_redrawn loss 5e-6
method=("${course[@]}")

# Each route of the adapters gives the same.
for route in merged factored project; do
    on cpu "cpu32_$route" --dtype fp32 --adapter-route $route
    EXECUTOR_GUARD=0 on cuda "cuda32_$route" --dtype fp32 --adapter-route $route
    same_course "cuda32_$route" "cpu32_$route"
    close "cuda32_$route" "cpu32_$route" loss 5e-6
    close "cuda32_$route" cuda32 loss 5e-6
done

# Neither graphs nor the order in which streams run change a bit, or a sample.
sampled() { sed -n '/: sample$/,/^merged/{/^merged/!p}' "$work/$1.log"; }
quiet=(--sample-tokens 6 --threads 2)
EXECUTOR_STREAMS=deferred EXECUTOR_GUARD=0 on cuda uncaptured --dtype fp32 --no-cuda-graph
same_bits uncaptured cuda32
EXECUTOR_STREAMS=deferred EXECUTOR_GUARD=0 on cuda deferred --dtype fp32
same_bits deferred cuda32
sampled deferred | grep -q sample || differs 'deferred: there is no sample'
cmp <(sampled deferred) <(sampled uncaptured) || differs 'deferred: another sample than uncaptured'
quiet=(--sample-tokens 0 --threads 2)

# The algorithms that one run has chosen by time, the next one takes.
for run in autotuned autotuned_again; do EXECUTOR_GUARD=0 on cuda $run --dtype fp32 --autotune; done
same_bits autotuned_again autotuned
grep -q cuBLASLt "$XDG_CACHE_HOME/train_relora/algorithms.json" || differs 'autotuned: no algorithm is kept'

# A run is resumed before the switch, before a merge, and between restarts.
for step in 9 19 22; do
    cp -r "$work/cuda32" "$work/resumed"
    rm -r "$work/resumed/export"
    for from in "$work/resumed"/step_*; do [ "$((10#${from##*step_}))" -le "$step" ] || rm -r "$from"; done
    EXECUTOR_GUARD=0 "$on_device" --out "$work/resumed" --resume --save-every 0 >"$work/resumed.log" 2>&1 ||
        differs "resumed after $step: $(tail -n 1 "$work/resumed.log")"
    same_bits resumed cuda32
    rm -r "$work/resumed"
done

# In bf16 every activation is rounded to 8 bits, at other places on each device. (An alpha of 2 makes 0.02.)
for route in merged factored project; do
    on cpu "cpu16_$route" --dtype bf16 --adapter-route $route
    EXECUTOR_GUARD=0 on cuda "cuda16_$route" --dtype bf16 --adapter-route $route
    same_course "cuda16_$route" "cpu16_$route"
    close "cuda16_$route" "cpu16_$route" loss 1e-3
done

# Attention by wgmma, where the GPU has it: graphs keep its tensor maps.
method+=(--dtype bf16 --adapter-route merged --attention wgmma)
if "$on_device" --dry-run --device cuda "${shape[@]}" --vocab-size 257 "${method[@]}" >"$work/dry_run.log" 2>&1; then
    grep -q '^attention    by wgmma$' "$work/dry_run.log" || differs "wgmma: --dry-run doesn't say so"
    EXECUTOR_GUARD=0 on cuda wgmma
    same_course wgmma cpu16_merged
    close wgmma cpu16_merged loss 1e-3
    ! cmp -s <(numbers "$work/wgmma") <(numbers "$work/cuda16_merged") || differs 'wgmma: the bits of mma'
    EXECUTOR_STREAMS=deferred EXECUTOR_GUARD=0 on cuda wgmma_uncaptured --no-cuda-graph
    same_bits wgmma_uncaptured wgmma
    code=0
    "$on_device" --out "$work/wgmma" --resume --attention auto >"$work/resumed.log" 2>&1 || code=$?
    [ $code -eq 2 ] || differs "wgmma: a resume with other kernels ended with code $code"
    grep -q -- '--attention is .*auto.* was made with .*wgmma' "$work/resumed.log" || differs "wgmma: $(tail -n 1 "$work/resumed.log")"
else
    grep -q 'wgmma needs a GPU of compute capability 9.0' "$work/dry_run.log" || differs "wgmma: $(tail -n 1 "$work/dry_run.log")"
    echo "attention by wgmma was not tried: $(tail -n 1 "$work/dry_run.log")"
fi

# Adapters are factored where there is no memory for effective weights (2 MiB here). A GPU has enough.
if [ -z "${TRAINER:-}" ]; then
    shape=(--layers 6 --heads 2 --channels 128 --seq-len 24 --batch-size 2 --vocab-size 257 --mode lora --rank 4)
    planned=$(./train_relora --dry-run --device cuda "${shape[@]}" --adapter-route merged | sed -n 's/^  total *\([0-9]*\)\..*/\1/p')
    device=cuda trainer=$on_device
    export EXECUTOR_GUARD=0
    EXECUTOR_MEMORY=$((planned + 100)) must_train enough_memory --max-steps 1
    measured 1 2 2
    EXECUTOR_MEMORY=$((planned - 1)) must_train little_memory --max-steps 1
    grep -q 'adapters are factored' "$work/little_memory.log" || differs "little_memory: the log doesn't say that adapters are factored"
    ! grep -q 'adapters are factored' "$work/enough_memory.log" || differs 'enough_memory: adapters are factored for want of memory'
fi
finish
