#!/bin/bash
# Every mode and ablation runs to its end; what they must share is the same, and the schedule has its golden values.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

# completes NAME OPTION…: 12 updates end well, with a finite loss on the validation set that training has lowered.
completes() {
    local name=$1 loss first
    shift
    must_train "$name" --max-steps 12 --warmup-steps 2 --lr 3e-3 "$@"
    loss=$(field val_loss "$work/$name/metrics.jsonl" | tail -n 1)
    first=$(field loss "$work/$name/metrics.jsonl" | head -n 1)
    { [[ $loss =~ ^[0-9.]+$ ]] && holds "$loss < $first"; } ||
        differs "$name: the validation loss is '$loss', expected less than the first loss, $first"
}
relora=(--mode relora --rank 4 --warm-start-steps 4 --merge-every 4 --restart-warmup-steps 1)
completes full --mode full
completes control --mode control --rank 4
completes lora --mode lora --rank 4
completes lora_warm --mode lora --rank 4 --warm-start-steps 4
completes relora "${relora[@]}"
completes no_reset "${relora[@]}" --reset none
completes no_dip "${relora[@]::8}" --restart-warmup-steps 0
completes no_cycle "${relora[@]::8}" --reset-every 0
completes no_warm_start --mode relora --rank 4 --warm-start-steps 0 --merge-every 4
completes from_checkpoint --mode relora --rank 4 --merge-every 4 --init-from "$work/full/step_00000012"
completes from_adapters --mode lora --rank 4 --init-from "$work/lora/step_00000012"
completes from_adapters_rounded --mode full --dtype bf16 --masters none --init-from "$work/lora/step_00000012"
completes from_export --mode full --init-from "$work/lora/export"
completes fused "${relora[@]}" --qkv-adapters fused
for route in merged factored project; do completes "route_$route" "${relora[@]}" --adapter-route $route; done
completes some_targets "${relora[@]}" --targets attn.c_attn,mlp.c_proj
completes bf16 "${relora[@]}" --dtype bf16
for kind in zero random:0.9 magnitude:0.9; do completes "reset_$kind" "${relora[@]}" --reset $kind; done
completes adam_step "${relora[@]}" --reset zero --reset-adam-step
completes two_periods "${relora[@]::8}" --reset-every 2
completes two_periods_no_reset "${relora[@]::8}" --reset-every 2 --reset none

# What was trained continues: a start from a checkpoint, its adapters merged, or its export begins at the loss it had.
for name in from_adapters from_adapters_rounded from_export; do
    begun=$(field loss "$work/$name/metrics.jsonl" | head -n 1)
    ended=$(field val_loss "$work/lora/metrics.jsonl" | tail -n 1)
    holds "$begun < $ended + 0.2 && $begun > $ended - 0.2" || differs "$name: begins at $begun, expected about $ended"
done

# restarts NAME: "before after zeroed" of each restart.
restarts() {
    sed -nE 's/.*"loss_before":([^,}]*),"loss_after":([^,}]*)(,"zeroed_fraction":([^,}]*))?.*/\1 \2 \4/p' "$work/$1/metrics.jsonl"
}
# A merge leaves the function as it is, and a reset zeroes what was asked for: rounded up, a tensor at a time.
for row in relora:0.99 route_merged:0.99 route_factored:0.99 route_project:0.99 reset_magnitude:0.9:0.9 reset_zero:1 reset_random:0.9:0.9 fused:0.99 some_targets:0.99; do
    name=${row%:*} asked=${row##*:}
    [ "$(restarts "$name" | wc -l)" -eq 2 ] || differs "$name: expected 2 restarts, got $(restarts "$name" | wc -l)"
    below=0
    [ "$name" != reset_random:0.9 ] || below=0.02 # a share of a random draw, over 4,000 moments and more
    while read -r before after zeroed; do
        holds "$before - $after < 1e-5 && $after - $before < 1e-5" || differs "$name: a merge took the loss from $before to $after"
        holds "$zeroed >= $asked - $below && $zeroed <= $asked + 0.01 + $below" ||
            differs "$name: zeroed $zeroed of the moments, asked $asked"
    done < <(restarts "$name")
done
grep -q '"event":"restart"' "$work/no_reset/metrics.jsonl" || differs 'no_reset: there is no restart'
! grep -q zeroed_fraction "$work/no_reset/metrics.jsonl" || differs 'no_reset: moments were zeroed'
# Two resets in each of the two cycles, a merge at every other one.
[ "$(grep -c zeroed_fraction "$work/two_periods/metrics.jsonl") $(grep -c loss_before "$work/two_periods/metrics.jsonl")" = '4 2' ] ||
    differs 'two_periods: expected 4 resets and 2 merges'
[ "$(grep '"event":"restart"' "$work/two_periods/metrics.jsonl" | field restart - | tr '\n' ' ')" = '0 1 1 2 ' ] ||
    differs 'two_periods: expected 0, 1, 1 and 2 merges at the restarts'
grep -q '^step 6: 9[0-9.]* % of the adapters' "$work/two_periods.log" || differs "two_periods: no line of the reset after update 6"
[ "$(grep -c '"event":"restart"' "$work/two_periods_no_reset/metrics.jsonl")" -eq 2 ] || differs 'two_periods_no_reset: expected 2 restarts'

# LoRA is ReLoRA before its first merge, bit for bit.
same=(--rank 4 --max-steps 8 --warm-start-steps 2 --schedule constant --warmup-steps 1)
must_train lora_8 --mode lora "${same[@]}"
must_train relora_8 --mode relora "${same[@]}" --merge-every 6 --reset-every 6 --restart-warmup-steps 0
must_train relora_4 --mode relora "${same[@]}" --merge-every 3 --reset-every 3 --restart-warmup-steps 0
# losses NAME STEPS: loss and gradient norm of the first updates.
losses() { paste <(field loss "$work/$1/metrics.jsonl") <(field grad_norm "$work/$1/metrics.jsonl") | head -n "$2"; }
[ "$(losses lora_8 8)" = "$(losses relora_8 8)" ] || differs 'lora and relora differ before the first merge'
[ "$(losses lora_8 5)" = "$(losses relora_4 5)" ] || differs 'lora and relora differ before an earlier first merge'
[ "$(losses lora_8 8)" != "$(losses relora_4 8)" ] || differs 'lora and relora are the same after a merge'

# The stored configuration is the run; the command line overrides it.
./train_relora --config "$work/relora/config.toml" --out "$work/again" >"$work/again.log" 2>&1 || differs "again: $(tail -n 1 "$work/again.log")"
cmp -s <(numbers "$work/again") <(numbers "$work/relora") || differs 'the stored config.toml gives other numbers'
# A path and a text with marks that TOML gives a meaning come back as they are.
marked='a \n "b" \\ é'
ln -s "$shards/train_000000.bin" "$work/$marked.bin"
./train_relora --train-data "$work/${marked//\\/\\\\}.bin" --out "$work/marked" --device cpu "${shape[@]}" "${quiet[@]}" --mode lora --rank 4 \
    --max-steps 2 --save-every 1 --keep 0 --prompt "$marked" >"$work/marked.log" 2>&1 || differs "marked: $(tail -n 1 "$work/marked.log")"
cp "$work/marked/config.toml" "$work/marked.toml"
rm -r "$work/marked/step_00000002" "$work/marked/export"
./train_relora --out "$work/marked" --resume >"$work/marked.log" 2>&1 || differs "marked, resumed: $(tail -n 1 "$work/marked.log")"
diff "$work/marked.toml" "$work/marked/config.toml" >&2 || differs 'marked: a resume changes its config.toml'
./train_relora --config "$work/relora/config.toml" --out "$work/other" --seed 7 >"$work/other.log" 2>&1 || differs "other: $(tail -n 1 "$work/other.log")"
! cmp -s <(numbers "$work/other") <(numbers "$work/relora") || differs '--seed does not override the stored configuration'

# An export from a checkpoint is the one at the end of the run; it is refused where something is already.
./train_relora --export "$work/exported/" --init-from "$work/fused/step_00000012" >"$work/export.log" 2>&1 || differs "export: $(cat "$work/export.log")"
cmp "$work/exported/model.safetensors" "$work/fused/export/model.safetensors" || differs '--export differs from the export of the run'
! ./train_relora --export "$work/exported" --init-from "$work/fused/step_00000012" >"$work/export.log" 2>&1 ||
    differs '--export wrote into a folder that held something'

# Jagged cosine, w = 4, rw = 3, T = 10, floor 0.1: multipliers of updates 0 to 39, and what happens at them.
golden='0 .25 .5 .75 1 .998287614 .993163489 .984666622 .972861679 .957838504 0 .289399351 .578798701 .868198052 .839254424
    .808109396 .775 .740178218 .703909064 .66646857 0 .170259972 .340519944 .510779916 .47185832 .43353143 .396090936 .359821782
    .325 .291890604 0 .060460527 .120921053 .18138158 .160288568 .142161496 .127138321 .115333378 .106836511 .101712386'
schedule() {
    ./train_relora --print-schedule --mode relora "${shape[@]}" --rank 4 --warmup-steps 4 --restart-warmup-steps 3 --lr 0.5 "$@" \
        2>"$work/schedule.log" || differs "--print-schedule: $(cat "$work/schedule.log")"
}
for number in $golden; do echo "$number"; done |
    awk '{ printf "%d\tlowrank\t%.9f\t%s\n", NR - 1, $1, NR % 10 ? "" : "merge,reset" }' >"$work/golden"
schedule --warm-start-steps 0 --max-steps 40 --merge-every 10 --lora-lr 2 >"$work/schedule"
[ "$(head -n 1 "$work/schedule")" = $'step\tphase\tmultiplier\tlr\tevents' ] || differs "--print-schedule: header $(head -n 1 "$work/schedule")"
diff "$work/golden" <(tail -n +2 "$work/schedule" | cut -f 1-3,5) >&2 || differs '--print-schedule differs from the golden values'
# The low-rank phase is the same behind a full-rank one, which follows the cosine of the whole run at its own rate.
schedule --warm-start-steps 5 --max-steps 45 --merge-every 20 --reset-every 10 >"$work/warm"
diff <(cut -f 3 "$work/golden") <(tail -n +7 "$work/warm" | cut -f 3) >&2 || differs 'the schedule after a warm start differs'
events=$(tail -n +2 "$work/warm" | awk -F '\t' '$5 != "" { printf "%s:%s ", $1, $5 }')
[ "$events" = '5:switch 14:reset 24:merge,reset 34:reset 44:merge,reset ' ] || differs "events of the schedule: $events"
awk -F '\t' 'NR > 1 && NR <= 6 { if ($2 != "full" || ($4 - 0.5 * $3) ^ 2 > 1e-14) bad = 1 }
             NR > 6 { if ($2 != "lowrank" || ($4 - 1.0 * $3) ^ 2 > 1e-14) bad = 1 } END { exit bad }' "$work/warm" ||
    differs 'phases or rates of the schedule: expected multipliers of 0.5, then of twice that'
[ ! -e runs/relora-1337 ] || differs '--print-schedule wrote a run folder'

# A plan names the routes that the run takes.
./train_relora --dry-run --device cpu "${shape[@]}" --rank 4 --max-steps 8 --lora-dropout 0.1 >"$work/dropout_plan" || differs '--dry-run failed'
grep -q '^adapters *factored,factored,factored,factored$' "$work/dropout_plan" ||
    differs "--dry-run with dropout: $(grep adapters "$work/dropout_plan" | head -n 1), expected factored adapters"

# terminate PID WHAT: the run ends by a signal, and says so with its exit code.
terminate() {
    local code=0
    kill -TERM "$1"
    wait "$1" || code=$?
    [ "$code" -eq 143 ] || differs "$2: exit code $code, expected 143"
}

# A signal saves; the rest of the run is then as if nothing had happened.
must_train whole "${relora[@]::6}" --max-steps 400 --merge-every 132
./train_relora --config "$work/whole/config.toml" --out "$work/stopped" >"$work/stopped.log" 2>&1 &
pid=$!
for _ in $(seq 600); do
    [ ! -e "$work/stopped/metrics.jsonl" ] || [ "$(wc -l <"$work/stopped/metrics.jsonl")" -lt 20 ] || break
    sleep 0.05
done
terminate $pid SIGTERM
[ "$(find "$work/stopped" -maxdepth 1 -name 'step_*' | wc -l)" -eq 1 ] || differs 'SIGTERM: expected one checkpoint'
./train_relora --out "$work/stopped" --resume >"$work/stopped.log" 2>&1 || differs "after SIGTERM: $(tail -n 1 "$work/stopped.log")"
cmp -s <(numbers "$work/stopped") <(numbers "$work/whole") || differs 'the run that SIGTERM stopped goes on differently'
# A resume does what is left of a run after its last update, once.
mv "$work/stopped/export" "$work/export_before"
for says in 'merged model for Hugging Face' 'the run is complete'; do
    ./train_relora --out "$work/stopped" --resume >"$work/stopped.log" 2>&1 || differs "a resume at the end: $(tail -n 1 "$work/stopped.log")"
    grep -q "$says" "$work/stopped.log" || differs "a resume at the end: expected '$says' in: $(cat "$work/stopped.log")"
done
cmp "$work/stopped/export/model.safetensors" "$work/export_before/model.safetensors" || differs 'a resume at the end exports another model'
# A signal that comes while routes are measured stops the run before it begins: the same command begins it.
XDG_CACHE_HOME=$work/other_cache ./train_relora --config "$work/relora/config.toml" --out "$work/early" >"$work/early.log" 2>&1 &
pid=$!
for _ in $(seq 600); do
    ! grep -q measuring "$work/early.log" || break
    sleep 0.05
done
terminate $pid 'SIGTERM before the first update'
./train_relora --config "$work/relora/config.toml" --out "$work/early" --resume >"$work/early.log" 2>&1 ||
    differs "after an early SIGTERM: $(tail -n 1 "$work/early.log")"

finish
