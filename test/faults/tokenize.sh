#!/bin/bash
# data/tokenize: which files it reads as what, what it refuses, and that stopping it leaves everything or nothing.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"

tokenizer=$PWD/data/tokenize
out=$work/out
tokenize() { "$tokenizer" --out "$out" "$@"; }
# ids FILE: the tokens of a shard, on one line.
ids() { od -An -v -tu2 -w2 -j1024 "$1" | tr -d '\n' | sed 's/  */ /g; s/^ //'; }
# documents TEXT…: the byte-level tokens of documents.
documents() {
    for document; do
        printf ' 256'
        printf %s "$document" | od -An -v -tu1 -w1 | tr -d '\n' | sed 's/  */ /g'
    done | sed 's/^ //'
}
# becomes WHAT SPLIT TEXT…: the shard of a split holds these documents.
becomes() {
    local what=$1 split=$2 found expected
    shift 2
    found=$(ids "$out/${split}_000000.bin")
    expected=$(documents "$@")
    [ "$found" = "$expected" ] || differs "$what: $split holds '$found', expected '$expected'"
}
# reads WHAT ARGUMENT…: tokenizing succeeds into a new $out.
reads() {
    local what=$1
    shift
    rm -rf "$out"
    tokenize "$@" >"$work/log" 2>&1 || differs "$what: $(cat "$work/log")"
}
says() { grep -qF -- "$2" "$work/log" || differs "$1: no '$2' in: $(cat "$work/log")"; }
# refuses WHAT CODE TEXT ARGUMENT…: one line with the text, that exit code, and no folder left.
refuses() {
    local what=$1 wanted=$2 text=$3 code=0
    shift 3
    rm -rf "$out"
    timeout 20 "$tokenizer" --out "$out" "$@" >"$work/log" 2>&1 || code=$?
    [ "$code" -eq "$wanted" ] || differs "$what: exit code $code, expected $wanted"
    [ "$(wc -l <"$work/log")" -eq 1 ] || differs "$what: not one line: $(head -c 500 "$work/log")"
    says "$what" "$text"
    [ ! -e "$out" ] || differs "$what: left $(ls -A "$out")"
}

cd "$work"
mkdir in
printf 'plain' >in/a.txt
json='{"text": "one"}
{"text": "two"}'

# A file is what its own name says; what it is a link to has no say.
printf '%s' "$json" >data.dat
ln -s data.dat link.jsonl
reads 'a link' --val link.jsonl in/a.txt
becomes 'a link' val one two
for name in x.ndjson x.JSONL x.json x.Json x.dat x; do
    cp data.dat "$name"
    reads "$name" "$name"
    becomes "$name" train one two
    says "$name" 'read: 0 files of text, 1 file of JSON lines'
    rm "$name"
done
printf 'plain' >y.Txt
reads y.Txt y.Txt
becomes y.Txt train plain
printf '{curly} is no JSON' >y.dat
reads y.dat y.dat
becomes y.dat train '{curly} is no JSON'
printf '\357\273\277%s' "$json" >marked.jsonl
printf '\357\273\277text' >marked.txt
reads 'a byte order mark' marked.jsonl marked.txt
becomes 'a byte order mark' train one two text

# What would be stored as something else is refused.
cp data.dat lines.txt
refuses 'JSON called .txt' 1 'lines.txt begins with a JSON object' lines.txt
printf '[{"text": "one"}]' >array.json
refuses 'an array' 2 "array.json is not JSON lines, an object a line: convert it, for example an array with jq -c '.[]'" array.json
printf 'h\0i\0 \0t\0' >wide.txt
refuses 'UTF-16' 1 'wide.txt is not UTF-8 text: byte 1 is zero, as in UTF-16' in/a.txt wide.txt
printf '\377\376h\0i\0' >wide_marked.txt
refuses 'UTF-16 with a mark' 1 'wide_marked.txt is not UTF-8 text: byte 0 is wrong' wide_marked.txt
mkfifo pipe.txt
refuses 'a FIFO' 1 'cannot read pipe.txt: it is not a regular file' pipe.txt
refuses 'a FIFO as vocabulary' 1 'cannot read pipe.txt: it is not a regular file' --vocab pipe.txt in/a.txt
refuses 'a link to nothing' 2 'there is no file or folder nothing.txt' nothing.txt
printf '{"text": %s}\n' "$(printf '[%.0s' {1..100000})" >deep.jsonl
refuses 'deep JSON' 1 'deep.jsonl line 1: not valid JSON' deep.jsonl
printf '{"text": "a"}\n\n{"text": "b"}\n{"text": 3}\n' >line.jsonl
printf '{"text": %s%s}\n' "$(printf '[%.0s' {1..100000})" "$(printf ']%.0s' {1..100000})" >deep.jsonl
refuses 'deep JSON that ends' 1 'deep.jsonl line 1: no' deep.jsonl
refuses 'a bad line' 1 'line.jsonl line 4: no string in the field "text"' line.jsonl
refuses 'a file twice' 2 './in/a.txt is among the inputs twice' in ./in/a.txt
refuses 'one for validation twice' 2 'in/a.txt is among the inputs twice' y.Txt --val in/a.txt in

# A folder's files, and what is left out of them.
mkdir -p in/deep/.git
printf 'deep' >in/deep/b.TXT
printf '{"text": "json"}' >in/deep/c.json
printf '{"a":\n1}' >in/deep/meta.json
touch in/image.png in/deep/.git/config
ln -s .. in/deep/loop
ln -s ../y.dat in/link.txt
ln -s nowhere in/broken.txt
mkfifo in/pipe.jsonl
reads 'a folder' in
becomes 'a folder' train plain deep json '{curly} is no JSON'
says 'a folder' 'read: 3 files of text, 1 file of JSON lines'
says 'a folder' 'left out: 6 names: in/broken.txt (a link to nothing), in/deep/.git/config (not .txt, .jsonl or .json), in/deep/loop (a link to a folder), in/deep/meta.json (no JSON object a line), in/image.png (not .txt, .jsonl or .json), in/pipe.jsonl (not a regular file)'

# Everything or nothing. Temporary files are removed, and nobody else's.
contents() { (cd "$out" && sha256sum ./*.bin); }
before=$(contents)
touch "$out/train_000000.bin.tmp" "$out/mine.tmp"
kept=$(ls -A "$out")
# fails WHAT CODE TEXT COMMAND…: one line with the text, that exit code, and $out as it was.
fails() {
    local what=$1 wanted=$2 text=$3 code=0
    shift 3
    "$@" >"$work/log" 2>&1 || code=$?
    [ "$code" -eq "$wanted" ] || differs "$what: exit code $code, expected $wanted"
    [ "$(wc -l <"$work/log")" -eq 1 ] || differs "$what: not one line: $(head -c 500 "$work/log")"
    says "$what" "$text"
    [ "$(ls -A "$out")" = "$kept" ] || differs "$what: left $(ls -A "$out")"
    [ "$(contents)" = "$before" ] || differs "$what: changed the shards"
}
head -c 60000000 < <(yes 'the captain remembered a letter') >long.txt
fails 'a folder in use' 2 'holds shards or a tokenizer already: name another folder or add --overwrite' tokenize in/a.txt
fails 'two at once' 1 'another tokenize writes to' flock "$out" "$tokenizer" --out "$out" --overwrite in/a.txt
too_large() { (ulimit -f 1000 && tokenize --overwrite long.txt); }
fails 'a write that fails' 1 "cannot write $out/.train_relora." too_large
stopped() {
    # A shell starts what it doesn't wait for with SIGINT ignored.
    env --default-signal=INT "$tokenizer" --out "$out" --overwrite --threads 1 --shard-tokens 200000 long.txt &
    local process=$!
    until [ -n "$(find "$out"/.train_relora.* -name 'train_*' 2>&-)" ] || ! kill -0 "$process"; do sleep 0.01; done
    kill -"$1" "$process"
    wait "$process"
}
for signal in INT TERM HUP; do fails "$signal" 1 'interrupted: nothing was written' stopped $signal; done

# A killed run leaves its temporary folder, and the next one removes it.
stopped KILL >"$work/log" 2>&1 || true
[ "$(contents)" = "$before" ] || differs "a killed run: changed the shards: $(ls -A "$out")"
tokenize --overwrite in/a.txt >"$work/log" 2>&1
says 'after a killed run' 'which an interrupted run had left'
[ "$(ls -A "$out")" = "$kept" ] || differs "after a killed run: left $(ls -A "$out")"

# A run that fails while it moves the shards is seen by whoever reads the tokenizer's table.
mkdir "$out/val_000000.bin"
tokenize --overwrite --val y.Txt in/a.txt >log 2>&1 && differs 'a name that is taken by a folder: no error'
code=0
"$OLDPWD/train_relora" --train-data "$out/train_*.bin" --out "$work/run" --device cpu --dry-run >"$work/log" 2>&1 || code=$?
[ "$code" -eq 1 ] || differs "half a commit: the trainer's exit code is $code"
says 'half a commit' "$out/tokenizer.bin says that the shards beside it are incomplete"
rmdir "$out/val_000000.bin"
tokenize --overwrite --val y.Txt in/a.txt >log 2>&1 || differs "after half a commit: $(cat log)"
becomes 'after half a commit' val plain
[[ -e $out/mine.tmp && -e $out/train_000000.bin.tmp ]] || differs "a user's file is gone: $(ls -A "$out")"

# More threads than processors are said, not started.
tokenize --overwrite --threads 1024 in/a.txt >log 2>&1 || differs "many threads: $(cat log)"
grep -q -- '--threads 1024 is more than ' log || differs "many threads: $(cat log)"
# No shard gets the console's text where the console is closed.
rm -rf "$out"
tokenize in/a.txt in/nothing.txt >&- 2>&- <&- && differs 'a missing file beside a closed console: no error'
tokenize --threads 1024 in/a.txt >&- 2>&- <&- || differs 'a closed console: an error'
becomes 'a closed console' train plain
# Names with any bytes.
odd=$'o\xffd \'#"[x] \n.txt'
printf odd >"$odd"
reads 'an odd name' "$odd"
becomes 'an odd name' train odd

finish
