#!/bin/bash
# Signals in every phase: those that ask to stop save first, SIGUSR1 saves and goes on, and a closed pipe ends the output only.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
endless=(--mode full --max-steps 1000000 --warmup-steps 1)

# whole NAME: whether the run's newest checkpoint is whole.
whole() { "$trainer" verify "$work/$1" >"$work/verdict" 2>&1 || differs "$1: $(cat "$work/verdict")"; }

for signal in INT TERM HUP QUIT USR2; do
    begin $signal "${endless[@]}"
    within 30 updates $signal 3 || differs "$signal: does not train: $(tail -n 1 "$work/$signal.log")"
    kill -s $signal "$pid"
    ends $signal $((128 + $(kill -l $signal))) "$pid" 'go on with --resume'
    whole $signal
done

# A checkpoint on demand; nohup's choice holds; a limit of time.
saved() { [ -n "$(compgen -G "$work/$1/step_*[0-9]/state.json")" ]; }
begin on_demand "${endless[@]}"
within 30 updates on_demand 3 || differs 'on_demand: does not train'
kill -s USR1 "$pid"
within 20 saved on_demand || differs 'SIGUSR1: no checkpoint'
! ended "$pid" || differs 'SIGUSR1 ends the run'
kill -s TERM "$pid"
ends on_demand 143 "$pid" 'go on with --resume'
whole on_demand

trap '' HUP
begin nohup "${endless[@]}"
trap - HUP
within 30 updates nohup 3 || differs 'nohup: does not train'
before=$(wc -l <"$work/nohup/metrics.jsonl")
kill -s HUP "$pid"
within 30 updates nohup $((before + 5)) || differs 'nohup: SIGHUP ends the run'
kill -s TERM "$pid"
ends nohup 143 "$pid" 'go on with --resume'

begin minutes "${endless[@]}" --stop-after-minutes 0.01 --profile
ends minutes 143 "$pid" 'go on with --resume'
whole minutes
grep -q '^  save  *[0-9]' "$work/minutes.log" || differs 'minutes: a run that is stopped prints no profile'

# Long work hears a signal within a second or two of a busy machine: measuring, validation, samples.
# heard NAME SAYS: sends SIGTERM to "$pid" and expects its end soon.
heard() {
    kill -s TERM "$pid" || true
    within 5 ended "$pid" || differs "$1: SIGTERM is not heard"
    ends "$1" 143 "$pid" "$2"
}
small=("${shape[@]}")
shape=(--layers 2 --heads 8 --channels 512 --seq-len 32 --batch-size 4)
begin routes --mode relora --rank 4 --max-steps 1000 --warmup-steps 1 --warm-start-steps 0 --merge-every 250
within 20 test -s "$work/routes/lock" || differs 'routes: does not begin'
heard routes 'stopped by a signal before training began'

mkdir "$work/all"
cp "$shards"/train_*.bin "$work/all/val_000000.bin"
cp "$shards"/train_*.bin "$shards/tokenizer.bin" "$work/all"
text=$shards shards=$work/all
begin validation "${endless[@]}" --eval-every 2 --eval-batches 0
within 60 updates validation 2 || differs 'validation: does not train'
heard validation 'go on with --resume'
shards=$text quiet=(--threads 1)
begin sample "${endless[@]}" --sample-every 1 --sample-tokens 1000000 --temperature 0
within 60 grep -q 'step 1: sample' "$work/sample.log" || differs 'sample: does not begin'
heard sample 'go on with --resume'
shape=("${small[@]}") quiet=(--sample-tokens 0 --threads 1)

# Nobody reads the output any more: the run goes on to its end.
short=(--mode relora --rank 4 --max-steps 40 --warm-start-steps 20 --merge-every 10 --warmup-steps 1 --log-every 1)
must_train uncut "${short[@]}"
code=0
{ "$trainer" --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --out "$work/pipe" --device cpu "${shape[@]}" \
    "${quiet[@]}" "${short[@]}" 2>&1 || echo $? >"$work/code"; } | head -n 1 >/dev/null || code=$?
{ [ "$code" -eq 0 ] && [ ! -e "$work/code" ]; } || differs "closed pipe: exit code $(cat "$work/code" 2>/dev/null) $code"
[ "$(numbers "$work/pipe")" = "$(numbers "$work/uncut")" ] || differs 'closed pipe: other numbers'
cmp "$work/pipe/export/model.safetensors" "$work/uncut/export/model.safetensors" || differs 'closed pipe: another model'

# Stopped three times, a run has the numbers of one that was never stopped.
long=(--mode relora --rank 4 --max-steps 300 --warm-start-steps 100 --merge-every 100 --warmup-steps 1 --eval-every 50)
must_train straight "${long[@]}"
begin stopped "${long[@]}"
for at in 20 90 180; do
    within 60 updates stopped $at || differs "stopped: has not $at updates: $(tail -n 1 "$work/stopped.log")"
    kill -s TERM "$pid" 2>/dev/null || true
    wait "$pid" || true
    "$trainer" --out "$work/stopped" --resume >"$work/stopped.log" 2>&1 &
    pid=$!
done
ends stopped 0 "$pid" 'run folder'
[ "$(numbers "$work/stopped")" = "$(numbers "$work/straight")" ] || differs 'stopped: other numbers'
cmp "$work/stopped/export/model.safetensors" "$work/straight/export/model.safetensors" || differs 'stopped: another model'
finish
