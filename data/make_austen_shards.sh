#!/bin/bash
# The quickstart's data, data/austen/shards: byte-level tokens of Jane Austen's novels, five to train on and Persuasion to
# validate on. Needs data/tokenize, or TOOLS=FOLDER that has it; fetches the text if it isn't there (data/get_austen.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
data/get_austen.sh data/austen
train=()
for novel in data/austen/*.txt; do
    [ "$novel" = data/austen/persuasion.txt ] || train+=("$novel")
done
"${TOOLS:-data}/tokenize" --overwrite --val data/austen/persuasion.txt --out data/austen/shards "${train[@]}"
