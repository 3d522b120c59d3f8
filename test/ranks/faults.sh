#!/bin/bash
# A rank that dies, stops, fails or never comes ends the others soon, with one message that names it; nothing is left half
# written, and a resume goes on. Signals save once. RANKS_ON=cuda does it by NCCL's stand-in.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode relora --rank 4 --max-steps 12 --warm-start-steps 3 --merge-every 3 --restart-warmup-steps 1 --warmup-steps 1
    --lr 1e-3 --eval-every 3 --eval-batches 2 --total-batch-tokens 384 --adapter-route merged)
# The same course, but so slow that there is time to disturb it. The executor is slow by itself.
slowly=("${method[@]}" --save-every 2 --keep 0)
[ "$device" = cuda ] || slowly=("${slowly[@]/384/19200}")

# seconds_of COMMAND…: how long it took is in $took, its exit code in $code.
seconds_of() {
    local begin=$SECONDS
    code=0
    "$@" || code=$?
    took=$((SECONDS - begin))
}
# pid_of NAME RANK: the process of a running job's rank.
pid_of() {
    local pid
    for pid in $(pgrep -f -- "--out $work/$1 "); do
        [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$trainer")" ] || continue
        if tr '\0' '\n' <"/proc/$pid/environ" | grep -qE "^(OMPI_COMM_WORLD|RELORA)_RANK=$2$"; then echo "$pid"; fi
    done
}
# when_under_way NAME STEP: returns once the run has reported so many updates.
when_under_way() {
    local i reported
    for ((i = 0; i < 1200; i++)); do
        reported=$(grep -c '"loss"' "$work/$1/metrics.jsonl" 2>/dev/null || true)
        [ "${reported:-0}" -lt "$2" ] || return 0
        sleep 0.05
    done
    differs "$1: update $2 was not reached: $(tail -n 3 "$work/$1.log")"
}
# says NAME PATTERN [CODE]: the job's only error line matches, it ended with that code, and left no temporary file. (What
# mpirun starts writes to a terminal, where an error comes behind the progress.)
says() {
    local name=$1 pattern=$2 expected=${3:-1} lines
    lines=$(grep -c 'train_relora: ' "$work/$name.log" || true)
    [ "$lines" -eq 1 ] || differs "$name: expected one error line, there are $lines: $(cat "$work/$name.log")"
    grep -qE -- "$pattern" "$work/$name.log" || differs "$name: expected '$pattern' in: $(cat "$work/$name.log")"
    [ "$code" -eq "$expected" ] || differs "$name: exit code $code, expected $expected"
    [ -z "$(find "$work/$name" -name '.train_relora.*' 2>/dev/null)" ] || differs "$name: left $(find "$work/$name" -name '.train_relora.*')"
    [ -z "$(find "$work/$name" -name '.rank*' 2>/dev/null)" ] || differs "$name: left $(find "$work/$name" -name '.rank*')"
}
# goes_on NAME: a resume ends as the run that nobody disturbed.
goes_on() {
    seconds_of run_ranks 3 "$1" "${slowly[@]}" --resume
    [ "$code" -eq 0 ] || differs "$1: the resume ended with code $code: $(tail -n 2 "$work/$1.log")"
    same_bits "$1" undisturbed 12
}
must_run 3 undisturbed "${slowly[@]}"

echo '== a rank dies'
for rank in 1 0; do
    run_ranks 3 died$rank "${slowly[@]}" &
    when_under_way died$rank 5
    kill -KILL "$(pid_of died$rank $rank)"
    seconds_of wait $!
    [ "$took" -le 20 ] || differs "died$rank: the others took $took s to stop"
    [ "$code" -ne 0 ] || differs "died$rank: exit code 0"
    grep -qE "rank $rank" "$work/died$rank.log" || differs "died$rank: the log doesn't name the rank: $(cat "$work/died$rank.log")"
    goes_on died$rank
done

echo '== a rank stops'
run_ranks 3 stopped "${slowly[@]}" --rank-timeout 5 &
when_under_way stopped 5
kill -STOP "$(pid_of stopped 2)"
seconds_of wait $!
says stopped 'rank 2 ' "$code"
if [ "$code" -eq 0 ] || [ "$took" -gt 40 ]; then differs "stopped: code $code after $took s"; fi
goes_on stopped

echo '== signals'
run_ranks 3 one_signal "${slowly[@]}" &
when_under_way one_signal 5
kill -TERM "$(pid_of one_signal 1)"
seconds_of wait $!
[ "$code" -eq 143 ] || differs "one_signal: exit code $code, expected 143: $(tail -n 2 "$work/one_signal.log")"
[ "$(grep -c 'stopped by a signal' "$work/one_signal.log")" -eq 1 ] || differs "one_signal: $(cat "$work/one_signal.log")"
goes_on one_signal
run_ranks 3 all_signals "${slowly[@]}" &
when_under_way all_signals 5
kill -TERM "$(pid_of all_signals 0)" "$(pid_of all_signals 1)" "$(pid_of all_signals 2)"
seconds_of wait $!
[ "$code" -eq 143 ] || differs "all_signals: exit code $code, expected 143"
[ "$(grep -c 'stopped by a signal' "$work/all_signals.log")" -eq 1 ] || differs "all_signals: $(cat "$work/all_signals.log")"
goes_on all_signals

echo '== a rank fails'
# each_in NAME OPTION…: two ranks of $work/NAME, each in a folder of its own, where a relative path names its own file.
each_in() {
    local name=$1
    shift
    mkdir -p "$work/here0" "$work/here1"
    cat >"$work/each.sh" <<'END'
#!/bin/bash
cd "$1/here${OMPI_COMM_WORLD_RANK:-${RANK:-0}}" && shift
[ ! -e limits ] || . ./limits
exec "$@"
END
    local line=(bash "$work/each.sh" "$work" "$(readlink -f "$trainer")" --device "$device" --out "$work/$name" "${shape[@]}"
        "${quiet[@]}" "$@") port=$((20000 + RANDOM % 10000))
    code=0
    if [ "$device" = cpu ]; then
        timeout 120 "${start[@]}" 2 "${line[@]}" >"$work/$name.log" 2>&1 </dev/null || code=$?
    else
        export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port
        RANK=1 LOCAL_RANK=1 timeout 120 "${line[@]}" >"$work/$name.1.log" 2>&1 </dev/null &
        RANK=0 LOCAL_RANK=0 timeout 120 "${line[@]}" >"$work/$name.log" 2>&1 </dev/null || code=$?
        wait $! && code=0
        cat "$work/$name.1.log" >>"$work/$name.log"
        unset WORLD_SIZE MASTER_ADDR MASTER_PORT
    fi
}
for rank in 0 1; do
    mkdir -p "$work/here$rank/data"
    cp "$shards"/* "$work/here$rank/data"
done
on_data=("${method[@]/384/256}" --train-data 'data/train_*.bin' --val-data 'data/val_*.bin')
# A token in the middle of a shard that is none of the vocabulary.
bad=$work/here1/data/train_000000.bin
for ((place = 10000; place < 60000; place += 200)); do
    printf '\xff\xff' | dd of="$bad" bs=1 seek=$((1024 + place)) conv=notrunc status=none
done
each_in bad_shard "${on_data[@]}"
says bad_shard 'rank 1 has .*train_000000.bin' 2
cp "$shards/train_000000.bin" "$bad"

# The same option, other weights: ranks compare before they train.
must_run 0 base0 --mode full --max-steps 1 --seed 1
must_run 0 base1 --mode full --max-steps 1 --seed 2
for rank in 0 1; do cp -r "$work/base$rank/step_00000001" "$work/here$rank/base"; done
each_in other_weights "${on_data[@]}" --init-from base
says other_weights 'no longer have the same weights at the start: transformer.wte.weight of rank 1 differs from that of rank 0'

if [ "$device" = cpu ]; then
    # One rank has no memory, the other's disk is full.
    echo 'ulimit -v 550000' >"$work/here1/limits"
    small=("${shape[@]}") shape=(--layers 12 --heads 2 --channels 32 --seq-len 32 --batch-size 512)
    each_in no_memory "${method[@]/384/32768}" --train-data 'data/train_*.bin'
    shape=("${small[@]}")
    grep -qE "rank 1" "$work/no_memory.log" || differs "no_memory: $(cat "$work/no_memory.log")"
    [ "$code" -ne 0 ] || differs 'no_memory: exit code 0'
    rm "$work/here1/limits"
    echo 'ulimit -f 40' >"$work/here0/limits"
    each_in full_disk "${on_data[@]}" --save-every 4
    says full_disk 'cannot write .*safetensors: File too large'
    rm "$work/here0/limits"
    each_in full_disk "${on_data[@]}" --save-every 4 --resume
    [ "$code" -eq 0 ] || differs "full_disk: with room the run doesn't begin: $(tail -n 1 "$work/full_disk.log")"

    # Ranks that were started with other options, or that never come.
    code=0
    line=("$trainer" --device cpu --train-data "$shards/train_*.bin" --out "$work/options" --rank 4 "${shape[@]}" "${quiet[@]}")
    timeout 60 "${start[@]}" 1 "${line[@]}" --lr 1e-3 : -np 1 "${line[@]}" --lr 2e-3 >"$work/options.log" 2>&1 || code=$?
    says options 'lr = 0\.00[12]' 2
fi
code=0
RANK=0 WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((30000 + RANDOM % 10000)) timeout 60 "$trainer" --device "$device" \
    --train-data "$shards/train_*.bin" --out "$work/missing" --rank 4 "${shape[@]}" "${quiet[@]}" --rank-patience 2 \
    >"$work/missing.log" 2>&1 || code=$?
says missing 'ranks? 1(,| and) 2'
finish
