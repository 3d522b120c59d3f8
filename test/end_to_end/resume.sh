#!/bin/bash
# A run that is interrupted and resumed is the run that was not: every number and every byte, wherever it stopped.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

# same_run NAME EXPECTED: numbers, weights, adapters and moments of the two runs' last checkpoint.
last=step_00000024
same_run() {
    local file
    cmp -s <(numbers "$work/$1") <(numbers "$work/$2") ||
        differs "$1: metrics differ from those of $2: $(diff <(numbers "$work/$1") <(numbers "$work/$2") | sed -n 2p)"
    for file in model adapters optimizer; do
        [ -e "$work/$2/$last/$file.safetensors" ] || continue
        cmp "$work/$1/$last/$file.safetensors" "$work/$2/$last/$file.safetensors" ||
            differs "$1: $file.safetensors differs from that of $2"
    done
    cmp "$work/$1/export/model.safetensors" "$work/$2/export/model.safetensors" || differs "$1: the export differs from that of $2"
}

# resumed NAME STEP…: the run as if it had been stopped after each of these updates, then resumed.
resumed() {
    local name=$1 step from folder code
    shift
    for step in "$@"; do
        folder=$work/$name.$step
        cp -r "$work/$name" "$folder"
        rm -r "$folder/export"
        for from in "$folder"/step_*; do
            [ "$((10#${from##*step_}))" -le "$step" ] || rm -r "$from"
        done
        code=0
        ./train_relora --out "$folder" --resume --save-every 0 >"$folder.log" 2>&1 || code=$?
        [ "$code" -eq 0 ] || { differs "$name resumed after $step: exit code $code: $(tail -n 1 "$folder.log")"; continue; }
        grep -q "resumed from .*step_$(printf %08d "$step")" "$folder.log" || differs "$name: did not resume after $step"
        same_run "$name.$step" "$name"
        rm -r "$folder"
    done
}

# The switch is after 6, merges are after 12, 18 and 24: the checkpoints are before, at and after the switch and a merge.
method=(--mode relora --rank 4 --max-steps 24 --warm-start-steps 6 --merge-every 6 --restart-warmup-steps 2
    --warmup-steps 2 --lr 2e-3 --eval-every 4 --total-batch-tokens 256 --keep 0 --restart-until 1)
must_train fp32 "${method[@]}" --save-every 1
[ "$(numbers "$work/fp32" | grep -c '"event":"restart"')" -eq 3 ] || differs 'fp32: expected 3 restarts'
[ "$(numbers "$work/fp32" | grep -c '"event":"switch"')" -eq 1 ] || differs 'fp32: expected 1 switch'
[ "$(field val_loss "$work/fp32/metrics.jsonl" | wc -l)" -eq 6 ] || differs 'fp32: expected 6 validations'
! grep -q zeroed_fraction "$work/fp32/metrics.jsonl" || differs 'fp32: moments were zeroed'
resumed fp32 1 5 6 7 11 12 13 18 23
# The other kinds: an A drawn anew, others that start anew at the switch, masters beside rounded weights, and restarts that end.
redraw=(--restart-A redraw --save-every 1)
must_train redrawn "${method[@]}" "${redraw[@]}" --reset magnitude:0.9 --others restart --lora-plus-ratio 1
[ "$(field zeroed_fraction "$work/redrawn/metrics.jsonl" | awk '{ if ($1 > 0.89 && $1 < 0.92) n++ } END { print n + 0 }')" -eq 3 ] ||
    differs "redrawn: zeroed $(field zeroed_fraction "$work/redrawn/metrics.jsonl" | tr '\n' ' '), expected 0.9 three times"
resumed redrawn 5 6 7 12 13
must_train bf16_kept "${method[@]}" --save-every 1 --dtype bf16
resumed bf16_kept 6 12 13
must_train half "${method[@]:0:${#method[@]}-1}" 0.5 --save-every 1
[ "$(numbers "$work/half" | grep -c '"event":"restart"')" -eq 2 ] || differs 'half: expected 2 restarts'
resumed half 12 17 18

must_train bf16 "${method[@]}" "${redraw[@]}" --dtype bf16 --lora-dropout 0.1 --reset random:0.9 --reset-adam-step
! cmp -s <(numbers "$work/bf16") <(numbers "$work/fp32") || differs 'bf16: the run has the numbers of the fp32 run'
resumed bf16 5 6 7 12 13

# Weights without masters are rounded by numbers that a resume draws again.
must_train rounded --mode full --max-steps 24 --lr 2e-3 --eval-every 4 --keep 0 --save-every 1 --dtype bf16 --masters none
must_train nearest --mode full --max-steps 24 --lr 2e-3 --eval-every 4 --dtype bf16
last_loss() { field val_loss "$work/$1/metrics.jsonl" | tail -n 1; }
holds "$(last_loss rounded) - $(last_loss nearest) < 0.05" || differs "rounded: ends at $(last_loss rounded), nearest at $(last_loss nearest)"
resumed rounded 11

# Activation recompute changes memory, not one bit; checkpoints on the way change nothing either.
for level in pointwise block; do
    must_train $level "${method[@]}" --recompute $level
    same_run $level fp32
done

# A run that began with the weights of another needs them no more.
cp -r "$work/fp32/step_00000006" "$work/base"
must_train based "${method[@]}" --save-every 5 --init-from "$work/base"
rm -r "$work/base"
resumed based 5 10

# One run is interrupted twice.
resumed_twice=$work/twice
cp -r "$work/fp32" "$resumed_twice"
rm -r "$resumed_twice/export" "$resumed_twice"/step_0000000[5-9] "$resumed_twice"/step_000000[12]*
for stop in 14 24; do
    if [ "$stop" -eq 24 ]; then
        rm -r "$resumed_twice/export" "$resumed_twice"/step_0000001[5-9] "$resumed_twice"/step_0000002*
    fi
    ./train_relora --out "$resumed_twice" --resume >"$work/twice.log" 2>&1 || differs "twice: $(tail -n 1 "$work/twice.log")"
done
same_run twice fp32

# Each linear's adapter takes the route that was measured to be the fastest; a resumed run goes on by the routes it began
# with, whatever the machine would choose by then.
grep -q measuring "$work/fp32.log" || differs 'fp32: nothing was measured'
measured 2 1 2
must_train routed "${method[@]}" --save-every 1
! grep -q measuring "$work/routed.log" || differs 'routed: measured again what was known'
routes=$(sed -n 's/.*"adapter-routes": "\(.*\)".*/\1/p' "$work/routed/$last/state.json")
[ "$routes" = factored,factored,factored,factored ] || differs "routed: the routes are '$routes', expected those measured to be the fastest"
measured 1 2 2
resumed routed 5 13

finish
