#!/bin/bash
# Config files: a run whose paths and texts hold what is special in TOML goes on from its own config.toml, and a file that
# can't be read right is refused in one line that names it, its line and the key.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
make_shards

# From the first update to the resume and the export.
odd=$work/$(printf '\303\204 # "q" x\\n [v1] = {b}\n.')
mkdir "$odd"
data=$work/$(printf '\303\234 # "q" \047x\047 = a\n.')
cp -r "$shards" "$data"
prompt=$(printf 'the "captain" # said\n\\t \303\244')
short=(--mode relora --rank 4 --max-steps 6 --warm-start-steps 2 --merge-every 2 --save-every 3 --lr 0.004)
for run in whole cut; do
    ./train_relora --train-data "$data/train_*.bin" --out "$odd/$run" --prompt "$prompt" --device cpu "${shape[@]}" \
        --threads 2 --sample-tokens 1 "${short[@]}" >"$work/$run.log" 2>&1 || differs "$run: $(tail -n 1 "$work/$run.log")"
done
grep -qx 'lr = 0.004' "$odd/cut/config.toml" || differs "config.toml has $(grep '^lr' "$odd/cut/config.toml")"
cp "$odd/cut/config.toml" "$work/first.toml"
rm -r "$odd/cut/step_00000006" "$odd/cut/export"
./train_relora --resume=true --out "$odd/cut" >"$work/cut.log" 2>&1 || differs "resume: $(tail -n 1 "$work/cut.log")"
cmp "$work/first.toml" "$odd/cut/config.toml" || differs 'a resume changes its config.toml'
cmp "$odd/whole/export/model.safetensors" "$odd/cut/export/model.safetensors" || differs 'the resumed run ends elsewhere'
./train_relora --init-from "$odd/cut/step_00000006" --export "$odd/exported" >"$work/export.log" 2>&1 ||
    differs "export: $(tail -n 1 "$work/export.log")"
cmp "$odd/cut/export/model.safetensors" "$odd/exported/model.safetensors" || differs 'the export differs'

# A run of a version that wrote 17 digits goes on.
sed -i 's/^lr = 0.004$/lr = 0.0040000000000000001/' "$odd/cut/config.toml"
rm -r "$odd/cut/step_00000006" "$odd/cut/export"
./train_relora --resume --out "$odd/cut" >"$work/cut.log" 2>&1 || differs "17 digits: $(tail -n 1 "$work/cut.log")"
cmp "$odd/whole/export/model.safetensors" "$odd/cut/export/model.safetensors" || differs '17 digits: ends elsewhere'

# A file as other programs write it: byte order mark, CRLF, grouped digits, a text over lines. The command line overrides it.
printf '\357\273\277# mine\r\nmax-steps = 1_000\r\nlr = 1e-3\r\nmode = "full"\r\nprompt = """\r\na\r\nb"""\r\nlayers = 0x2\r\n' \
    >"$work/other.toml"
printf 'heads = 2\nchannels = 32\nseq-len = 32\nbatch-size = 4\ntrain-data = "x"\nseed = 5' >>"$work/other.toml"
./train_relora --config "$work/other.toml" --max-steps 7 --dry-run >"$work/dry.log" 2>&1 || differs "other: $(cat "$work/dry.log")"
grep -q '^run  *7 updates' "$work/dry.log" || differs "other: $(grep '^run' "$work/dry.log")"
grep -q '2 layers, 2 heads, 32 channels' "$work/dry.log" || differs "other: $(grep '^model' "$work/dry.log")"

# refused TEXT WANTED…: a config file that is refused with a line that has every WANTED.
refused() {
    local code=0 wanted
    printf '%b' "$1" >"$work/bad.toml"
    timeout 10 ./train_relora --config "$work/bad.toml" --dry-run >"$work/stdout" 2>"$work/stderr" || code=$?
    { [ "$code" -eq 2 ] && [ "$(wc -l <"$work/stderr")" -eq 1 ]; } || differs "$1: exit code $code: $(cat "$work/stderr")"
    for wanted in "$work/bad.toml" "${@:2}"; do
        grep -qF -- "$wanted" "$work/stderr" || differs "$1: expected '$wanted' in: $(cat "$work/stderr")"
    done
}
refused '# a\nlearning_rate = 1\n' 'line 2: learning_rate is no option'
refused 'lr = 1\nlr = 2\n' 'line 2' "'lr'"
refused '# a\n[lr]\nb = 1\n' 'line 2: lr is a table'
refused 'lr.a = 1\n' 'line 1: lr is a table'
refused 'lr = [1]\n' 'line 1: lr is an array'
refused 'seed = 1979-05-27\n' 'line 1: seed is a date'
refused 'lr = inf\n' 'line 1: lr: inf is not between 0 and 1000'
refused 'lr = nan\n' 'line 1: lr: nan is not a number'
refused 'lr = "0.1"\n' 'lr is a text in quotes, but should be a number'
refused 'max-steps = 1e3\n' 'max-steps is a number, but should be a whole number'
refused 'out = 3\n' 'out is a whole number, but should be a text in quotes'
refused 'resume = 1\n' 'resume is a whole number, but should be true or false'
refused 'mode = "Full"\n' "line 1: mode: 'Full' is not one of full, control, lora, relora"
refused 'config = "other.toml"\n' 'config is no option of a config file'
refused 'out = "a\\u0000b"\n' 'holds a zero byte'
refused 'out = "\0377"\n' 'utf-8'
refused 'out = "open\n' 'line 1'
mkfifo "$work/pipe"
for path in "$work" "$work/pipe" "$work/none.toml" ''; do
    code=0
    timeout 10 ./train_relora --config "$path" --dry-run >"$work/stdout" 2>"$work/stderr" || code=$?
    { [ "$code" -eq 2 ] && [ "$(wc -l <"$work/stderr")" -eq 1 ]; } || differs "--config '$path': exit code $code: $(cat "$work/stderr")"
done

# Bytes that are not UTF-8 are refused before training, as no file of the run could hold them.
code=0
train "$work/$(printf 'bad\351')" --mode full --max-steps 2 2>"$work/x" || code=$?
{ [ "$code" -eq 2 ] && grep -qF -- '--out: byte' "$work/$(printf 'bad\351').log"; } || differs "not UTF-8: exit code $code"
[ ! -e "$work/$(printf 'bad\351')" ] || differs 'not UTF-8: left a folder'
finish
