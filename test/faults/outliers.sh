#!/bin/bash
# A text with a few pages of noise: updates on them are outliers, which are named and counted, or skipped, also after a resume.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
{
    text 1 1200
    awk 'BEGIN { s = 7; for (i = 0; i < 260; i++) { s = s * 16807 % 2147483647; printf "%c", 33 + s % 94 } }'
    text 3 1200
} >"$work/noisy.txt"
rm -r "$shards"
data/tokenize --out "$shards" --val "$work/val.txt" "$work/noisy.txt" >"$work/tokenize.log"
method=(--mode full --max-steps 800 --warmup-steps 10 --lr 0.01 --outlier-zscore 5)

must_train warned "${method[@]}"
must_train ignored "${method[@]}" --outliers off
must_train skipped "${method[@]}" --outliers skip --save-every 100 --keep 0
grep -qE 'step [0-9]+: the (loss|gradient norm) [0-9.]+ is an outlier: usual here is less than' "$work/warned.log" ||
    differs 'warned: names no outlier'
grep -q 'outlier' "$work/ignored.log" && differs 'ignored: names an outlier'
[ "$(field outliers "$work/warned/metrics.jsonl" | tail -n 1)" -ge 1 ] || differs 'warned: counts no outlier'
[ "$(field skipped "$work/warned/metrics.jsonl" | tail -n 1)" -eq 0 ] || differs 'warned: skips'
[ "$(field loss "$work/warned/metrics.jsonl")" = "$(field loss "$work/ignored/metrics.jsonl")" ] || differs 'a warning changes numbers'
times=$(grep -c 'is an outlier.*the update is skipped' "$work/skipped.log" || true)
{ [ "$times" -ge 1 ] && [ "$(field skipped "$work/skipped/metrics.jsonl" | tail -n 1)" -eq "$times" ]; } ||
    differs "skipped: skips $times updates, counts $(field skipped "$work/skipped/metrics.jsonl" | tail -n 1)"
grep -qx "skipped updates: $times" "$work/skipped.log" || differs 'skipped: the end does not say how many'

# The window is part of a checkpoint.
cp -r "$work/skipped" "$work/resumed"
"$trainer" --out "$work/resumed" --resume-from 200 >"$work/resumed.log" 2>&1 || differs "resumed: $(tail -n 1 "$work/resumed.log")"
[ "$(numbers "$work/resumed")" = "$(numbers "$work/skipped")" ] || differs 'resumed: other numbers'
cmp "$work/resumed/export/model.safetensors" "$work/skipped/export/model.safetensors" || differs 'resumed: another model'
finish
