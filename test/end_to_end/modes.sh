#!/bin/bash
# Every mode and ablation runs to its end; what they must share is the same, and the schedule has its golden values.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

# completes NAME OPTION…: $steps updates end well, with a finite loss on the validation set that training has lowered.
steps=12
completes() {
    local name=$1 loss first
    shift
    must_train "$name" --max-steps $steps --warmup-steps 2 --lr 3e-3 "$@"
    loss=$(field val_loss "$work/$name/metrics.jsonl" | tail -n 1)
    first=$(field loss "$work/$name/metrics.jsonl" | head -n 1)
    { [[ $loss =~ ^[0-9.]+$ ]] && holds "$loss < $first"; } ||
        differs "$name: the validation loss is '$loss', expected less than the first loss, $first"
}
# Here a restart draws A anew and resets moments, and there are some to the end, as in the paper.
relora=(--mode relora --rank 4 --warm-start-steps 4 --merge-every 4 --restart-A redraw --restart-until 1 --restart-warmup-steps 1)
completes full --mode full
completes control --mode control --rank 4
completes lora --mode lora --rank 4
completes lora_warm --mode lora --rank 4 --warm-start-steps 4
completes relora "${relora[@]}"
completes no_reset "${relora[@]}" --reset none
completes no_dip "${relora[@]::12}" --restart-warmup-steps 0
completes no_cycle "${relora[@]::12}" --reset-every 0
completes no_warm_start --mode relora --rank 4 --warm-start-steps 0 --merge-every 4
completes paper --recipe paper "${relora[@]::8}"
completes from_checkpoint --mode relora --rank 4 --merge-every 4 --init-from "$work/full/step_00000012"
completes from_adapters --mode lora --rank 4 --init-from "$work/lora/step_00000012"
completes from_adapters_rounded --mode full --dtype bf16 --masters none --init-from "$work/lora/step_00000012"
completes from_export --mode full --init-from "$work/lora/export"
completes fused "${relora[@]}" --qkv-adapters fused
for route in merged factored project; do completes "route_$route" "${relora[@]}" --adapter-route $route; done
completes some_targets "${relora[@]}" --targets attn.c_attn,mlp.c_proj
completes bf16 "${relora[@]}" --dtype bf16
for kind in zero random:0.9 magnitude:0.9 magnitude:0.99; do completes "reset_$kind" "${relora[@]}" --reset $kind; done
completes adam_step "${relora[@]}" --reset zero --reset-adam-step
completes two_periods "${relora[@]::12}" --reset-every 2 --reset magnitude:0.99
completes two_periods_no_reset "${relora[@]::12}" --reset-every 2 --reset none
# Here it keeps A and all moments, and there are none in the later half but for the last.
kept=(--mode relora --rank 4 --warm-start-steps 4 --merge-every 4)
steps=20
completes kept "${kept[@]}"
completes kept_until_1 "${kept[@]}" --restart-until 1
completes kept_until_0 "${kept[@]}" --restart-until 0
completes kept_dip "${kept[@]}" --restart-warmup-steps 1
completes kept_zero "${kept[@]}" --reset zero --reset-adam-step
completes kept_magnitude:0.9 "${kept[@]}" --reset magnitude:0.9
completes kept_two_periods "${kept[@]}" --reset-every 2 --reset zero
completes kept_fused "${kept[@]}" --qkv-adapters fused
completes kept_bf16 "${kept[@]}" --dtype bf16
for route in merged factored project; do completes "kept_$route" "${kept[@]}" --adapter-route $route; done
completes redrawn_until_half "${relora[@]::10}"
completes no_lora_plus "${kept[@]}" --lora-plus-ratio 1
completes alpha "${kept[@]}" --alpha 32
completes others_restart "${kept[@]}" --others restart

# What was trained continues: a start from a checkpoint, its adapters merged, or its export begins at the loss it had.
for name in from_adapters from_adapters_rounded from_export; do
    begun=$(field loss "$work/$name/metrics.jsonl" | head -n 1)
    ended=$(field val_loss "$work/lora/metrics.jsonl" | tail -n 1)
    holds "$begun < $ended + 0.2 && $begun > $ended - 0.2" || differs "$name: begins at $begun, expected about $ended"
done

# What a float holds with some of its digits only is 0 to a CPU, which would take a hundred times longer for it: here the
# last positions, which 16 tokens do not reach and whose gradient is 0.
cp -r "$work/full/export" "$work/denormals"
rm "$work/denormals/SHA256SUMS"
last_positions() { # FILE [VALUE]: prints the largest of their values, or writes VALUE to all
    python3 - "$@" <<'EOF'
import json, struct, sys
with open(sys.argv[1], "r+b") as file:
    size, = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(size))
    tensor = next(tensor for name, tensor in header.items() if name.endswith("wpe.weight"))
    first, last = (8 + size + offset for offset in tensor["data_offsets"])
    first = (first + last) // 2
    values = struct.Struct(f"<{(last - first) // 4}f")
    file.seek(first)
    if len(sys.argv) > 2:
        file.write(values.pack(*[float(sys.argv[2])] * ((last - first) // 4)))
    else:
        print(max(map(abs, values.unpack(file.read(last - first)))))
EOF
}
last_positions "$work/denormals/model.safetensors" 1e-39
whole_shape=("${shape[@]}") shape=(--seq-len 16 --batch-size 4)
completes from_denormals --mode full --init-from "$work/denormals"
shape=("${whole_shape[@]}")
[ "$(last_positions "$work/from_denormals/export/model.safetensors")" = 0.0 ] ||
    differs "from_denormals: positions that were 1e-39 are $(last_positions "$work/from_denormals/export/model.safetensors"), not 0"

# restarts NAME: "before after zeroed" of each restart.
restarts() {
    sed -nE 's/.*"loss_before":([^,}]*),"loss_after":([^,}]*)(,"zeroed_fraction":([^,}]*))?.*/\1 \2 \4/p' "$work/$1/metrics.jsonl"
}
# A merge leaves the function as it is, and a reset zeroes what was asked for: rounded up, a tensor at a time.
for row in relora:1 route_merged:1 route_factored:1 route_project:1 reset_magnitude:0.9:0.9 reset_magnitude:0.99:0.99 reset_zero:1 \
    reset_random:0.9:0.9 fused:1 some_targets:1 paper:0.99; do
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
# restarts_at NAME STEPS ZEROED: whether there are restarts after these updates only, which leave the loss as it is and zero that
# share of the moments, or '' for none.
restarts_at() {
    local at before after zeroed
    at=$(grep '"loss_before"' "$work/$1/metrics.jsonl" | field step - | tr '\n' ' ')
    [ "$at" = "$2 " ] || differs "$1: restarts after '$at', expected '$2'"
    while read -r before after zeroed; do
        holds "$before - $after < 1e-5 && $after - $before < 1e-5" || differs "$1: a merge took the loss from $before to $after"
        { [ -z "$3" ] && [ -z "$zeroed" ]; } || { [ -n "$3" ] && holds "$zeroed >= $3 && $zeroed <= $3 + 0.01"; } ||
            differs "$1: a restart zeroed '$zeroed' of the moments, expected '$3'"
    done < <(restarts "$1")
}
for name in kept kept_dip kept_fused kept_merged kept_factored kept_project; do restarts_at $name '8 12 20' ''; done
restarts_at kept_until_1 '8 12 16 20' ''
restarts_at kept_until_0 '20' ''
restarts_at kept_zero '8 12 20' 1
restarts_at kept_magnitude:0.9 '8 12 20' 0.9
restarts_at kept_two_periods '8 12 20' 1
restarts_at redrawn_until_half '8 12 20' 1
# Resets end with the merges: there are some after updates 2, 4, 6, 8 and 16 of the low-rank phase.
[ "$(grep zeroed_fraction "$work/kept_two_periods/metrics.jsonl" | field step - | tr '\n' ' ')" = '6 8 10 12 20 ' ] ||
    differs "kept_two_periods: resets after $(grep zeroed_fraction "$work/kept_two_periods/metrics.jsonl" | field step - | tr '\n' ' ')"
# So do drops of the rate: there is one after each of the first two restarts.
[ "$(field lr_B "$work/kept_dip/metrics.jsonl" | grep -cE '^0(\.0*)?(e[-+0-9]*)?$')" -eq 3 ] ||
    differs "kept_dip: rates of $(field lr_B "$work/kept_dip/metrics.jsonl" | tr '\n' ' '), expected the first and two more to be 0"
# By default the rank is a quarter of the channels, and the low-rank phase, of 72 updates here, is nine cycles, merged up to its
# half and at its end.
must_train defaults --max-steps 96 --lr 3e-3
restarts_at defaults '32 40 48 56 96' ''
for line in 'rank = 8' 'alpha = 0' 'restart-A = "keep"' 'restart-until = 0.5' 'merge-every = 8' 'reset-every = 8' \
    'restart-warmup-steps = 0' 'reset = "none"' 'lora-lr = 0.0075' 'other-lr = 0.003' 'lora-plus-ratio = 10' 'others = "continue"'; do
    grep -qxF "$line" "$work/defaults/config.toml" || differs "defaults: config.toml has no line '$line'"
done
# Where A is drawn anew there are three cycles, and moments are zeroed.
must_train redrawn --max-steps 96 --lr 3e-3 --restart-A redraw
restarts_at redrawn '48 96' 1
for line in 'restart-A = "redraw"' 'restart-until = 0.5' 'merge-every = 24' 'restart-warmup-steps = 1' 'reset = "zero"'; do
    grep -qxF "$line" "$work/redrawn/config.toml" || differs "redrawn: config.toml has no line '$line'"
done
# lr is in every line of an update, lr_A and lr_B in those of the low-rank phase.
[ "$(field lr "$work/defaults/metrics.jsonl" | wc -l) $(field lr_A "$work/defaults/metrics.jsonl" | wc -l)" = '96 72' ] ||
    differs 'defaults: expected lr in 96 lines, lr_A in 72'
grep -q '"step":25,.*"lr_A":.*"lr_B":' "$work/defaults/metrics.jsonl" || differs 'defaults: no lr_A and lr_B after the switch'
! grep '"phase":"full"' "$work/defaults/metrics.jsonl" | grep -q lr_ || differs 'defaults: lr_A or lr_B in the full-rank phase'
# What the losses show of the others: their moments go on, or start anew at a rate of their own.
[ "$(field loss "$work/others_restart/metrics.jsonl" | head -n 5)" = "$(field loss "$work/kept/metrics.jsonl" | head -n 5)" ] ||
    differs 'others_restart: other losses before the first update after the switch'
[ "$(field loss "$work/others_restart/metrics.jsonl" | tail -n 14)" != "$(field loss "$work/kept/metrics.jsonl" | tail -n 14)" ] ||
    differs 'others_restart: the losses of others that continue'
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
must_train relora_4 --mode relora "${same[@]}" --merge-every 3 --restart-A redraw --restart-warmup-steps 0
must_train relora_kept --mode relora "${same[@]}" --merge-every 3
# losses NAME STEPS: loss and gradient norm of the first updates.
losses() { paste <(field loss "$work/$1/metrics.jsonl") <(field grad_norm "$work/$1/metrics.jsonl") | head -n "$2"; }
[ "$(losses lora_8 8)" = "$(losses relora_8 8)" ] || differs 'lora and relora differ before the first merge'
[ "$(losses lora_8 5)" = "$(losses relora_4 5)" ] || differs 'lora and relora differ before an earlier first merge'
[ "$(losses lora_8 8)" != "$(losses relora_4 8)" ] || differs 'lora and relora are the same after a merge'
[ "$(losses lora_8 5)" = "$(losses relora_kept 5)" ] || differs 'lora and relora that keeps A differ before the first merge'
[ "$(losses lora_8 8)" != "$(losses relora_kept 8)" ] || differs 'lora and relora that keeps A are the same after a merge'
[ "$(losses relora_4 8)" != "$(losses relora_kept 8)" ] || differs 'a restart that keeps A is one that draws it anew'

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

# The paper's recipe sets what is not given, on the command line or in a config file.
paper_shape=(--layers 1 --heads 2 --channels 128 --seq-len 16 --batch-size 1)
# settles NAME LINE…: whether the stored config.toml has these lines.
settles() {
    local line
    for line in "${@:2}"; do grep -qxF "$line" "$work/$1/config.toml" || differs "$1: config.toml has no line '$line'"; done
}
paper() {
    ./train_relora --train-data "$shards/train_*.bin" --out "$work/$1" --device cpu "${paper_shape[@]}" "${quiet[@]}" --max-steps 4 \
        --lr 1e-3 "${@:2}" >"$work/$1.log" 2>&1 || differs "$1: $(tail -n 1 "$work/$1.log")"
}
paper as_published --recipe paper
settles as_published 'recipe = "paper"' 'rank = 128' 'alpha = 32' 'lora-plus-ratio = 1' 'others = "restart"' \
    'restart-A = "redraw"' 'restart-until = 1' 'beta2 = 0.999' 'reset = "magnitude:0.99"' 'moment-bound = "off"' 'lora-lr = 0.002' 'other-lr = 0.002'
paper given --recipe paper --rank 16 --alpha 8 --lora-plus-ratio 2 --others continue --reset zero --beta2 0.95 --moment-bound on \
    --restart-A keep --restart-until 0.75
settles given 'recipe = "paper"' 'rank = 16' 'alpha = 8' 'lora-plus-ratio = 2' 'others = "continue"' \
    'restart-A = "keep"' 'restart-until = 0.75' 'beta2 = 0.95' 'reset = "zero"' 'moment-bound = "on"' 'other-lr = 0.001'
printf 'recipe = "paper"\nrank = 16\nbeta2 = 0.95\n' >"$work/paper.toml"
paper in_file --config "$work/paper.toml" --alpha 8
settles in_file 'recipe = "paper"' 'rank = 16' 'alpha = 8' 'lora-plus-ratio = 1' 'others = "restart"' \
    'restart-A = "redraw"' 'restart-until = 1' 'beta2 = 0.95' 'reset = "magnitude:0.99"' 'moment-bound = "off"'

# Jagged cosine, w = 4, rw = 3, T = 10, floor 0.1: multipliers of updates 0 to 39, and what happens at them.
golden='0 .25 .5 .75 1 .998287614 .993163489 .984666622 .972861679 .957838504 0 .289399351 .578798701 .868198052 .839254424
    .808109396 .775 .740178218 .703909064 .66646857 0 .170259972 .340519944 .510779916 .47185832 .43353143 .396090936 .359821782
    .325 .291890604 0 .060460527 .120921053 .18138158 .160288568 .142161496 .127138321 .115333378 .106836511 .101712386'
schedule() {
    ./train_relora --print-schedule --mode relora "${shape[@]}" --rank 4 --warmup-steps 4 --restart-warmup-steps 3 --lr 0.5 \
        --recipe paper "$@" \
        2>"$work/schedule.log" || differs "--print-schedule: $(cat "$work/schedule.log")"
}
for number in $golden; do echo "$number"; done |
    awk '{ printf "%d\tlowrank\t%.9f\t%s\n", NR - 1, $1, NR % 10 ? "" : "merge,reset" }' >"$work/golden"
schedule --warm-start-steps 0 --max-steps 40 --merge-every 10 --lora-lr 2 >"$work/schedule"
[ "$(head -n 1 "$work/schedule")" = $'step\tphase\tmultiplier\tlr\tlr_A\tlr_B\tevents' ] || differs "--print-schedule: header $(head -n 1 "$work/schedule")"
diff "$work/golden" <(tail -n +2 "$work/schedule" | cut -f 1-3,7) >&2 || differs '--print-schedule differs from the golden values'
# The low-rank phase is the same behind a full-rank one, which follows the cosine of the whole run at its own rate.
schedule --warm-start-steps 5 --max-steps 45 --merge-every 20 --reset-every 10 >"$work/warm"
diff <(cut -f 3 "$work/golden") <(tail -n +7 "$work/warm" | cut -f 3) >&2 || differs 'the schedule after a warm start differs'
events=$(tail -n +2 "$work/warm" | awk -F '\t' '$7 != "" { printf "%s:%s ", $1, $7 }')
[ "$events" = '5:switch 14:reset 24:merge,reset 34:reset 44:merge,reset ' ] || differs "events of the schedule: $events"
awk -F '\t' 'NR > 1 && NR <= 6 { if ($2 != "full" || ($4 - 0.5 * $3) ^ 2 > 1e-14) bad = 1 }
             NR > 6 { if ($2 != "lowrank" || ($4 - 1.0 * $3) ^ 2 > 1e-14 || $5 != $4 || $6 != $4) bad = 1 } END { exit bad }' "$work/warm" ||
    differs 'phases or rates of the schedule: expected multipliers of 0.5, then, for all, of twice that'

# The paper's recipe, 20,000 updates long, by what is not given: updates 5000 on are w = 500, rw = 100, T = 5000.
published='0:0 1:.002 250:.5 499:.998 500:1 501:.999999989 2500:.958408939 4999:.802614871 5000:0 5001:.007944058 5050:.397202881
    5099:.786461705 5100:.794405763 5101:.794323893 9999:.339302347 10000:0 10001:.003306523 10050:.165326154 10100:.330652307
    12500:.164414271 14999:.100000011'
./train_relora --print-schedule --device cpu --recipe paper --max-steps 20000 >"$work/published" || differs '--print-schedule --recipe paper'
for row in $published; do echo "$row"; done |
    awk -F : '{ printf "%d\tlowrank\t%.9f\t%s%s\n", $1 + 5000, $2, $1 == 0 ? "switch" : "", $1 % 5000 == 4999 ? "merge,reset" : "" }' >"$work/golden"
diff "$work/golden" <(awk 'NR == FNR { wanted[$1] = 1; next } $1 in wanted' "$work/golden" "$work/published" | cut -f 1-3,7) >&2 ||
    differs "the schedule of the paper's recipe differs from the golden values"
[ "$(cut -f 7 "$work/published" | grep -c merge)" -eq 3 ] || differs "the paper's recipe: expected 3 merges"
awk -F '\t' 'NR > 5001 && ($4 != $6 || $5 != $6 || ($6 - 1.2e-3 * $3) ^ 2 > 1e-18) { bad = 1 } END { exit bad }' "$work/published" ||
    differs "the paper's recipe: expected one rate for all, twice that of the full-rank phase"
# By default the others go on through the switch as in a full-rank run, B has 2.5 times their peak and never drops, A a tenth of B's.
for mode in relora full; do
    ./train_relora --print-schedule --device cpu --mode $mode --max-steps 2000 --warmup-steps 50 >"$work/$mode.tsv" || differs "--print-schedule --mode $mode"
done
diff <(cut -f 1,4 "$work/relora.tsv") <(cut -f 1,4 "$work/full.tsv") >&2 || differs 'the rate of the others is not that of a full-rank run'
awk -F '\t' 'NR > 501 { if (($5 * 10 - $6) ^ 2 > 1e-22 || ($6 - 1.5e-3 * $3) ^ 2 > 1e-20) bad = 1
                         if (NR > 552 && $6 > before) bad = 1; before = $6 } END { exit bad || NR != 2001 }' "$work/relora.tsv" ||
    differs 'the rates of A and B by default: expected 2.5 x lr x multiplier for B, without drops, a tenth of it for A'
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
