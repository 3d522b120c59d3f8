#!/bin/bash
# Jane Austen's six novels (public domain, 4 MB of text) as DIR/<novel>.txt, out of the Debian package r-cran-janeaustenr.
# usage: data/get_austen.sh [DIR]    (default: data/austen)
# TOOLS=FOLDER has rdb_strings of another build than the usual one.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
case "${1:-}" in -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
[ $# -le 1 ] || { echo "get_austen: takes one folder, got $# arguments" >&2; exit 2; }
dir=${1:-$repo/data/austen}
package=r-cran-janeaustenr
fail() { echo "get_austen: $*" >&2; exit 1; }

# Name and size in bytes of every novel in the package: a damaged download must not become a training set.
novels="emma 883028
mansfield_park 883280
northanger_abbey 433411
persuasion 466854
pride_and_prejudice 684768
sense_and_sensibility 673688"

complete() {
    local name size
    while read -r name size; do
        [ "$(stat -c %s "$1/$name.txt" 2>/dev/null)" = "$size" ] || return 1
    done <<<"$novels"
}
report() {
    local name size
    while read -r name size; do printf '%9d bytes  %s\n' "$size" "$dir/$name.txt"; done <<<"$novels"
}

if complete "$dir"; then
    report
    exit 0
fi
{ command -v apt-get && command -v dpkg-deb; } >/dev/null ||
    fail "needs apt-get and dpkg-deb (Debian, Ubuntu); elsewhere put any text files into a folder and give that to data/tokenize"
tools=$(cd "${TOOLS:-$repo/data}" && pwd)
[ -x "$tools/rdb_strings" ] || make -s -C "$repo" data/rdb_strings >&2 || fail "cannot build data/rdb_strings; run scripts/setup.sh first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"  # apt drops its rights to another user while it downloads
cd "$work"
if ! apt-cache show "$package" >/dev/null 2>&1; then
    echo "get_austen: apt knows no package $package yet: updating its lists" >&2
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi || fail "apt-get update failed (see above)"
fi
apt-get -qq download "$package" >apt.log 2>&1 || fail "cannot download the Debian package $package: $(tail -n 1 apt.log)"
dpkg-deb -x "$package"_*.deb unpacked || fail "the package $package is damaged; run this again"
mkdir novels
"$tools/rdb_strings" unpacked/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb novels || fail "cannot read the novels in $package"
complete novels || fail "the novels in this version of $package have other sizes than expected: $(cd novels && stat -c '%n %s' -- *.txt | tr '\n' ' ')"

cd "$OLDPWD"
mkdir -p "$dir"
while read -r name _; do mv "$work/novels/$name.txt" "$dir/"; done <<<"$novels"
report
