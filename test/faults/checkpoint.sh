#!/bin/bash
# Checkpoints that are damaged, edited, copied by hand or moved away: the newest whole one is resumed from, what is passed over
# is named, and nothing is lost.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode relora --rank 4 --max-steps 6 --warm-start-steps 2 --merge-every 2 --warmup-steps 1)

# says NAME CODE TEXT COMMAND…: what the command must print, on any line, and end with.
says() {
    local name=$1 wanted=$2 text=$3 code=0
    shift 3
    "$@" >"$work/said" 2>&1 || code=$?
    [ "$code" -eq "$wanted" ] || differs "$name: exit code $code, expected $wanted: $(tail -n 1 "$work/said")"
    grep -qF -- "$text" "$work/said" || differs "$name: does not say '$text': $(tail -n 3 "$work/said")"
}
resume() { local folder=$1; shift; "$trainer" --out "$work/$folder" --resume "$@"; }
# copy_of NAME: a run of six updates with a checkpoint after each of them, under another name.
copy_of() { cp -r "$work/run" "$work/$1"; }
# flip FILE AT: another byte at this place.
flip() {
    printf '\xa5' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
must_train run "${method[@]}" --save-every 1 --keep 0
names() { (cd "$work/$1" && printf '%s ' step_*); }

# ---- which checkpoint
copy_of damaged
flip "$work/damaged/step_00000006/model.safetensors" 5000
rm "$work/damaged/step_00000005/state.json"
mv "$work/damaged/step_00000003" "$work/damaged/step_00000004.good"
mv "$work/damaged/step_00000002" "$work/damaged/step_00000099"
says 'verify' 1 'step_00000006: not whole: ' "$trainer" verify "$work/damaged"
[ "$(grep -c 'not whole' "$work/said")" -eq 3 ] || differs "verify: expected three that are not whole: $(cat "$work/said")"
says 'verify a whole one' 0 'step_00000004.good: whole' "$trainer" verify "$work/damaged/step_00000004.good"
says 'past damaged ones' 0 "resumed from $work/damaged/step_00000004" resume damaged --keep 2
for reason in 'step_00000099 holds step 2' 'step_00000006/model.safetensors is damaged' 'step_00000005 is not a checkpoint'; do
    grep -q "^passed over: .*$reason" "$work/said" || differs "past damaged ones: does not say '$reason': $(cat "$work/said")"
done
same=$(numbers "$work/damaged")
[ "$same" = "$(numbers "$work/run")" ] || differs 'past damaged ones: the numbers are not those of the run'
cmp "$work/damaged/export/model.safetensors" "$work/run/export/model.safetensors" || differs 'past damaged ones: another model'
wanted='step_00000004.good step_00000005 step_00000005.abandoned step_00000006 step_00000006.abandoned step_00000099.abandoned '
[ "$(names damaged)" = "$wanted" ] || differs "past damaged ones: holds $(names damaged)"

copy_of hopeless
for folder in "$work"/hopeless/step_*; do truncate -s -1 "$folder/optimizer.safetensors"; done
says 'none is whole' 1 'is whole: ' resume hopeless

# ---- an earlier one
copy_of earlier
says 'a step that is not there' 1 'step_00000007 is not a checkpoint' resume earlier --resume-from 7
says 'another run' 2 'was made with' "$trainer" --out "$work/earlier" --resume-from "$work/run/step_00000003" --lr 0.5
[ "$(names earlier)" = "$(names run)" ] || differs "refused: the run folder holds $(names earlier)"
says 'a step' 0 "resumed from $work/earlier/step_00000003" "$trainer" --out "$work/earlier" --resume-from 3 --keep 0
[ "$(numbers "$work/earlier")" = "$(numbers "$work/run")" ] || differs 'a step: the numbers are not those of the run'
for name in export.abandoned step_00000004.abandoned; do
    [ -d "$work/earlier/$name" ] || differs "a step: there is no $name"
done
says 'a folder elsewhere' 0 "resumed from $work/run/step_00000005" "$trainer" --out "$work/earlier" --resume-from "$work/run/step_00000005"

# ---- which ones stay
must_train kept "${method[@]}" --save-every 1 --keep 1 --keep-every 2
[ "$(names kept)" = 'step_00000002 step_00000004 step_00000006 ' ] || differs "keep-every: holds $(names kept)"
[ "$(grep -c '"event":"save"' "$work/kept/metrics.jsonl")" -eq 6 ] || differs 'metrics.jsonl has not six saves'

# ---- a run folder that goes away
# goes_away NAME COMMAND…: does that to the folder of a long run, which has to end by itself.
goes_away() {
    local name=$1 code=0 i
    shift
    train "$work/$name" --mode full --max-steps 100000 --save-every 50 --keep 1 &
    for ((i = 0; i < 600; i++)); do
        ! compgen -G "$work/$name/step_*" >/dev/null || break
        sleep 0.05
    done
    "$@"
    wait $! || code=$?
    [ "$code" -eq 1 ] || differs "$name: exit code $code, expected 1"
}
goes_away renamed mv "$work/renamed" "$work/new_name"
grep -q "the run folder $work/renamed was renamed to $work/new_name during the run" "$work/renamed.log" ||
    differs "renamed: $(tail -n 1 "$work/renamed.log")"
[ ! -e "$work/renamed" ] || differs 'renamed: the old folder is there again'
# The run writes while its folder is being removed, so that one attempt may meet a new name in it.
remove() { rm -r "$1" 2>/dev/null || rm -r "$1" 2>/dev/null || rm -r "$1"; }
goes_away removed remove "$work/removed"
grep -q "the run folder $work/removed was removed during the run" "$work/removed.log" || differs "removed: $(tail -n 1 "$work/removed.log")"
for name in new_name removed; do
    says "$name" 0 ': whole' "$trainer" verify "$work/$name"
    at=$(names $name)
    says "$name" 130 "resumed from $work/$name/${at% }" timeout --preserve-status -s INT 3 "$trainer" --out "$work/$name" --resume
done
finish
