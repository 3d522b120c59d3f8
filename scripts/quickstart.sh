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

cycles=$(((max_steps - warm_start_steps) / merge_every))
heading "ReLoRA: $warm_start_steps full-rank updates, then $cycles cycles of $merge_every updates at rank $rank"
train relora "$out" "${low_rank[@]}" --merge-every "$merge_every"

if [ "$compare" ]; then
    heading "full-rank: the same $max_steps updates"
    train full "$out-full"
    heading "LoRA: the same warm start, then rank $rank without restarts"
    train lora "$out-lora" "${low_rank[@]}"

    last_val_loss() { grep -o '"val_loss": *[^,}]*' "$1/metrics.jsonl" | tail -n 1 | sed 's/.*: *//'; }
    heading "validation loss after $max_steps updates"
    printf '  %-10s %-9s %s\n' mode loss 'run folder'
    for row in "full $out-full" "relora $out" "lora $out-lora"; do
        loss=$(last_val_loss "${row#* }")
        LC_ALL=C printf '  %-10s %-9.4f %s\n' "${row%% *}" "${loss/null/nan}" "${row#* }"
    done
fi

printf '\nTry next: '
if [ "$compare" ]; then
    echo './train_relora --help, or your own text: data/tokenize --out data/mine/shards YOUR_FILE.txt'
else
    echo './scripts/quickstart.sh --compare     (ReLoRA beside full-rank and LoRA, same steps, same data)'
fi
