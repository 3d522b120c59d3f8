# What the recipes share: arithmetic, its print-out, and the start. A recipe sets the variables and calls `recipe "$@"`.
# shellcheck shell=bash disable=SC2154  # the scripts that source this set the variables
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
name=$(basename "$0")
fail() { echo "$name: $*" >&2; exit 2; }
usage() {
    sed -n '2s/^# //p' "$0"
    cat <<TEXT
  scripts/recipes/$name --gpus N --train GLOB --val GLOB [--nodes M] [--batch-size B] [--out FOLDER] [--plan] [OPTION…]
    --gpus N           GPUs in all
    --train, --val     shards of GPT-2's tokens, each a quoted glob, as llm.c's script for FineWeb or data/tokenize makes them
    --nodes M          submits a job of Slurm for M nodes; without it the run starts here, on this machine's GPUs
    --batch-size B     sequences in a micro-batch (default: $batch_size, for 80 GB; a resume keeps that of the start)
    --plan             only prints what the run takes
    OPTION…            more options of ./train_relora
The same command again goes on after a stop. TRAINER=FILE names another build of the program.
TEXT
}

recipe() {
    local gpus='' nodes='' train='' val='' plan='' out=runs/${name%.sh} more=() trainer=${TRAINER:-$root/train_relora}
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --plan) plan=1; shift; continue ;;
            --gpus | --nodes | --train | --val | --batch-size | --out) [ $# -gt 1 ] || fail "$1 needs a value" ;;&
            --gpus | --nodes | --batch-size) [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || fail "$1 $2 is not a number" ;;&
            --gpus) gpus=$2 ;;
            --nodes) nodes=$2 ;;
            --batch-size) batch_size=$2 ;;
            --train) train=$2 ;;
            --val) val=$2 ;;
            --out) out=$2 ;;
            *) more+=("$1"); shift; continue ;;
        esac
        shift 2
    done
    [ -n "$gpus" ] || { usage >&2; fail '--gpus is missing'; }
    [ -n "$plan" ] || { [ -n "$train" ] && [ -n "$val" ]; } || fail '--train and --val are missing: the shards, each a quoted glob'
    [ -z "$nodes" ] || [ $((gpus % nodes)) -eq 0 ] || fail "--gpus $gpus on --nodes $nodes: should be a multiple of it"
    [ -x "$trainer" ] || fail "$trainer is not built: run make"

    # A micro-batch becomes smaller until whole ones make about as many tokens of an update as the recipe has.
    local seq_len=1024 wanted=$total_batch_tokens micro accumulation off
    while :; do
        micro=$((gpus * batch_size * seq_len))
        accumulation=$(((wanted + micro / 2) / micro))
        total_batch_tokens=$((accumulation * micro)) off=$((accumulation * micro - wanted))
        if [ "$batch_size" -eq 1 ] || [ $((${off#-} * 16)) -le "$wanted" ]; then break; fi
        batch_size=$((batch_size / 2))
    done
    [ "$accumulation" -gt 0 ] || fail "--gpus $gpus: a sequence for each is $micro tokens in an update, more than twice $wanted"

    local options=(--model "$model" --mode relora --dtype bf16 --device cuda --seq-len "$seq_len" --batch-size "$batch_size"
        --total-batch-tokens "$total_batch_tokens" --max-steps "$max_steps" --warm-start-steps "$warm_start_steps"
        --merge-every "$merge_every" --rank "$rank" --adapter-route merged --lr "$lr" --warmup-steps "$warmup_steps"
        --weight-decay 0.1 --grad-clip 1 "${more[@]}")
    local merges
    merges=$("$trainer" --dry-run --print-schedule --ranks "$gpus" --train-data none "${options[@]}" |
        awk -F '\t' '$7 ~ /merge/ { merges++ } END { print merges }')

    local cycles=$(((max_steps - warm_start_steps) / merge_every))
    echo "$name: $model on $gpus GPUs"
    echo "  update    $total_batch_tokens tokens = $gpus GPUs x $accumulation micro-batches x $batch_size x $seq_len"
    echo "  run       $max_steps updates = $warm_start_steps full-rank + $cycles cycles of $merge_every at rank $rank"
    echo "  merges    $merges, the last at the end of the run"
    echo "  tokens    $((max_steps * total_batch_tokens))"
    "$trainer" --dry-run --ranks "$gpus" --train-data none "${options[@]}" | awk '
        /^sent/ { print "  " $0 }
        /^memory/ { found = 1; print "  memory of a GPU, MiB, as planned; full-rank, low-rank"; next }
        found && !/-rank/ { print "  " $0 }'
    if command -v python3 >/dev/null; then
        python3 "$root/dev/bench/scaling.py" --model "$model" --gpus "$gpus" --batch-size "$batch_size" --rank "$rank" \
            --total-batch-tokens "$total_batch_tokens" --max-steps "$max_steps" --warm-start-steps "$warm_start_steps" 2>/dev/null |
            sed 's/^/  time      /' || echo '  time      not computed for this number of GPUs'
    fi
    [ -z "$plan" ] || exit 0

    # What decides no number of the run, and may differ from start to start.
    options+=(--train-data "$train" --val-data "$val" --out "$out" --eval-every 250 --eval-batches 20 --save-every 500)
    export TRAINER=$trainer
    if [ -n "$nodes" ]; then
        exec sbatch --job-name="${name%.sh}" --nodes="$nodes" --ntasks-per-node=$((gpus / nodes)) \
            --gpus-per-node=$((gpus / nodes)) "$root/scripts/slurm/relora.sbatch" "${options[@]}"
    fi
    if compgen -G "$out/step_*/state.json" >/dev/null; then options+=(--resume); fi
    exec "$root/scripts/launch_gpus.sh" "$gpus" "${options[@]}"
}
