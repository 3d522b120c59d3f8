#!/bin/bash
# English prose out of Debian's documentation packages (over 20 MB), as DIR/<package>.txt and DIR/validation.txt.
# usage: data/get_debian_docs.sh [DIR]    (default: data/debian_docs)
# A package that can't be had is named and left out; DIR/packages.tsv says which version gave how many bytes.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
case "${1:-}" in -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
[ $# -le 1 ] || { echo "get_debian_docs: takes one folder, got $# arguments" >&2; exit 2; }
dir=${1:-$repo/data/debian_docs}
least_bytes=20000000
fail() { echo "get_debian_docs: $*" >&2; exit 1; }

# Package, and patterns of its English documents. Debian's packages have no fixed sizes: point releases change them.
packages='
anarchism usr/share/doc/anarchism/html/*.html
jargon-text usr/share/doc/jargon-text/jargon.txt.gz
debian-handbook usr/share/doc/debian-handbook/html/en-US/*.html
harden-doc usr/share/doc/harden-doc/html/en-US/*.html
debian-reference-en usr/share/debian-reference/*.en.html
developers-reference *.html
maint-guide *.html
debmake-doc *.en.html
debian-policy *.html
debian-faq *.html
debian-history *.en.html
debian-kernel-handbook *.html
doc-debian usr/share/doc/debian/*
installation-guide-amd64 usr/share/doc/installation-guide-amd64/en/*.html
gnome-user-docs usr/share/help/C/*.page
abs-guide *.html
python3.11-doc *.html
python-django-doc *.html
postgresql-doc-15 *.html
perl-doc *.pod
git-doc *.html
bash-doc *.html
vim-runtime usr/share/vim/vim90/doc/*.txt
apache2-doc usr/share/doc/apache2-doc/manual/en/*.html
r-doc-html *.html
libreoffice-help-en-us *.html'
packages=${packages#$'\n'}

if [ -e "$dir/packages.tsv" ]; then
    cat "$dir/packages.tsv"
    echo "$dir is there already; remove it to get it anew"
    exit 0
fi
[ -z "$(ls -A "$dir" 2>/dev/null)" ] || fail "$dir is not empty and not from this script: give another folder"
for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool >/dev/null || fail "needs $tool (Debian); elsewhere put any text files into a folder and give that to data/tokenize"
done
command -v python3 >/dev/null || fail "needs python3"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"  # apt drops its rights to another user while it downloads
mkdir "$work/debs" "$work/unpacked" "$work/text"
cd "$work/debs"
names=() known=() missing=() got=()
mapfile -t names < <(cut -d ' ' -f 1 <<<"$packages")
# One call asks for all: each may take seconds, as apt reads its lists anew where it can't write its cache.
ask_known() { mapfile -t known < <(apt-cache show --no-all-versions "${names[@]}" 2>/dev/null | sed -n 's/^Package: //p'); }
ask_known
if [ ${#known[@]} -eq 0 ]; then
    echo "get_debian_docs: apt knows none of the packages yet: updating its lists" >&2
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi || fail "apt-get update failed (see above)"
    ask_known
fi
echo "get_debian_docs: downloading ${#known[@]} packages (about 130 MB)" >&2
[ ${#known[@]} -eq 0 ] || apt-get -qq download "${known[@]}" >../apt.log 2>&1 || true
error=$(grep '^E:' ../apt.log 2>/dev/null | head -n 1 || true)
for name in "${names[@]}"; do
    deb=$(compgen -G "${name}_*.deb" || true)
    if [ -n "$deb" ] && dpkg-deb -x "$deb" "../unpacked/$name" 2>/dev/null; then
        got+=("$name")
        rm "$deb"
        printf '%s\t%s\n' "$name" "$(sed -E 's/^[^_]*_(.*)_[^_]*$/\1/; s/%3a/:/' <<<"$deb")" >>../versions
    else
        missing+=("$name")
        rm -rf "../unpacked/$name"
    fi
done
[ ${#got[@]} -gt 0 ] || fail "cannot download any package: ${error:-apt knows none of them}"

echo "get_debian_docs: reading ${#got[@]} packages, a minute or more" >&2
sizes=$(python3 "$repo/data/extract_prose.py" --out "$work/text" "$work/unpacked" <<<"$packages") || fail "cannot read the packages (see above)"
while read -r size name; do
    version=$(awk -F '\t' -v name="$name" '$1 == name { print $2 }' "$work/versions")
    [ "$name" != validation ] && [ -z "$version" ] || printf '%9d\t%s\t%s\n' "$size" "$name" "${version:--}" >>"$work/text/packages.tsv"
done <<<"$sizes"
total=$(awk '{ sum += $1 } END { print sum }' <<<"$sizes")
for name in "${missing[@]}"; do
    echo "get_debian_docs: not found: $name" >&2
    rm -f "$work/text/$name.txt"
done
[ "$total" -ge $least_bytes ] ||
    fail "only $total bytes of text, fewer than $least_bytes, as ${#missing[@]} of ${#names[@]} packages are missing (${error:-apt does not know them})"

# DIR appears all at once, by a rename of a complete folder beside it.
cd "$OLDPWD"
mkdir -p "$(dirname "$dir")"
staged=$(mktemp -d "$(dirname "$dir")/.debian_docs.XXXXXX")
trap 'rm -rf "$work" "$staged"' EXIT
cp "$work"/text/* "$staged/"
chmod 755 "$staged"
mv -T "$staged" "$dir"
cat "$dir/packages.tsv"
echo "$total bytes in $dir, of ${#got[@]} packages${missing:+; missing: ${missing[*]}}"
