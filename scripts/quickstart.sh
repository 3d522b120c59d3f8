#!/bin/bash
# From nothing to a GPT-2 pretrained with ReLoRA on Jane Austen: set-up, build, text, tokens, training, in one command.
#   scripts/quickstart.sh [--compare] [--threads N] [--out DIR]
#     --compare      also train full-rank and with LoRA (same steps, same data), and print the three losses
#     --threads N    CPU threads (default: all)
#     --out DIR      the run folder (default: runs/quickstart-DATE-TIME)
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."

. scripts/recipe.bash

compare='' threads=() out=runs/quickstart-$(date +%Y%m%d-%H%M%S)
usage() { sed -n '3,6s/^# *//p' "$0"; }
while [ $# -gt 0 ]; do
    case $1 in
        --compare) compare=1; shift ;;
        --threads) [ $# -gt 1 ] || { echo 'quickstart.sh: --threads needs a number' >&2; exit 2; }
                   threads=(--threads "$2"); shift 2 ;;
        --out) [ $# -gt 1 ] || { echo 'quickstart.sh: --out needs a folder' >&2; exit 2; }
               out=$2; [[ $out == /* || $caller == "$PWD" ]] || out=$caller/$out
               shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) echo "quickstart.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
    esac
done
heading() { printf '\n== %s\n' "$*"; }

heading 'set-up and build'
scripts/setup.sh
start=$SECONDS
mkdir -p build
make -j"$(nproc)" >build/make.log 2>&1 || {
    grep -E -A6 'error|undefined reference' build/make.log | head -n 40 >&2 || true
    echo 'quickstart.sh: the build failed; everything it said is in build/make.log' >&2
    exit 1
}
echo "built ./train_relora and data/tokenize in $((SECONDS - start)) s"

heading 'text: six novels by Jane Austen; train on five, validate on Persuasion'
data/make_austen_shards.sh

# train MODE RUN_FOLDER [OPTION…]
train() {
    local mode=$1 folder=$2
    shift 2
    ./train_relora --mode "$mode" --out "$folder" "$@" \
        "${data[@]}" "${shape[@]}" "${course[@]}" "${threads[@]}" --log-every 50
}

heading "ReLoRA: $warm_start_steps full-rank updates, then $((max_steps - warm_start_steps)) at low rank"
train relora "$out" "${low_rank[@]}"

if [ "$compare" ]; then
    heading "full-rank: the same $max_steps updates"
    train full "$out-full"
    heading "LoRA: the same warm start, then the same rank without restarts"
    train lora "$out-lora" "${low_rank[@]}"

    last_val_loss() { grep -o '"val_loss": *[^,}]*' "$1/metrics.jsonl" | tail -n 1 | sed 's/.*: *//'; }
    # Each update's tokens over its rate: without validation and what comes at the start.
    training_seconds() {
        grep -o '"tokens":[0-9]*,"tokens_per_s":[0-9.e+]*' "$1/metrics.jsonl" |
            awk -F '[:,]' '{ sum += ($2 - before) / $4; before = $2 } END { print sum }'
    }
    # What weights, gradients, moments and activations take in the last phase of such a run.
    memory() {
        ./train_relora --dry-run --mode "$1" "${data[@]}" "${shape[@]}" "${course[@]}" "${@:2}" |
            awk '$1 == "total" { print $NF }'
    }
    heading "after $max_steps updates"
    printf '  %-8s %15s %12s %12s  %s\n' mode 'validation loss' 'training, s' 'memory, MiB' 'run folder'
    row() {
        local loss
        loss=$(last_val_loss "$2")
        LC_ALL=C printf '  %-8s %15.4f %12.1f %12.1f  %s\n' "$1" "${loss/null/nan}" "$(training_seconds "$2")" \
            "$(memory "$1" "${@:3}")" "$2"
    }
    row full "$out-full"
    row relora "$out" "${low_rank[@]}"
    row lora "$out-lora" "${low_rank[@]}"
fi

printf '\nTry next: '
if [ "$compare" ]; then
    echo './train_relora --help, or your own text: data/tokenize --out data/mine/shards YOUR_FILE.txt'
else
    echo './scripts/quickstart.sh --compare     (ReLoRA beside full-rank and LoRA, same steps, same data)'
fi
