#!/bin/bash
# Options that can't be right, numbers that no machine has room for, and defaults that line up: one line each, at once.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
make_shards
ulimit -v 8000000  # KiB

# refused CODE TEXT OPTION…: what is refused in one line, within seconds, and leaves nothing.
refused() {
    local wanted=$1 text=$2 code=0
    shift 2
    timeout 60 ./train_relora "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    if [ "$code" -ne "$wanted" ] || [ "$(wc -l <"$work/stderr")" -ne 1 ] || ! grep -qF -- "$text" "$work/stderr"; then
        differs "$*: exit code $code, expected $wanted and '$text': $(cat "$work/stderr")"
    fi
    [ ! -e "$work/out" ] || differs "$*: left a run folder"
    rm -rf "$work/out"
}

# Values.
refused 2 '--seed: -1 is not between 0 and 9223372036854775807' --seed -1
refused 2 '--lr: nan is not a number' --lr nan
refused 2 '--lr: inf is not between 0 and 1000' --lr inf
refused 2 "--batch-size: '1e3' is not a whole number" --batch-size 1e3
refused 2 "--max-steps: '1_000' is not a whole number" --max-steps 1_000
refused 2 "--max-steps: '' is not a whole number" --max-steps ''
refused 2 '--lr: 0x1 is not a number' --lr 0x1
refused 2 "--device: 'CUDA' is not one of auto, cpu, cuda" --device CUDA
refused 2 "--resume: 'maybe' is neither true nor false" --resume=maybe
refused 2 '--out is empty' --out ''
refused 2 '--train-data is empty' --train-data ''
refused 2 '--lr is given 2 times' --lr 1 --lr 1
refused 2 '--config is given 2 times' --config a --config a
refused 2 '--prompt is given without a value' --prompt
refused 2 'stray' stray
refused 2 '--resume needs --out' --resume=true

# Numbers, on the command line, in a config file and in a model's own.
data=(--train-data "$shards/train_*.bin" --out "$work/out" --device cpu --threads 2 --sample-tokens 0)
huge=1099511627776
for option in layers heads channels seq-len vocab-size positions batch-size; do
    refused 2 "--$option: $huge is not between" "${data[@]}" "--$option" "$huge"
    echo "$option = $huge" >"$work/huge.toml"
    refused 2 "huge.toml line 1: $option: $huge is not between" "${data[@]}" --config "$work/huge.toml"
    refused 2 "--$option: 99999999999999999999 is not between" "${data[@]}" "--$option" 99999999999999999999
done
refused 2 '--heads: 1099511627775 is not between 1 and 4096' "${data[@]}" --layers 1 --heads 1099511627775 --channels "$huge"
refused 2 "--rank $huge is above 32" "${data[@]}" "${shape[@]}" --rank "$huge"
refused 2 'tokens in a micro-batch are more than' "${data[@]}" --batch-size 2147483647 --seq-len 16777216 --positions 16777216
refused 2 'more than 64 bits can count' "${data[@]}" "${shape[@]}" --mode full --max-steps "$huge" --total-batch-tokens "$huge"
mkdir "$work/hub"
for key in vocab_size n_positions n_layer n_head n_embd; do
    for number in 0 -3 "$huge"; do
        {
            echo '{"model_type": "gpt2", "vocab_size": 257, "n_positions": 32, "n_layer": 2, "n_head": 2, "n_embd": 32}'
        } | sed "s/\"$key\": [0-9]*/\"$key\": $number/" >"$work/hub/config.json"
        refused 1 "config.json: \"$key\" is $number, it should be a whole number from 1 to" "${data[@]}" --init-from "$work/hub" --mode lora
    done
done

# Kernels for a GPU, of which the shapes are known without one.
refused 2 "--attention: 'flash' is not one of auto, mma, wgmma" --attention flash
refused 2 '--attention wgmma needs a GPU; use --attention auto' "${data[@]}" "${shape[@]}" --attention wgmma
planned=(--dry-run --device cuda --layers 2 --heads 2 --seq-len 32 --vocab-size 257)
refused 2 '--attention wgmma needs bf16, not fp32' "${planned[@]}" --channels 128 --dtype fp32 --attention wgmma
refused 2 '--attention mma needs heads of 64 or 128 channels, not 16' "${planned[@]}" --channels 32 --attention mma

# Memory: what there is decides before anything is allocated, and a dry run plans for a machine that isn't here.
large=(--layers 96 --heads 96 --channels 12288 --seq-len 2048 --batch-size 4 --max-steps 4)
refused 1 'the full-rank phase needs' "${data[@]}" "${large[@]}" --mode full
for text in ' GiB can be had here' 'a smaller --batch-size or --seq-len'; do
    grep -qF -- "$text" "$work/stderr" || differs "too large: expected '$text' in: $(cat "$work/stderr")"
done
refused 1 'the low-rank phase needs' "${data[@]}" "${large[@]}" --mode lora
./train_relora "${data[@]}" "${large[@]}" --mode full --dry-run >"$work/dry.log" 2>&1 || differs "dry run: $(tail -n 1 "$work/dry.log")"
grep -q '^parameters  *17' "$work/dry.log" || differs "dry run: $(grep '^parameters' "$work/dry.log")"
refused 2 'more than 64 bits can count' "${data[@]}" --layers 4096 --heads 1 --channels 1048576 --seq-len 16777216 --batch-size 127 \
    --mode full --dry-run

# Options that change nothing in a run are named.
must_train idle --mode full --max-steps 1 --rank 4 --reset zero --restart-warmup-steps 3
grep -qx 'without effect in this run: --reset, --restart-warmup-steps, --rank' "$work/idle.log" ||
    differs "options without effect: $(head -n 3 "$work/idle.log")"
must_train idle_method --mode full --max-steps 1 --restart-A redraw --alpha 8 --lora-plus-ratio 2 --others restart --other-lr 1e-3
grep -qx 'without effect in this run: --restart-A, --alpha, --lora-plus-ratio, --others, --other-lr' "$work/idle_method.log" ||
    differs "options of the method without effect: $(head -n 3 "$work/idle_method.log")"
must_train idle_restarts --mode lora --max-steps 1 --restart-A redraw --restart-until 1
grep -qx 'without effect in this run: --restart-A, --restart-until' "$work/idle_restarts.log" ||
    differs "options of restarts in lora: $(head -n 3 "$work/idle_restarts.log")"
must_train used --mode relora --max-steps 4 --rank 4 --reset zero
! grep 'without effect' "$work/used.log" || differs 'options that have an effect are said to have none'

# The command of README for a new run from old weights: its defaults line up.
must_train base --mode full --max-steps 2
for length in '' '--max-steps 19997' '--max-steps 1'; do
    # shellcheck disable=SC2086  # the option is two words
    ./train_relora "${data[@]}" --init-from "$work/base/export" --batch-size 4 --seq-len 32 --rank 4 $length --dry-run \
        >"$work/dry.log" 2>&1 || differs "--init-from $length: $(tail -n 1 "$work/dry.log")"
done
finish
