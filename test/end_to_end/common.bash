# What the end-to-end tests share: a scratch folder, a small text as token shards, and a tiny model.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Measurements of this machine stay among the tests.
export XDG_CACHE_HOME=$work/cache
# Threads that wait in a spin make tiny steps slow when the machine has other work.
export OMP_WAIT_POLICY=passive

failures=0
# Says what differed; the test goes on, and finish() makes it fail.
differs() {
    echo "$*" >&2
    failures=$((failures + 1))
}
finish() {
    [ "$failures" -eq 0 ] || { echo "$failures checks failed" >&2; exit 1; }
}

# text SEED SENTENCES: pseudo-English by a fixed generator, the same on every machine.
text() {
    awk -v state="$1" -v sentences="$2" '
        function pick(list, n) { state = state * 16807 % 2147483647; return list[state % n + 1] }
        BEGIN {
            subjects = split("the captain|a quiet sailor|her sister|the old admiral|every visitor|no one", subject, "|")
            verbs = split("remembered|walked past|wrote about|was fond of|could not forget", verb, "|")
            objects = split("the harbour|a letter|the long winter|his brother|that evening|the sea|a garden", object, "|")
            for (i = 1; i <= sentences; i++)
                printf "%s %s %s.%s", pick(subject, subjects), pick(verb, verbs), pick(object, objects), i % 4 ? " " : "\n"
        }'
}

# Byte-level shards in $shards: about 45,000 tokens to train on and 3,000 to validate on.
shards=$work/shards
make_shards() {
    text 1 1200 >"$work/train.txt"
    text 2 80 >"$work/val.txt"
    data/tokenize --out "$shards" --val "$work/val.txt" "$work/train.txt" >"$work/tokenize.log"
}

trainer=./train_relora device=cpu
shape=(--layers 2 --heads 2 --channels 32 --seq-len 32 --batch-size 4)
quiet=(--sample-tokens 0 --threads 2)
# train FOLDER OPTION…: a run of the tiny model; what it prints goes to FOLDER.log.
train() {
    local folder=$1
    shift
    "$trainer" --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --out "$folder" \
        --device "$device" "${shape[@]}" "${quiet[@]}" "$@" >"$folder.log" 2>&1
}
# must_train NAME OPTION…: the same in $work/NAME; a run that fails is reported and ends the test.
must_train() {
    local name=$1 code=0
    shift
    train "$work/$name" "$@" || code=$?
    [ "$code" -eq 0 ] || { echo "$name: exit code $code: $(tail -n 1 "$work/$name.log")" >&2; exit 1; }
}

# measured MERGED FACTORED PROJECT: what the routes of adapters take, in seconds, for every setting measured so far.
measured() {
    awk -v merged="$1" -v factored="$2" -v project="$3" '
        /^ *[0-9.e-]+,?$/ { at = n++ % 6; sub(/[0-9.e-]+/, at % 2 ? 0 : at == 0 ? merged : at == 2 ? factored : project) }
        { print }' "$XDG_CACHE_HOME/train_relora/adapter_times.json" >"$work/times.json"
    mv "$work/times.json" "$XDG_CACHE_HOME/train_relora/adapter_times.json"
}

# Every line of a run's metrics without what a clock decides, what only several ranks report, and when it was saved.
numbers() { sed -E 's/,"(tokens_per_s|mfu|reduce_s|reduce_hidden)":[^,}]*//g; /"event":"(ranks|save)"/d' "$1/metrics.jsonl"; }
# field NAME FILE: the values of one key, a line each.
field() { sed -nE 's/.*"'"$1"'":"?([^,}"]*).*/\1/p' "$2"; }
# close NAME EXPECTED KEY TOLERANCE: whether the values of a key of two runs are that close, line by line.
close() {
    paste <(field "$3" "$work/$1/metrics.jsonl") <(field "$3" "$work/$2/metrics.jsonl") |
        awk -v tolerance="$4" '
            { d = $1 - $2; d = d < 0 ? -d : d; if (!(d <= tolerance) || NF != 2) far++; if (d > most) most = d }
            END { printf "largest difference %g, %d of %d above %g\n", most, far, NR, tolerance
                  exit NR == 0 || far > 0 }' >"$work/close" ||
        differs "$1: $3 is not as close to that of $2 as it should be: $(cat "$work/close")"
    echo "$1, $3: $(cat "$work/close")"
}
# within SECONDS COMMAND…: waits until a command succeeds, and fails if it doesn't in this time.
within() {
    local tries=$(($1 * 20))
    shift
    until "$@"; do
        [ $((tries--)) -gt 0 ] || return 1
        sleep 0.05
    done
}
# ended PID: whether a process of this shell has ended.
ended() { ! kill -0 "$1" 2>/dev/null; }
# begin NAME OPTION…: a run of the tiny model in the background, in $work/NAME; $pid is its process.
begin() {
    local folder=$work/$1
    shift
    "$trainer" --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --out "$folder" --device "$device" \
        "${shape[@]}" "${quiet[@]}" "$@" >"$folder.log" 2>&1 &
    pid=$!
}
# updates NAME NUMBER: whether a run has done so many updates.
updates() { [ "$(grep -c '"loss":' "$work/$1/metrics.jsonl" 2>/dev/null || true)" -ge "$2" ] 2>/dev/null; }
# ends NAME CODE PID TEXT: how a run in the background must end, and what its last lines must say.
ends() {
    local code=0
    within 60 ended "$3" || { differs "$1: goes on"; kill -KILL "$3"; }
    wait "$3" || code=$?
    [ "$code" -eq "$2" ] || differs "$1: exit code $code, expected $2: $(tail -n 1 "$work/$1.log")"
    grep -qF -- "$4" "$work/$1.log" || differs "$1: does not say '$4': $(tail -n 3 "$work/$1.log")"
}
# holds EXPRESSION: whether awk finds it true, e.g. holds '0.99 <= 1'.
holds() { awk "BEGIN { exit !($1) }"; }
