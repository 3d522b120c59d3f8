#!/bin/bash
# Shards of the prose in Debian's documentation: DIR/bytes_shards with byte-level tokens, DIR/gpt2_shards with GPT-2's.
# usage: data/make_debian_docs_shards.sh [DIR]    (default: data/debian_docs)
# Needs data/tokenize, or TOOLS=FOLDER that has it; fetches text and vocabulary if they aren't there.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
case "${1:-}" in -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
[ $# -le 1 ] || { echo "make_debian_docs_shards: takes one folder, got $# arguments" >&2; exit 2; }
dir=${1:-$repo/data/debian_docs}
tokenize=${TOOLS:-$repo/data}/tokenize
[ -x "$tokenize" ] || { echo "make_debian_docs_shards: there is no $tokenize; build it (make data/tokenize)" >&2; exit 1; }

"$repo/data/get_debian_docs.sh" "$dir"
train=()
for text in "$dir"/*.txt; do
    [ "$text" = "$dir/validation.txt" ] || train+=("$text")
done
"$tokenize" --overwrite --val "$dir/validation.txt" --out "$dir/bytes_shards" "${train[@]}"
vocabulary=$("$repo/data/get_gpt2_vocab.sh")
"$tokenize" --overwrite --vocab "$vocabulary" --val "$dir/validation.txt" --out "$dir/gpt2_shards" "${train[@]}"
