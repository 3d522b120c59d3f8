#!/bin/bash
# Two programs on one run folder, in every order: one trains, the other is refused in one line that names the owner.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
endless=(--mode full --max-steps 1000000 --warmup-steps 1)

# refused NAME OPTION…: a second run in this folder must be refused, naming $owner.
refused() {
    local name=$1 code=0
    shift
    "$trainer" --out "$work/$name" "$@" >"$work/second" 2>&1 || code=$?
    [ "$code" -eq 2 ] || differs "$name: the second run ends with code $code: $(tail -n 1 "$work/second")"
    [ "$(grep -c 'train_relora: ' "$work/second")" -eq 1 ] || differs "$name: says $(cat "$work/second")"
    grep -qF "$work/$name is in use by process $owner on host " "$work/second" || differs "$name: $(cat "$work/second")"
}
new=(--train-data "$shards/train_*.bin" --device cpu "${shape[@]}" "${quiet[@]}" "${endless[@]}")

begin live "${endless[@]}" --save-every 5 --keep 2
owner=$pid
within 30 updates live 12 || differs "live: does not train: $(tail -n 1 "$work/live.log")"
refused live --resume
refused live "${new[@]}"
kill -s STOP "$owner"
refused live --resume
kill -s CONT "$owner"
at=$(grep -c '"loss"' "$work/live/metrics.jsonl")
within 30 updates live $((at + 5)) || differs 'live: does not go on'
# The kernel frees what a killed owner held.
kill -s KILL "$owner"
wait "$owner" 2>/dev/null || true
"$trainer" --out "$work/live" --resume >"$work/live.log" 2>&1 &
owner=$!
within 30 grep -q 'resumed from' "$work/live.log" || differs "after a kill: $(tail -n 1 "$work/live.log")"
refused live --resume
kill -s TERM "$owner"
ends live 143 "$owner" 'go on with --resume'

# At the same moment, in a folder that isn't there yet, or that holds a run.
for order in new resumed; do
    options=("${new[@]}")
    [ $order = new ] || options=(--resume)
    "$trainer" --out "$work/race" "${options[@]}" >"$work/race_a.log" 2>&1 & a=$!
    "$trainer" --out "$work/race" "${options[@]}" >"$work/race_b.log" 2>&1 & b=$!
    one_ended() { ended "$a" || ended "$b"; }
    within 30 one_ended || differs "$order: both run"
    if ended "$a"; then lost=$a name=race_a; owner=$b; else lost=$b name=race_b; owner=$a; fi
    ends $name 2 "$lost" "$work/race is in use by process $owner on host "
    within 30 updates race 3 || differs "$order: the owner does not train"
    kill -s TERM "$owner"
    [ $name = race_a ] && name=race_b || name=race_a
    ends $name 143 "$owner" 'go on with --resume'
    "$trainer" verify "$work/race" >"$work/verdict" 2>&1 || differs "$order: $(cat "$work/verdict")"
done
finish
