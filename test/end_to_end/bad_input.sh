#!/bin/bash
# What bad input gets: the exit code, one line that names the thing and what would be right, and nothing written.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
out=$work/out

# check_refusal NAME CODE WANTED_CODE TEXT: checks what a command that was refused left in $work/stderr.
check_refusal() {
    [ "$2" -eq "$3" ] || differs "$1: exit code $2, expected $3: $(head -n 1 "$work/stderr")"
    [ "$(wc -l <"$work/stderr")" -eq 1 ] || differs "$1: $(wc -l <"$work/stderr") lines on stderr, expected 1"
    grep -qF -- "$4" "$work/stderr" || differs "$1: expected '$4' in: $(cat "$work/stderr")"
}
# refused CODE TEXT OPTION…: the tiny run with these options added, which must not leave an $out.
refused() {
    local wanted=$1 text=$2 code=0
    shift 2
    ./train_relora --train-data "$shards/train_*.bin" --out "$out" "${base[@]}" "${quiet[@]}" "$@" \
        >"$work/stdout" 2>"$work/stderr" || code=$?
    check_refusal "$*" "$code" "$wanted" "$text"
    [ ! -e "$out" ] || differs "$*: left $(find "$out" | tr '\n' ' ')"
    rm -rf "$out"
}
sized=("${shape[@]}" --max-steps 4 --rank 4)

# The command line. A later option does not override an earlier one, so each table has what its rows leave open.
base=("${sized[@]}")
refused 2 '--no-such-option' --no-such-option 3
refused 2 'stray' stray
refused 2 '--lr' --lr fast
refused 2 '--lr' --lr -1
refused 2 '--lr: nan is not a number' --lr nan
refused 2 '--lora-dropout: -NaN is not a number' --lora-dropout -NaN
refused 2 '--eps 0 is too small' --eps 0
refused 2 '--mode' --mode rolera
refused 2 '--dtype' --dtype fp8
refused 2 '--masters none is for --dtype bf16' --mode full --masters none --dtype fp32
refused 2 '--masters none: --mode relora merges into fp32 weights' --dtype bf16 --masters none
refused 2 '--adapter-route merged has no input to drop from' --adapter-route merged --lora-dropout 0.1
refused 2 '--schedule' --schedule jagged
refused 2 '--beta2' --beta2 1.5
refused 2 '--lora-dropout' --lora-dropout 1
refused 2 '--model gpt2 and --layers' --model gpt2
refused 2 '--max-steps 4 and --max-tokens 1280' --max-tokens 1280
refused 2 '--max-tokens 100 is less than one update of 128' --max-tokens 100
refused 2 '--merge-every is for --mode relora, not full' --mode full --merge-every 2
refused 2 '--merge-every is for --mode relora, not control' --mode control --merge-every 2
refused 2 '--merge-every is for --mode relora' --mode lora --merge-every 2
refused 2 '--reset-every is for --mode relora' --mode lora --reset-every 2
refused 2 '--warm-start-steps is for --mode lora or relora, not full' --mode full --warm-start-steps 2
refused 2 '--warm-start-steps 4 leaves nothing of --max-steps 4' --mode relora --warm-start-steps 4
refused 2 "--reset all is unknown; it is zero, random:P, magnitude:P or none" --reset all
refused 2 "'2' is not a fraction between 0 and 1" --reset random:2
refused 2 "'lots' is not a fraction between 0 and 1" --reset magnitude:lots
refused 2 "'' is not a fraction between 0 and 1" --reset magnitude
refused 2 "'attn.q' is not one of attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj" --targets attn.q,mlp.c_fc
refused 2 '--total-batch-tokens 300 is not a multiple of --batch-size 4 x --seq-len 32 = 128; 256 or 384 would be' \
    --total-batch-tokens 300
refused 2 '--total-batch-tokens 64 is not a multiple' --total-batch-tokens 64
if ! nvidia-smi -L >"$work/gpus" 2>&1; then
    why='this binary was built without CUDA'
    ! grep -q -- '-DRELORA_CUDA=1' build/flags || why='there is no usable GPU (CUDA reports: '
    refused 2 "--device cuda: $why" --device cuda
fi
refused 2 '--prompt' --prompt

base=(--layers 2 --channels 32 --seq-len 32 --batch-size 4 --max-steps 4 --rank 4)
refused 2 '--heads 3 doesn'\''t divide --channels 32; 2 or 4 would' --heads 3
refused 2 '--layers, --heads and --channels must be given together'
base=(--layers 2 --heads 2 --channels 32 --batch-size 4 --max-steps 4 --rank 4)
refused 2 "--seq-len 64 is longer than the model's 32 positions" --seq-len 64 --positions 32
refused 2 '--batch-size' --seq-len 32 --batch-size 0
base=("${shape[@]}" --max-steps 4)
refused 2 '--rank 33 is above 32, the most that attn.c_attn of this model can have' --rank 33
refused 2 '--rank 128 is above 32' --recipe paper
base=(--layers 2 --heads 2 --channels 32 --max-steps 4 --rank 4)
refused 2 '--batch-size' --seq-len 16777216 --batch-size 1099511627776
base=(--batch-size 4 --max-steps 4 --rank 4)
refused 2 'gpt3' --model gpt3
refused 2 "--seq-len 2048 is longer than the model's 1024 positions" --model gpt2 --seq-len 2048

# Cycles and warm-ups that don't fit.
base=("${shape[@]}" --rank 4 --mode relora)
refused 2 "--merge-every 6 doesn't divide the low-rank phase of 20 updates (--max-steps 24 - --warm-start-steps 4); 5 or 10 would" \
    --max-steps 24 --warm-start-steps 4 --merge-every 6
refused 2 '--merge-every 10 and --reset-every 7 never line up' --max-steps 24 --warm-start-steps 4 --merge-every 10 --reset-every 7
refused 2 "--reset-every 12 doesn't divide the low-rank phase of 20 updates" \
    --max-steps 24 --warm-start-steps 4 --merge-every 6 --reset-every 12
refused 2 '--merge-every 6 and --reset-every 4 never line up' --max-steps 12 --warm-start-steps 0 --merge-every 6 --reset-every 4
refused 2 '--warmup-steps 20 leaves nothing of --max-steps 20; at most 19' --max-steps 20 --warmup-steps 20
refused 2 '--warmup-steps 6 is longer than the first cycle of 5 updates; at most 5' \
    --max-steps 20 --warm-start-steps 0 --merge-every 5 --warmup-steps 6 --restart-warmup-steps 1
refused 2 '--warmup-steps 6 is longer than the first cycle of 5 updates; at most 5' \
    --max-steps 20 --warm-start-steps 0 --merge-every 5 --warmup-steps 6 --restart-A redraw
refused 2 '--restart-warmup-steps 5 doesn'\''t fit into a cycle of 5 updates; at most 4' \
    --max-steps 20 --warm-start-steps 0 --merge-every 5 --restart-warmup-steps 5
refused 2 '--restart-warmup-steps 3 needs a cycle: --reset-every is 0' \
    --max-steps 20 --warm-start-steps 0 --merge-every 5 --reset-every 0 --restart-warmup-steps 3

# What a restart keeps and how long there are some, and what else the method has.
base=("${shape[@]}" --rank 4 --mode relora --max-steps 20 --warm-start-steps 4)
refused 2 "--restart-A: 'half' is not one of keep, redraw" --restart-A half
refused 2 '--restart-until: 1.5 is not between 0 and 1' --restart-until 1.5
refused 2 '--restart-until: -0.1 is not between 0 and 1' --restart-until -0.1
refused 2 '--restart-warmup-steps 4 doesn'\''t fit into a cycle of 4 updates' --merge-every 4 --restart-warmup-steps 4
refused 2 '--restart-warmup-steps 4 doesn'\''t fit into a cycle of 4 updates' --restart-A redraw --merge-every 4 --restart-warmup-steps 4
refused 2 '--restart-parts' --restart-parts 1
refused 2 '--lora-plus-ratio: 0 is not between' --lora-plus-ratio 0
refused 2 '--lora-plus-ratio: -8 is not between' --lora-plus-ratio -8
refused 2 '--other-lr: -1 is not between' --other-lr -1
refused 2 "--others: 'stop' is not one of continue, restart" --others stop
refused 2 "--recipe: 'nonsense' is not one of default, paper" --recipe nonsense
refused 2 '--alpha: -1 is not between 0 and' --alpha -1

# Configuration files.
base=("${sized[@]}")
echo 'learning_rate = 0.1' >"$work/unknown.toml"
refused 2 'learning_rate' --config "$work/unknown.toml"
echo 'lr = "fast"' >"$work/type.toml"
refused 2 "$work/type.toml line 1: lr is a text in quotes, but should be a number" --config "$work/type.toml"
refused 2 "$work/none.toml" --config "$work/none.toml"

# Shards. Bytes 0-3 of the header are the magic number, 4-7 the version, 8-11 the count of tokens; 1024 in all.
base=("${sized[@]}")
good=$shards/train_000000.bin
# shard NAME [OFFSET BYTES]: a copy of the good shard with these bytes (as printf takes them) put at the offset.
shard() {
    cp "$good" "$work/$1.bin"
    [ $# -eq 1 ] || printf '%b' "$3" | dd of="$work/$1.bin" bs=1 seek="$2" conv=notrunc status=none
}
shard_refused() {
    local code=0
    ./train_relora --train-data "$work/$1.bin" --out "$out" "${sized[@]}" "${quiet[@]}" --vocab-size 257 \
        >"$work/stdout" 2>"$work/stderr" || code=$?
    check_refusal "shard $1" "$code" 1 "$2"
    grep -qF "$work/$1.bin" "$work/stderr" || differs "shard $1: the message does not name it: $(cat "$work/stderr")"
    [ ! -e "$out" ] || differs "shard $1: left $out"
    rm -rf "$out"
}
shard short
truncate -s -2 "$work/short.bin"
shard_refused short 'is too short'
shard long
printf 'xx' >>"$work/long.bin"
shard_refused long 'is too long'
head -c 100 "$good" >"$work/stub.bin"
shard_refused stub 'the header alone needs 1024'
shard magic 0 '\001'
shard_refused magic 'a token shard has 20240520'
shard version 4 '\002'
shard_refused version 'has version 2, only version 1'
shard token 1224 '\377\377'
shard_refused token 'holds token 65535 at position 100, beyond the vocabulary of 257 tokens'
head -c $((1024 + 2 * 100)) "$good" >"$work/small.bin"
printf '\144\0\0\0' | dd of="$work/small.bin" bs=1 seek=8 conv=notrunc status=none
shard_refused small 'has 100 tokens, less than one update of 128'
: >"$work/empty.bin"
shard_refused empty ' bytes'
refused 2 "no file matches $work/none_*.bin" --val-data "$work/none_*.bin"
refused 1 "has 100 tokens, less than one micro-batch of 128" --val-data "$work/small.bin"

# Checkpoints, to start from and to resume.
must_train run --mode relora --max-steps 6 --rank 4 --warm-start-steps 2 --merge-every 2 --save-every 3
run=$work/run
checkpoint=$run/step_00000006
# damage FOLDER KIND: a checkpoint made unreadable in one way.
damage() {
    case $2 in
        byte) printf '\125' | dd of="$1/model.safetensors" bs=1 seek=5000 conv=notrunc status=none ;;
        truncated) truncate -s 3000 "$1/model.safetensors" ;;
        missing) rm "$1/adapters.safetensors" ;;
        state) echo '{"step": 6' >"$1/state.json" ;;
        foreign) echo '{"format": 99}' >"$1/state.json" ;;
        stateless) rm "$1/state.json" ;;
        rank) sed -i 's/"rank": 4/"rank": 0/' "$1/state.json" ;;
        heads) sed -i 's/"heads": 2/"heads": 0/' "$1/state.json" ;;
    esac
}
base=(--seq-len 32 --batch-size 4 --max-steps 4 --rank 4 --mode lora)
for row in 'byte|is damaged' 'truncated|is damaged' 'missing|adapters.safetensors' 'state|is not valid JSON' \
    'foreign|has format 99, this program reads 1' 'stateless|is neither a checkpoint (state.json) nor a Hugging Face folder' \
    'rank|state.json is damaged' 'heads|state.json is damaged'; do
    kind=${row%%|*} message=${row#*|}
    cp -r "$checkpoint" "$work/$kind"
    damage "$work/$kind" "$kind"
    refused 1 "$message" --init-from "$work/$kind"
done
mkdir "$work/random_folder"
echo hello >"$work/random_folder/state.json"
refused 1 'is not valid JSON' --init-from "$work/random_folder"
refused 1 "$work/nowhere" --init-from "$work/nowhere"
mkdir "$work/hub"
echo '{"model_type": "bert"}' >"$work/hub/config.json"
refused 1 'only "gpt2" can be read' --init-from "$work/hub"
hub='"model_type": "gpt2", "vocab_size": 257, "n_positions": 32, "n_layer": 2, "n_head": 2, "n_embd": 32'
for other in '"activation_function": "relu"' '"layer_norm_epsilon": 1e-6' '"n_inner": 64' '"tie_word_embeddings": false'; do
    echo "{$hub, $other}" >"$work/hub/config.json"
    refused 1 "config.json: $(echo "$other" | sed 's/"\([a-z_]*\)": */\1 is /' | sed 's/1e-6/1e-06/'), only" --init-from "$work/hub"
done
base=(--batch-size 4 --max-steps 4 --rank 4 --mode lora)
refused 2 "--seq-len 64 is longer than the model's 32 positions" --init-from "$checkpoint" --seq-len 64
base=("${sized[@]}")
refused 2 "--vocab-size 64: fewer than the 257 tokens" --vocab-size 64
# What samples need is looked at before training. An empty prompt is the end of text, 256.
without_samples=("${quiet[@]}")
quiet=(--threads 2)
refused 1 "$work/no_tokenizer.bin" --tokenizer "$work/no_tokenizer.bin" --vocab-size 257
{ head -c 1024 "$good"; head -c $(($(stat -c %s "$good") - 1024)) /dev/zero; } >"$work/zeros.bin"
code=0
./train_relora --train-data "$work/zeros.bin" --out "$out" "${sized[@]}" "${quiet[@]}" --vocab-size 64 >"$work/stdout" 2>"$work/stderr" || code=$?
check_refusal 'samples beyond the vocabulary' "$code" 2 "samples begin with token 256 of the tokenizer, beyond the model's vocabulary of 64 tokens"
[ ! -e "$out" ] || differs "samples beyond the vocabulary: left $out"
rm -rf "$out"
quiet=("${without_samples[@]}")

# resume_refused NAME CODE TEXT FOLDER OPTION…: --resume, which must change nothing in the folder.
listing() { (cd "$1" 2>/dev/null && find . -type f -exec cksum {} + | sort) || true; }
resume_refused() {
    local name=$1 wanted=$2 text=$3 folder=$4 code=0 before
    shift 4
    before=$(listing "$folder")
    ./train_relora --out "$folder" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    check_refusal "$name" "$code" "$wanted" "$text"
    [ "$before" = "$(listing "$folder")" ] || differs "$name: changed the run folder"
}
for row in 'byte|is damaged' 'truncated|is damaged' 'missing|adapters.safetensors' 'state|is not valid JSON' \
    'foreign|has format 99, this program reads 1'; do
    kind=${row%%|*} message=${row#*|}
    cp -r "$run" "$work/resume_$kind"
    rm -r "$work/resume_$kind/step_00000003"
    damage "$work/resume_$kind/step_00000006" "$kind"
    resume_refused "resume: $kind" 1 "$message" "$work/resume_$kind" --resume
done
cp -r "$run" "$work/hollow"
rm -r "$work"/hollow/step_*
resume_refused 'resume without a checkpoint' 2 "holds a complete run's export, but no checkpoint" "$work/hollow" --resume
resume_refused 'resume of nothing' 2 '--train-data is missing' "$work/nothing" --resume
resume_refused 'resume with another rate' 2 '--lr is 0.5' "$run" --resume --lr 0.5
resume_refused 'a second run' 2 'already holds a run; add --resume' "$run" --train-data "$good" "${sized[@]}" "${quiet[@]}"

# What only the loop knows is added to what a lower room says: which options need less memory.
code=0
(
    ulimit -v 3000000 # KiB
    exec ./train_relora --train-data "$good" --out "$work/large" --layers 24 --heads 16 --channels 1024 --seq-len 32 --batch-size 4 \
        --max-steps 4 --mode full "${quiet[@]}"
) >"$work/stdout" 2>"$work/stderr" || code=$?
check_refusal 'too large a model' "$code" 1 'the least); a smaller --batch-size or --seq-len, or --recompute pointwise or block, needs less'

# A disk that is full when the second checkpoint is written: the first stays, nothing of the second does.
code=0
(
    ulimit -f 48 # blocks of 1024 bytes
    exec ./train_relora --train-data "$good" --out "$work/full" "${sized[@]}" "${quiet[@]}" --mode full
) >"$work/stdout" 2>"$work/stderr" || code=$?
check_refusal 'full disk' "$code" 1 'safetensors'
[ -z "$(find "$work/full" -name '*step_*' -o -name '.train_relora.*')" ] || differs "full disk: left $(find "$work/full" -name '*step_*')"
code=0
cp -r "$run" "$work/full_later"
rm -r "$work/full_later/step_00000006" "$work/full_later/export"
before=$(listing "$work/full_later/step_00000003")
(
    ulimit -f 48
    exec ./train_relora --out "$work/full_later" --resume
) >"$work/stdout" 2>"$work/stderr" || code=$?
check_refusal 'full disk on resume' "$code" 1 'safetensors'
[ "$before" = "$(listing "$work/full_later/step_00000003")" ] || differs 'full disk: the earlier checkpoint changed'
left=$(cd "$work/full_later" && find . -mindepth 1 -maxdepth 1 -name '*step_*' | sort | tr '\n' ' ')
[ "$left" = './step_00000003 ' ] || differs "full disk: the run folder holds $left, expected ./step_00000003"

# The tokenizer.
tokenize_refused() {
    local wanted=$1 text=$2 code=0
    shift 2
    data/tokenize --out "$out" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    check_refusal "tokenize $*" "$code" "$wanted" "$text"
    [ ! -e "$out" ] || [ -z "$(find "$out" -type f)" ] || differs "tokenize $*: left $(find "$out" -type f | tr '\n' ' ')"
    rm -rf "$out"
}
printf 'good text, then \303\050 bad\n' >"$work/latin.txt"
tokenize_refused 1 "$work/latin.txt" "$work/latin.txt"
grep -qi 'utf-8' "$work/stderr" || differs "tokenize: no word of UTF-8 in $(cat "$work/stderr")"
printf '#version: 0.2\n\304\240 t\n' >"$work/vocab.bpe"
tokenize_refused 1 'vocab.bpe' --vocab "$work/vocab.bpe" "$work/train.txt"
grep -qi 'sha-256' "$work/stderr" || differs "tokenize: no word of the hash in $(cat "$work/stderr")"
tokenize_refused 2 "$work/none.txt" "$work/none.txt"
tokenize_refused 2 '--no-such-option' --no-such-option "$work/train.txt"
echo '{"title": "no text"}' >"$work/lines.jsonl"
tokenize_refused 1 'lines.jsonl line 1' "$work/lines.jsonl"

finish
