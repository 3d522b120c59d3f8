#!/bin/bash
# Files that are not what a run expects: names that are taken, closed descriptors, FIFOs, JSON that is too deep, exports with
# nowhere to go. A run waits for nothing, removes nothing that it did not make, and says in one line what is wrong.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode full --max-steps 2 --warmup-steps 1)

# refused NAME TEXT COMMAND…: the command must end soon, with an error in one line that has the text.
refused() {
    local name=$1 text=$2 code=0
    shift 2
    timeout 20 "$@" >"$work/stdout" 2>"$work/stderr" </dev/null || code=$?
    case $code in 1 | 2) ;; *) differs "$name: exit code $code, expected 1 or 2" ;; esac
    [ "$(wc -l <"$work/stderr")" -eq 1 ] || differs "$name: $(wc -l <"$work/stderr") lines on stderr, expected 1"
    grep -qF -- "$text" "$work/stderr" || differs "$name: expected '$text' in: $(head -n 3 "$work/stderr")"
    ! grep -qE 'json\.exception|filesystem error|bad_alloc|\.(cpp|cu|h):[0-9]' "$work/stderr" ||
        differs "$name: shows what is the program's own: $(cat "$work/stderr")"
}
tiny=("$trainer" --val-data "$shards/val_*.bin" --device cpu "${shape[@]}" "${quiet[@]}" "${method[@]}")
data=(--train-data "$shards/train_*.bin")

# Names that earlier versions took for their own, and one like those of today.
mkdir -p "$work/names/export.tmp" "$work/names/.step_00000002.tmp"
for name in export.tmp/mine .step_00000002.tmp/mine config.toml.tmp .train_relora.mine; do
    echo mine >"$work/names/$name"
done
must_train names "${method[@]}"
for name in export.tmp/mine .step_00000002.tmp/mine config.toml.tmp .train_relora.mine; do
    [ "$(cat "$work/names/$name" 2>&1)" = mine ] || differs "names: $name is gone"
done
[ -z "$(find "$work/names" -name '.train_relora.????????????????')" ] || differs 'names: a temporary file is left'
mkdir "$work/beside.tmp"
echo mine >"$work/beside.tmp/mine"
"$trainer" --init-from "$work/names" --export "$work/beside" >"$work/log" 2>&1 && differs 'a run folder was exported'
"$trainer" --init-from "$work/names/step_00000002" --export "$work/beside/" >"$work/log" 2>&1 || differs "export: $(tail -n 1 "$work/log")"
[ "$(cat "$work/beside.tmp/mine" 2>&1)" = mine ] || differs 'export: beside.tmp is gone'
cmp "$work/beside/model.safetensors" "$work/names/export/model.safetensors" || differs 'export: differs from that of the run'

# Exports with nowhere to go are refused before anything is read: the model need not be there.
echo mine >"$work/file"
mkdir "$work/empty"
ln -s "$work/empty" "$work/link"
export_to() { refused "export to $1" "$2" "$trainer" --init-from "$work/no_such_model" --export "$1"; }
export_to "$work/file" 'is there and is no folder'
export_to "$work/file/export" 'Not a directory'
export_to "$work/link" 'is there and is no folder'
export_to "$work/names" 'is not empty'
export_to "$work/missing/export" "there is no folder $work/missing"
[ "$(cat "$work/file")" = mine ] || differs 'export: the file is gone'
"$trainer" --init-from "$work/names/step_00000002" --export "$work/empty" >"$work/log" 2>&1 || differs "export to an empty folder: $(tail -n 1 "$work/log")"

# Without standard descriptors no file of the run takes their place.
for closed in '0<&-' '1>&-' '2>&-' '0<&- 1>&- 2>&-'; do
    rm -rf "$work/closed"
    eval "\"\${tiny[@]}\" \"\${data[@]}\" --out \"\$work/closed\" >\"\$work/log\" 2>&1 $closed" || differs "$closed: exit code $?"
    cmp -s <(numbers "$work/closed") <(numbers "$work/names") || differs "$closed: the metrics differ: $(head -n 3 "$work/closed/metrics.jsonl")"
done
eval 'data/tokenize --out "$work/closed_shards" "$work/train.txt" 0<&- 1>&- 2>&-' || differs "tokenize without descriptors: exit code $?"
for file in tokenizer.bin train_000000.bin; do
    cmp "$work/closed_shards/$file" "$shards/$file" || differs "tokenize without descriptors: $file differs"
done

# To open a FIFO waits for its other end.
mkdir "$work/fifos"
mkfifo "$work/fifos/train_0.bin"
refused 'FIFO as shard' 'is not a regular file' "${tiny[@]}" --train-data "$work/fifos/train_0.bin" --out "$work/none"
refused 'FIFO as config' 'is not a regular file' "${tiny[@]}" "${data[@]}" --config "$work/fifos/train_0.bin" --out "$work/none"
refused 'FIFO as tokenizer' 'is not a regular file' "${tiny[@]}" "${data[@]}" --tokenizer "$work/fifos/train_0.bin" --out "$work/none"
cp -r "$work/names/step_00000002" "$work/fifo_state"
rm "$work/fifo_state/state.json"
mkfifo "$work/fifo_state/state.json"
refused 'FIFO as state' 'is not a regular file' "$trainer" --init-from "$work/fifo_state" --export "$work/none"
cp -r "$work/beside" "$work/fifo_config"
rm "$work/fifo_config/config.json"
mkfifo "$work/fifo_config/config.json"
refused 'FIFO as config.json' 'is not a regular file' "$trainer" --init-from "$work/fifo_config" --export "$work/none"

# JSON may be valid and deeper than a stack.
deep() { printf '%0*d' "$1" 0 | tr 0 '['; printf '%0*d' "$1" 0 | tr 0 ']'; }
for place in beside/config.json names/step_00000002/state.json; do
    folder=$work/deep_$(basename "$place")
    cp -r "$work/$(dirname "$place")" "$folder"
    deep 1000000 >"$folder/$(basename "$place")"
    refused "deep $place" 'nested deeper than 64 levels' "$trainer" --init-from "$folder" --export "$work/none"
    echo '{"model_type": "gpt2", "n_embd": "wide"' >"$folder/$(basename "$place")"
    refused "broken $place" 'is not valid JSON: parse error at line 2' "$trainer" --init-from "$folder" --export "$work/none"
done
echo '{"model_type": "gpt2", "vocab_size": 257, "n_positions": 32, "n_layer": 1, "n_head": "two", "n_embd": 32}' >"$work/deep_config.json/config.json"
refused 'a field of the wrong type' '"n_head" is "two"' "$trainer" --init-from "$work/deep_config.json" --export "$work/none"

# The cache of measured times: nothing in its place, and no one who holds its lock, holds up a run.
cached=(--mode lora --rank 4 --max-steps 1 --warmup-steps 0)
must_train cached "${cached[@]}"
times=$XDG_CACHE_HOME/train_relora/adapter_times.json
rm "$times"
mkfifo "$times"
must_train fifo_cache "${cached[@]}"
[ -f "$times" ] || differs 'a FIFO in the place of the cache stayed there'
deep 1000000 >"$times"
exec 7>>"$times.lock"
flock 7
must_train locked_cache "${cached[@]}"
grep -q "another process has held $times.lock for 5 seconds" "$work/locked_cache.log" || differs 'a lock that is held is not named'

finish
