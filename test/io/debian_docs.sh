#!/bin/bash
# data/extract_prose.py on a few made-up documents, and what data/get_debian_docs.sh says and leaves when packages can't be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
repo=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
is() { [ "$2" = "$1" ] || fail "$3: found"$'\n'"$2"$'\n'"and should be"$'\n'"$1"; }

a='The first paragraph says at some length what the program is for, and who may want to use it.'
b='A second one, which is in both of the documents, has been written by the same person as the first.'
c='Not every word in the third has to be a common one, but there are some of them in it & more.'
d='This paragraph of a manual in the format of Perl has code in it, and a link to the page that says more.'
e='The fourth is set apart from the others by a percent sign alone on a line, as fortunes always are.'
mkdir -p "$work/root/one/html" "$work/root/two" "$work/out"
cat >"$work/root/one/html/a.html" <<END
<html><head><title>$c</title><style>p { color: the, of, and, to, a, in, is, it, for, on, with, as, by, at }</style></head>
<body><nav><p>The menu that is on each of the pages is not a text that anybody wants to read, or to train on.</p></nav>
<h1>Short<a class="headerlink" href="#short">¶</a></h1><p>${a/the program/the <b>pro</b><em
class="x">gram</em>}<p>$b<pre>$e</pre><!-- <p>$d</p> -->
<ul><li>${c/&/&amp;}</li><li>Only a few words of text.</li></ul>
<table><tr><td>0x00 0x01 0x02 | 0x03 0x04 0x05 | and the 0x06 of a 0x07 is in it; 11 12 13 14 15 16 17 18 19 20 21 22</td></tr></table>
<p>Das ist ein deutscher Absatz, der lang genug wäre, aber keine englischen Wörter enthält und deshalb fehlen muss.</p></body>
END
cat >"$work/root/one/html/b.html" <<END
<p>${b^^}</p><p>${a/first/  first
2 }!</p>
END
printf '=head1 NAME\n\n%s\n\n    %s\n\n=cut\n' "${d/code/C<< code >>}" "$e" |
    sed 's/a link to the page/a L<link|perlfunc> to I<the B<page>>/' >"$work/root/two/c.pod"
printf 'Too short.\n%%\n%s\n%%\n%s\n' "${e/ by / by$'\n'}" "$a" | gzip >"$work/root/two/d.txt.gz"
echo "$e and more" >"$work/root/two/left_out.md"
printf 'one html/*.html\ntwo *.pod *.txt.gz\n' >"$work/list"

python3 data/extract_prose.py --out "$work/out" "$work/root" <"$work/list" >/dev/null 2>&1
is "$a"$'\n\n'"$b"$'\n\n'"$c" "$(cat "$work/out/one.txt")" "paragraphs of HTML"
is "$d"$'\n\n'"$e" "$(cat "$work/out/two.txt")" "paragraphs of pod and text"
is '' "$(cat "$work/out/validation.txt")" "validation"

# A document of a name that the hash holds out: what it shares with a document for training is in one of the two only.
name=$(cd data && python3 -c 'import extract_prose as e; print(next(n for n in range(9999) if e.is_held_out("two", f"{n}.txt.gz")))')
mv "$work/root/two/d.txt.gz" "$work/root/two/$name.txt.gz"
python3 data/extract_prose.py --out "$work/out" "$work/root" <"$work/list" >/dev/null 2>&1
is "$e" "$(cat "$work/out/validation.txt")" "validation with a held-out document"
is "$d" "$(cat "$work/out/two.txt")" "training beside a held-out document"

# Stand-ins for Debian's tools, which find one package or none and have no network.
mkdir "$work/bin"
cat >"$work/bin/apt-get" <<'END'
#!/bin/bash
[ -n "${FOUND:-}" ] || { echo "E: Failed to fetch it: no network" >&2; exit 100; }
echo content >debian-faq_11.1_all.deb
exit 100
END
cat >"$work/bin/dpkg-deb" <<END
#!/bin/bash
mkdir "\$3" && cp "$work/root/one/html/a.html" "\$3"
END
printf '#!/bin/bash\nshift 2; printf "Package: %%s\\n" "$@"\n' >"$work/bin/apt-cache"
chmod +x "$work"/bin/*
said() {
    local code=0
    PATH=$work/bin:$PATH "$repo/data/get_debian_docs.sh" "$@" 2>&1 || code=$?
    [ $code -eq 1 ] || echo "and the exit code is $code, not 1"
}
is "get_debian_docs: downloading 26 packages (about 130 MB)
get_debian_docs: cannot download any package: E: Failed to fetch it: no network" "$(said "$work/docs")" "without a network"
export FOUND=1
found=$(said "$work/docs")
grep -q 'only [0-9]* bytes of text, .* as 25 of 26 packages are missing' <<<"$found" || fail "with one package: $found"
grep -qx 'get_debian_docs: not found: anarchism' <<<"$found" || fail "a missing package is not named: $found"
is 4 "$(find "$work" -mindepth 1 -maxdepth 1 | wc -l)" "files after failed runs"
is "get_debian_docs: $work/out is not empty and not from this script: give another folder" "$(said "$work/out")" "a folder in use"
echo "prose is extracted, and failures leave nothing"
