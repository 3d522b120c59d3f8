#!/bin/bash
# Packs programs with the libraries that they need, the check of the CUDA half and the quickstart's data into one archive
# that runs where it is unpacked: on any Linux of this architecture whose glibc is not older than the one here, without root,
# with or without a GPU. `make bundle` builds the programs for that and calls this.
#   TOOLS=FOLDER scripts/bundle.sh ARCHIVE.tar.xz NAME=FILE…
# NAME is where a program goes in the bundle; TOOLS has tokenize and rdb_strings, to make the data if it isn't there.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
fail() { echo "bundle.sh: $*" >&2; exit 1; }
archive=$1
shift

# The system has these itself: a program must not bring another loader or C library than the one that starts it.
of_glibc='^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv)\.so.*|linux-vdso.*)$'
beside=(README.md LICENSE dev/KERNELS.md dev/gpu_check.sh dev/gpu_parity.py dev/bench/*.py dev/peers/*.py
    test/cuda_on_cpu/training.sh test/cuda_on_cpu/small_cases.bash test/end_to_end/common.bash test/fixtures/parity
    scripts/recipe.bash data/austen/shards)

work=$(mktemp -d "$(dirname "$archive")/bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/train_relora-bundle
[ -e data/austen/shards ] || data/make_austen_shards.sh
mkdir -p "$root/lib/licenses"
cp -r --parents "${beside[@]}" "$root"
{
    git rev-parse --short=12 HEAD
    [ -z "$(git status --porcelain --untracked-files=no)" ] || echo 'with changes'
} | paste -sd ' ' >"$root/COMMIT"

for pair in "$@"; do
    program=$root/${pair%%=*}
    install -D "${pair#*=}" "$program"
    strip --strip-debug "$program"
    missing=$(ldd "${pair#*=}" | awk '/not found/ { print $1 }')
    [ -z "$missing" ] || fail "${pair#*=} needs $missing, which is not here"
    while read -r name path; do
        [[ $name =~ $of_glibc ]] || cp -Lu "$path" "$root/lib/$name"
    done < <(ldd "${pair#*=}" | awk '$2 == "=>" { print $1, $3 }')
done
for library in "$root"/lib/*.so*; do
    package=$(dpkg-query -S "*/${library##*/}" 2>/dev/null | sed -n '1s/[:,].*//p' || true)
    [ -z "$package" ] || cp -Lu "/usr/share/doc/$package/copyright" "$root/lib/licenses/$package"
done
newest=$({ find "$root" -type f -exec objdump -T {} + 2>/dev/null || true; } |  # which fails for what is no program
    grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1)

tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - train_relora-bundle |
    xz -T1 --x86 --lzma2=preset=9 >"$work/archive"
mv "$work/archive" "$archive"
echo "$archive: $(stat -c %s "$archive" | numfmt --to=si)B, for glibc ${newest#GLIBC_} or newer"
