#!/bin/bash
# Data are what they hold: a resume finds them under another path and from another folder, and refuses others under the
# same path. The tokenizer beside each shard is read, and no model trains on the ids of another.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
make_shards
program=$(readlink -f ./train_relora)
root=$PWD
data/tokenize --out "$work/three" --shard-tokens 15000 "$work/train.txt" >/dev/null
few=(--mode full --max-steps 6 --save-every 3 --keep 0 --eval-every 3 --warmup-steps 1 --device "$device" "${shape[@]}" "${quiet[@]}")

# same NAME EXPECTED: the run's numbers and last weights.
same() {
    cmp -s <(numbers "$work/$1") <(numbers "$work/$2") || differs "$1: metrics differ from those of $2"
    cmp "$work/$1/step_00000006/model.safetensors" "$work/$2/step_00000006/model.safetensors" || differs "$1: other weights than $2"
}
# stopped NAME: the whole run as if it had been stopped after 3 updates, without its data.
stopped() {
    cp -r "$work/whole" "$work/$1"
    rm -r "$work/$1/export" "$work/$1/step_00000006"
}
# refused NAME TEXT OPTION…: a start that ends with one line on standard error, which has the text, and with no update.
refused() {
    local name=$1 text=$2 code=0
    shift 2
    "$program" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    [ "$code" -eq 2 ] || differs "$name: exit code $code, expected 2: $(cat "$work/stderr")"
    [ "$(wc -l <"$work/stderr")" -eq 1 ] || differs "$name: $(cat "$work/stderr")"
    grep -qF -- "$text" "$work/stderr" || differs "$name: expected '$text', got '$(cat "$work/stderr")'"
    ! grep -q '^step' "$work/stdout" || differs "$name: trained"
}

# Begun with relative paths.
(cd "$work" && "$program" --train-data 'three/train_*.bin' --val-data shards/val_000000.bin --out whole "${few[@]}") >"$work/whole.log" 2>&1 ||
    differs "whole: $(tail -n 1 "$work/whole.log")"
[ "$(find "$work/three" -name 'train_*' | wc -l)" -ge 3 ] || differs 'too few shards'

echo '== the same data'
stopped elsewhere
(cd / && "$program" --resume --out "$work/elsewhere") >"$work/elsewhere.log" 2>&1 || differs "elsewhere: $(tail -n 1 "$work/elsewhere.log")"
same elsewhere whole
stopped moved
mv "$work/three" "$work/set [v1]"
(cd "$work" && "$program" --resume --out moved --train-data 'set \[v1\]/train_*.bin') >"$work/moved.log" 2>&1 || differs "moved: $(tail -n 1 "$work/moved.log")"
same moved whole
mv "$work/set [v1]" "$work/three"

echo '== other data under the same path'
stopped other
cp -r "$work/three" "$work/kept"
restore() { rm -r "$work/three" && cp -r "$work/kept" "$work/three"; }
mv "$work/three/train_000000.bin" "$work/x" && mv "$work/three/train_000001.bin" "$work/three/train_000000.bin" && mv "$work/x" "$work/three/train_000001.bin"
refused exchanged "$work/three/train_000000.bin, has other contents" --resume --out "$work/other"
restore
cp "$work/three/train_000000.bin" "$work/three/train_000009.bin"
refused more 'train_000009.bin has been added' --resume --out "$work/other"
restore
rm "$work/three/train_000002.bin"
refused less 'train_000002.bin' --resume --out "$work/other"
restore
printf '\x07' | dd of="$work/three/train_000001.bin" bs=1 seek=20000 conv=notrunc status=none
refused altered "shard 2, $work/three/train_000001.bin, has other contents" --resume --out "$work/other"
restore
printf 'x' | dd of="$work/three/train_000000.bin" bs=1 seek=1000 conv=notrunc status=none
refused header "$work/three/train_000000.bin, has other contents" --resume --out "$work/other"
restore
# Other validation data may be: it is said.
stopped validated
"$program" --resume --out "$work/validated" --val-data "$work/three/train_000002.bin" >"$work/validated.log" 2>&1 || differs "validated: $(tail -n 1 "$work/validated.log")"
grep -q 'the validation data are not those of before.*train_000002.bin' "$work/validated.log" || differs 'validated: nothing said'

echo '== whose tokens'
# A tokenizer of as many tokens as GPT-2's: bytes, and pairs of them.
python3 - "$work/gpt2" <<'END'
import os, struct, sys
os.makedirs(sys.argv[1])
tokens = [bytes([i]) for i in range(256)] + [bytes([i // 256, i % 256]) for i in range(50000)] + [b'<|endoftext|>']
with open(sys.argv[1] + '/tokenizer.bin', 'wb') as f:
    f.write(struct.pack('<4i', 20240328, 2, len(tokens), len(tokens) - 1) + bytes(1008))
    for token in tokens:
        f.write(bytes([len(token)]) + token)
END
cp "$work"/three/train_* "$work/gpt2"
mkdir -p "$work/p" "$work/set [v1]"
cp -r "$work/three" "$work/p/a"
cp -r "$work/three" "$work/p/b"
cp -r "$work"/three/* "$work/set [v1]"
# vocabulary NAME PATTERN OPTION…: what a plan says of the model's vocabulary.
vocabulary() {
    local pattern=$1
    shift
    "$program" --dry-run --train-data "$pattern" "${few[@]}" "$@" | sed -n 's/.*vocabulary \([0-9]*\) .*/\1/p'
}
for pattern in "$work/p/*/train_*.bin" "$work/set \\[v1\\]/train_*.bin" "$work/set [v1]/train_000000.bin" "$work/{three,p/a}/train_*.bin"; do
    [ "$(vocabulary "$pattern")" = 257 ] || differs "$pattern: vocabulary $(vocabulary "$pattern"), expected 257"
done
grep -q "tokenizer: $work/three/tokenizer.bin, 257 tokens" "$work/whole.log" || differs "whole: the tokenizer isn't named"
cp "$work/gpt2/tokenizer.bin" "$work/p/b"
refused two_tokenizers "shards of two tokenizers match $work/p/*/train_*.bin" --train-data "$work/p/*/train_*.bin" "${few[@]}" --out "$work/none"
refused validation "--val-data: the tokenizer $work/gpt2/tokenizer.bin is not that of the training shards" \
    --train-data "$work/three/train_*.bin" --val-data "$work/gpt2/train_*.bin" "${few[@]}" --out "$work/none"
refused named "--tokenizer: the tokenizer $work/gpt2/tokenizer.bin is not that" --tokenizer "$work/gpt2/tokenizer.bin" \
    --train-data "$work/three/train_*.bin" "${few[@]}" --out "$work/none"
from=(--mode full --max-steps 2 --seq-len 32 --batch-size 4 --device "$device" "${quiet[@]}")
refused too_few 'has a vocabulary of 257: fewer than the 50257 tokens' --init-from "$work/whole/step_00000006" \
    --train-data "$work/gpt2/train_*.bin" "${from[@]}" --out "$work/none"
refused given_too_few '--vocab-size 100: fewer than the 257 tokens' --vocab-size 100 --train-data "$work/three/train_*.bin" "${few[@]}" --out "$work/none"
# A padded vocabulary is said; shards without a tokenizer are GPT-2's, as said.
must_train padded --mode full --max-steps 1 --vocab-size 384
grep -q "the model's vocabulary of 384 has 127 more" "$work/padded.log" || differs 'padded: nothing said'
mkdir "$work/bare"
cp "$work"/three/train_* "$work/bare"
"$program" --train-data "$work/bare/train_*.bin" --mode full --max-steps 1 --device "$device" "${shape[@]}" "${quiet[@]}" --out "$work/bare_run" >"$work/bare.log" 2>&1 || differs "bare: $(tail -n 1 "$work/bare.log")"
grep -q "they are taken to have the vocabulary of GPT-2" "$work/bare.log" || differs 'bare: nothing said'
cd "$root"
finish
