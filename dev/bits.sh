#!/bin/bash
# Prints the SHA-256 of every file that a matrix of short runs leaves in its checkpoints, of its metrics without what a clock
# decides, and of its exports. Two versions of the program compute the same where the lists are equal:
#   dev/bits.sh [TRAINER [DEVICE]] >LIST
#   EXECUTOR_GUARD=0 dev/bits.sh build/cuda_on_cpu/plain/train_relora cuda     the CUDA half, executed on the CPU
set -euo pipefail
program=$(realpath "${1:-./train_relora}") on=${2:-cpu}
source "$(dirname "$0")/../test/end_to_end/common.bash"
make_shards
# The paths of the shards are options of a run, which its state holds: here they are the same for every version.
cd "$work"
scratch=$work
trap 'rm -rf "$scratch"' EXIT
mkdir bits
work=bits shards=shards trainer=$program device=$on

runs=0
run() {  # NAME OPTION…
    must_train "$@"
    runs=$((runs + 1))
    [ ! -t 2 ] || printf '\r%d runs' "$runs" >&2
}
relora=(--max-steps 12 --warmup-steps 2 --lr 3e-3 --eval-every 4 --rank 4 --warm-start-steps 4 --merge-every 4 --restart-warmup-steps 1)
for dtype in fp32 bf16; do
    short=(--dtype "$dtype" --max-steps 6 --warmup-steps 2 --lr 3e-3)
    run $dtype-full "${short[@]}" --mode full
    run $dtype-accumulated "${short[@]}" --mode full --total-batch-tokens 384
    run $dtype-control "${short[@]}" --mode control --rank 4
    run $dtype-lora "${short[@]}" --mode lora --rank 4 --adapter-route merged
    for route in merged factored project; do
        run $dtype-$route --dtype $dtype "${relora[@]}" --adapter-route $route --total-batch-tokens 256
        for level in pointwise block; do
            run $dtype-$route-$level --dtype $dtype "${relora[@]}" --adapter-route $route --recompute $level
        done
    done
    run $dtype-fused --dtype $dtype "${relora[@]}" --adapter-route merged --qkv-adapters fused --targets attn.c_attn,mlp.c_proj
    run $dtype-dropout --dtype $dtype "${relora[@]}" --lora-dropout 0.1 --reset random:0.9 --reset-adam-step --reset-every 2
    run $dtype-from-adapters "${short[@]}" --mode full --init-from bits/$dtype-lora/step_00000006
    run $dtype-from-export "${short[@]}" --mode lora --rank 4 --adapter-route factored --init-from bits/$dtype-lora/export
    # A run that is resumed before the switch, at it, before a restart or at it goes on as it would have gone on.
    run $dtype-saved --dtype $dtype "${relora[@]}" --adapter-route merged --save-every 1 --keep 0
    for step in 3 4 7 8; do
        cp -r bits/$dtype-saved bits/$dtype-resumed-$step
        (cd bits/$dtype-resumed-$step
            rm -r export
            for folder in step_*; do [ "$((10#${folder#step_}))" -le $step ] || rm -r "$folder"; done)
        "$program" --out bits/$dtype-resumed-$step --resume >bits/resume.log 2>&1 || differs "$dtype-resumed-$step: $(tail -n 1 bits/resume.log)"
    done
done
run rounded --dtype bf16 --max-steps 6 --warmup-steps 2 --lr 3e-3 --mode full --masters none
run wsd --dtype fp32 --max-steps 6 --warmup-steps 2 --lr 3e-3 --mode full --schedule wsd --weight-decay 0.2 --grad-clip 0.5
"$program" --init-from bits/bf16-lora/step_00000006 --export bits/exported/model >/dev/null
for folder in bits/*/; do
    [ ! -e "$folder/metrics.jsonl" ] || printf '%s  %s\n' "$(numbers "$folder" | sha256sum | cut -d' ' -f1)" "${folder}metrics"
done
find bits -mindepth 3 -type f -print0 | sort -z | xargs -0 sha256sum
[ ! -t 2 ] || echo >&2
finish
