#!/bin/bash
# Ranks compute what one rank computes that accumulates as many micro-batches: through the switch, merges, resets of every
# kind, and a resume on another number of ranks. RANKS_ON=cuda does it on the CUDA half, by NCCL's stand-in.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
shape=(--layers 2 --heads 2 --channels 64 --seq-len 32 --batch-size 2)
# 12 micro-batches an update, so that 1, 2, 3 and 4 ranks have the same number each. A restart keeps A and all
# moments, where nothing else is asked for.
method=(--mode relora --rank 4 --max-steps 12 --warm-start-steps 3 --merge-every 3 --restart-until 1 --restart-warmup-steps 1
    --warmup-steps 1 --lr 1e-3 --eval-every 3 --eval-batches 7 --total-batch-tokens 768 --check-every 1 --adapter-route merged)

# tensors_that_differ FILE FILE
tensors_that_differ() {
    python3 - "$1" "$2" <<'END'
import json, struct, sys
def load(path):
    data = open(path, 'rb').read()
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    return {name: data[8 + size + t['data_offsets'][0]:8 + size + t['data_offsets'][1]]
            for name, t in header.items() if name != '__metadata__'}
one, other = load(sys.argv[1]), load(sys.argv[2])
print(*sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))
END
}

# After one update of as many micro-batches as there are ranks all bits are the same, but for what one op adds up row by row
# over micro-batches: the embeddings' gradients. (The token embedding's holds the head's, too.)
echo '== one update'
for ranks in 2 3 4; do
    tokens=$((64 * ranks))
    must_run 0 "first$ranks.one" --mode full --max-steps 1 --warmup-steps 0 --total-batch-tokens $tokens
    must_run "$ranks" "first$ranks" --mode full --max-steps 1 --warmup-steps 0 --total-batch-tokens $tokens
    found=$(tensors_that_differ "$work/first$ranks/step_00000001/model.safetensors" "$work/first$ranks.one/step_00000001/model.safetensors")
    for name in $found; do
        [[ $name == transformer.wte.weight || $name == transformer.wpe.weight ]] || differs "$ranks ranks: $name differs after one update"
    done
done

# A whole run: the numbers of one rank, to rounding, and the same on every repetition. The CUDA half trains in bf16, where sums
# of many micro-batches in another order now and then round a weight the other way: one moves a loss by 1e-5 to 1e-4.
echo '== whole runs'
near=3e-6
[ "$device" = cpu ] || near=1e-3
must_run 0 one "${method[@]}"
for ranks in 1 2 3 4; do
    must_run $ranks "ranks$ranks" "${method[@]}" --save-every 1 --keep 0
    close "ranks$ranks" one loss $near
    close "ranks$ranks" one val_loss $near
    close "ranks$ranks" one loss_after $near
    [ "$(field event "$work/ranks$ranks/metrics.jsonl" | grep -c restart)" -eq 3 ] || differs "$ranks ranks: expected 3 restarts"
done
must_run 3 again "${method[@]}" --save-every 12
same_bits again ranks3 12

# Who keeps moments and masters changes no number.
echo '== sharing'
must_run 3 whole "${method[@]}" --shard-optimizer off
same_bits whole ranks3 12
for reset in zero random:0.9 magnitude:0.99; do
    must_run 0 "one_$reset" "${method[@]}" --restart-A redraw --reset $reset --reset-adam-step
    must_run 3 "ranks_$reset" "${method[@]}" --restart-A redraw --reset $reset --reset-adam-step
    close "ranks_$reset" "one_$reset" loss $near
    close "ranks_$reset" "one_$reset" zeroed_fraction 0
done
# Moments and schedule of the others from the switch on, and one rate for all: both are kept in parts. The bound is on, as an m
# without it multiplies what sums in another order differ by.
must_run 0 one_paper "${method[@]}" --recipe paper --moment-bound on
must_run 3 paper "${method[@]}" --recipe paper --moment-bound on
close paper one_paper loss $near
close paper one_paper zeroed_fraction 0
# Dropout draws by micro-batch, whoever has it.
must_run 0 one_dropout "${method[@]/merged/factored}" --lora-dropout 0.2
must_run 3 dropout "${method[@]/merged/factored}" --lora-dropout 0.2
close dropout one_dropout loss $near

# bf16: masters are shared, too. On a CPU a rank that has all of them adds adapters to these, another one to the weights,
# which are rounded.
must_run 0 one_bf16 "${method[@]}" --dtype bf16
must_run 3 ranks_bf16 "${method[@]}" --dtype bf16 --save-every 4 --keep 0
close ranks_bf16 one_bf16 loss 1e-3
if [ "$device" = cuda ]; then
    must_run 3 whole_bf16 "${method[@]}" --dtype bf16 --shard-optimizer off
    same_bits whole_bf16 ranks_bf16 12
fi
must_run 3 reduced_bf16 "${method[@]}" --reduce-dtype bf16
close reduced_bf16 one loss 2e-2
! cmp -s "$work/reduced_bf16/step_00000012/model.safetensors" "$work/ranks3/step_00000012/model.safetensors" ||
    differs 'gradients were not reduced in bf16'

# resumed NAME STEP RANKS TO: the run NAME, gone on with after a step on as many ranks, as $work/TO.
resumed() {
    local code=0 from
    cp -r "$work/$1" "$work/$4"
    rm -r "$work/$4/export"
    for from in "$work/$4"/step_*; do
        [ "$((10#${from##*step_}))" -le "$2" ] || rm -r "$from"
    done
    run_ranks "$3" "$4" "${method[@]}" "${@:5}" --resume --save-every 4 || code=$?
    [ "$code" -eq 0 ] || differs "$4: exit code $code: $(tail -n 1 "$work/$4.log")"
}
# On as many ranks the bits are the same; on others the windows are, and so the numbers to rounding.
echo '== resume'
for step in 2 3 6 7; do
    resumed ranks3 "$step" 3 "same$step"
    same_bits "same$step" ranks3 12
    rm -r "$work/same$step"
done
resumed ranks_bf16 8 3 same_bf16 --dtype bf16
same_bits same_bf16 ranks_bf16 12
for ranks in 0 2 4; do
    resumed ranks3 5 $ranks "on$ranks"
    close "on$ranks" one loss $near
    [ "$(grep -A 3 '"data"' "$work/on$ranks/step_00000012/state.json")" = "$(grep -A 3 '"data"' "$work/one/step_00000012/state.json")" ] ||
        differs "resumed on $ranks ranks: another place in the data"
done
finish
