#!/bin/bash
# Runs whose numbers are no longer finite end with a line that names a tensor, keep the last good checkpoint, and export nothing.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

# fails NAME TEXT OPTION…: a run that must end with code 1, say so, and leave no export.
fails() {
    local name=$1 text=$2 code=0
    shift 2
    train "$work/$name" "$@" || code=$?
    [ "$code" -eq 1 ] || differs "$name: exit code $code, expected 1: $(tail -n 1 "$work/$name.log")"
    tail -n 1 "$work/$name.log" | grep -qE -- "$text" || differs "$name: expected '$text': $(tail -n 1 "$work/$name.log")"
    [ ! -e "$work/$name/export" ] || differs "$name: there is an export"
}
full=(--mode full --warmup-steps 1 --warm-start-steps 0 --grad-clip 0)
skipped='updates were skipped, to step [0-9]+: .*(weight|gradient) .*(wte|wpe|h\.0|ln_f).* is not finite'
fails diverged "the last 20 $skipped" "${full[@]}" --max-steps 400 --lr 1000 --weight-decay 10 --save-every 2
fails patient "the last 3 $skipped" "${full[@]}" --max-steps 400 --lr 1000 --weight-decay 10 --max-skipped 3
for folder in "$work"/{diverged,patient}/step_*; do
    [ -e "$folder" ] || continue
    "$trainer" verify "$folder" >"$work/verdict" 2>&1 || differs "a checkpoint of broken weights: $(cat "$work/verdict")"
done

# With fewer updates than that, the run ends by itself: its model is of no use to anyone.
fails short 'nothing is exported' "${full[@]}" --max-steps 400 --lr 1000 --weight-decay 10 --max-skipped 0

# A model that holds a value that is not finite is refused before training.
must_train good --mode full --max-steps 2 --warmup-steps 1
for value in '\0000\0000\0300\0177' '\0000\0000\0200\0377'; do
    cp -r "$work/good/export" "$work/model"
    rm -f "$work/model/SHA256SUMS"
    at=$(($(stat -c %s "$work/model/model.safetensors") - 400))
    printf '%b' "$value" | dd of="$work/model/model.safetensors" bs=1 seek=$((at / 4 * 4 + 400 % 4)) conv=notrunc status=none
    code=0
    "$trainer" --train-data "$shards/train_*.bin" --init-from "$work/model" --out "$work/refused" --device cpu --threads 1 \
        --sample-tokens 0 --mode full --seq-len 32 --batch-size 4 --max-steps 20 >"$work/refused.log" 2>&1 || code=$?
    { [ "$code" -eq 1 ] && grep -qE 'model\.safetensors: number [0-9]+ of .* is .*(nan|inf)' "$work/refused.log"; } ||
        differs "not finite at load: exit code $code: $(tail -n 1 "$work/refused.log")"
    [ -z "$(compgen -G "$work/refused/step_*")" ] || differs 'not finite at load: a checkpoint was written'
    rm -r "$work/model" "$work/refused"
done
finish
