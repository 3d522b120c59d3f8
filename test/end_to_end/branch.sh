#!/bin/bash
# A branch goes on from a checkpoint of another run: bit for bit where nothing changes, else with what changed listed.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode relora --rank 4 --max-steps 12 --warm-start-steps 4 --merge-every 4 --restart-warmup-steps 1 --warmup-steps 1
    --lr 2e-3 --eval-every 4 --save-every 1 --keep 0)
must_train run "${method[@]}"

# branch NAME FROM OPTION…: what it prints goes to NAME.log.
branch() {
    local name=$1 from=$2
    shift 2
    "$trainer" --branch-from "$from" --out "$work/$name" "$@" >"$work/$name.log" 2>&1
}
must_branch() { branch "$@" || differs "$1: $(tail -n 1 "$work/$1.log")"; }
says() { grep -qE -- "$2" "$work/$1.log" || differs "$1: doesn't say '$2': $(head -n 8 "$work/$1.log")"; }
refused() {
    local name=$1 text=$2 code=0
    shift 2
    branch "$name" "$@" || code=$?
    [ "$code" -eq 2 ] || differs "$name: exit code $code"
    grep -qF -- "$text" "$work/$name.log" || differs "$name: expected '$text', got '$(tail -n 1 "$work/$name.log")'"
    [ ! -e "$work/$name/metrics.jsonl" ] || differs "$name: the run folder has a run"
}
# later NAME STEP: the numbers after a step.
later() { numbers "$work/$1" | grep -v '"event":"branch"' | awk -F'[:,]' -v step="$2" '$2 > step'; }

echo '== nothing changes'
for from in 3 4 6 8; do
    must_branch same$from "$work/run/$from"
    cmp -s <(later same$from $from) <(later run $from) || differs "same$from: other numbers than the run"
    for file in model adapters optimizer; do
        cmp "$work/same$from/step_00000012/$file.safetensors" "$work/run/step_00000012/$file.safetensors" || differs "same$from: other $file"
    done
    [ "$(grep -c '^  .* -> ' "$work/same$from.log")" -eq 0 ] || differs "same$from: lists a change"
done
grep -q '"folder": ".*/run/step_00000006"' "$work/same6/step_00000012/state.json" || differs 'same6: its origin is not stored'
[ "$(sha256sum <"$work/run/step_00000006/state.json" | cut -c1-64)" = "$(tr -d ' \n' <"$work/same6/step_00000012/state.json" |
    sed -E 's/.*"branches":\[\{[^}]*"sha256":"([0-9a-f]*)".*/\1/')" ] || differs 'same6: not the hash of its origin'

echo '== changes'
# A longer run, whose later half has another rate and batch, from the newest checkpoint of the run.
must_branch longer "$work/run" --max-steps 20 --schedule constant --lora-lr 1e-3 --total-batch-tokens 256
says longer 'branches from .*/run/step_00000012 after 12 updates'
says longer '  max-steps: 12 -> 20'
says longer '  schedule: "cosine" -> "constant"'
says longer '  total-batch-tokens: 128 -> 256'
[ "$(field step "$work/longer/metrics.jsonl" | sort -n | sed -n '1p;$p' | tr '\n' ' ')" = '13 20 ' ] || differs 'longer: not the updates 13 to 20'
[ "$(field tokens "$work/longer/metrics.jsonl" | tail -n 1)" -eq $((12 * 128 + 8 * 256)) ] || differs 'longer: another number of tokens'
# In tokens: those before count.
must_branch tokens "$work/run/12" --max-tokens $((16 * 128))
says tokens '  max-steps: 12 -> 16'
# A branch stopped before its first checkpoint is begun again by --resume, one with checkpoints is resumed.
cp -r "$work/longer" "$work/again"
rm -r "$work/again/export" "$work"/again/step_*
"$trainer" --resume --out "$work/again" >"$work/again.log" 2>&1 || differs "again: $(tail -n 1 "$work/again.log")"
says again 'branches from .*/run/step_00000012'
cp -r "$work/longer" "$work/resumed"
rm -r "$work/resumed/export" "$work/resumed/step_00000020"
"$trainer" --resume --out "$work/resumed" >"$work/resumed.log" 2>&1 || differs "resumed: $(tail -n 1 "$work/resumed.log")"
for name in again resumed; do
    cmp -s <(numbers "$work/$name") <(numbers "$work/longer") || differs "$name: other numbers than the branch had"
    cmp "$work/$name/step_00000020/optimizer.safetensors" "$work/longer/step_00000020/optimizer.safetensors" || differs "$name: other moments"
done
# Restarts and resets of another kind, more restarts, other rates; alpha is 0 on both sides.
must_branch redrawn "$work/run/6" --restart-A redraw --reset magnitude:0.9 --restart-warmup-steps 1
says redrawn '  restart-A: "keep" -> "redraw"'
says redrawn '  reset: "none" -> "magnitude:0.9"'
[ "$(field zeroed_fraction "$work/redrawn/metrics.jsonl" | awk '{ if ($1 > 0.89 && $1 < 0.92) n++ } END { print n + 0 }')" -eq 2 ] ||
    differs "redrawn: zeroed $(field zeroed_fraction "$work/redrawn/metrics.jsonl" | tr '\n' ' '), expected 0.9 twice"
must_branch more_restarts "$work/run/6" --max-steps 20 --restart-until 1
says more_restarts '  restart-until: 0.5 -> 1'
[ "$(grep '"event":"restart"' "$work/more_restarts/metrics.jsonl" | field step - | tr '\n' ' ')" = '8 12 16 20 ' ] ||
    differs "more_restarts: restarts after $(grep '"event":"restart"' "$work/more_restarts/metrics.jsonl" | field step - | tr '\n' ' ')"
must_branch rates "$work/run/6" --lora-plus-ratio 1 --others restart --other-lr 1e-3
says rates '  lora-plus-ratio: 10 -> 1'
says rates '  others: "continue" -> "restart"'
says rates '  other-lr: 0.002 -> 0.001'
# Other data, and windows of another length: reading begins anew.
text 3 1200 >"$work/more.txt"
data/tokenize --out "$work/more" "$work/more.txt" >/dev/null
must_branch data "$work/run/8" --train-data "$work/more/train_*.bin"
says data '  train-data: shard 1, .*/more/train_000000.bin'
says data 'the data begin anew'
must_branch windows "$work/run/8" --seq-len 16
says windows '  seq-len: 32 -> 16'
says windows 'the data begin anew'
# A full-rank run goes on in low rank, with restarts of its own.
must_train full --mode full --max-steps 6 --save-every 2 --keep 0 --warmup-steps 1
must_branch to_low "$work/full/4" --mode relora --rank 4 --warm-start-steps 4 --max-steps 8 --merge-every 2
says to_low '  mode: "full" -> "relora"'
says to_low 'step 4: switch to low rank 4'
[ "$(grep -cs '"event":"restart"' "$work/to_low/metrics.jsonl")" = 2 ] || differs 'to_low: expected 2 restarts'
must_branch to_full "$work/run/3" --mode full
says to_full '  mode: "relora" -> "full"'

echo '== what cannot change'
refused rank '--rank 8' "$work/run/6" --rank 8
refused alpha '--alpha 16' "$work/run/6" --alpha 16
refused targets '--targets' "$work/run/6" --targets mlp.c_fc
refused phase '--warm-start-steps 8' "$work/run/6" --warm-start-steps 8 --max-steps 16
refused mode '--mode full' "$work/run/6" --mode full
refused shape 'its model has 2 layers, the options say 3' "$work/run/6" --layers 3
refused over '--max-steps 6' "$work/run/6" --max-steps 6 --merge-every 2 --reset-every 2
refused cycles 'never line up' "$work/run/6" --max-steps 16 --reset-every 3
code=0
"$trainer" --branch-from "$work/run/6" --out "$work/longer" >"$work/into_a_run.log" 2>&1 || code=$?
[ "$code" -eq 2 ] || differs "into_a_run: exit code $code"
says into_a_run 'already holds a run'
refused warm '--warm-start-steps 2' "$work/full/4" --mode relora --rank 4 --warm-start-steps 2 --max-steps 8 --merge-every 2
refused nothing 'there is no' "$work/nowhere/6"
finish
