#!/usr/bin/env python3
"""Extracts plain English prose from unpacked packages of documentation: OUT/<package>.txt, and OUT/validation.txt.

usage: extract_prose.py --out OUT ROOT <LIST
LIST has a line for each package: its name, which is also its folder in ROOT, and patterns of the files to read in that folder
(* stands for slashes too). A text has a paragraph a line, and an empty line between two. Whole documents are held out for
validation, chosen by a hash of package and path. A paragraph that differs from an earlier one in nothing but case, digits,
punctuation and blanks is dropped, wherever the earlier one was, so that no validation paragraph is trained on.
"""
import argparse
import fnmatch
import gzip
import hashlib
import html
import os
import pathlib
import re
import sys

VALIDATION_OF_1000 = 20
LEAST_CHARACTERS = 80
LEAST_WORDS = 12
LEAST_LETTERS = 0.85    # among characters that are not blank: tables, code and formulas have fewer
LEAST_COMMON = 0.16     # of all words: lists of names have fewer, and so have other languages; prose has about 0.4
COMMON = set('''a all also an and any are as at be been but by can do does for from had has have he his how i if in into is it
    its may more no not of on one only or other our out should so some such than that the their them then there these they this
    to up use used was we were what when where which who will with would you your'''.split())
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def is_prose(text):
    words = WORD.findall(text)
    if len(text) < LEAST_CHARACTERS or len(words) < LEAST_WORDS:
        return False
    solid = text.replace(' ', '')
    if sum(map(str.isalpha, solid)) < LEAST_LETTERS * len(solid):
        return False
    return sum(word.lower() in COMMON for word in words) >= LEAST_COMMON * len(words)


def fingerprint(text):
    """Equal for two paragraphs that differ in nothing but case, digits, punctuation and blanks."""
    return hashlib.blake2b(re.sub(r'[\W\d_]+', ' ', text.lower()).strip().encode(), digest_size=12).digest()


def is_held_out(package, path):
    return int(hashlib.sha256(f'{package}/{path}'.encode()).hexdigest(), 16) % 1000 < VALIDATION_OF_1000


# Regular expressions read HTML here, as html.parser is far slower; no harm is done where they take a tag for text.
HTML_SKIPPED = re.compile(r'<!--.*?-->|<(script|style|title|pre|nav|footer|select|svg|math|screen|info)\b[^>]*>.*?</\1\s*>'
                          r'|(<a\b[^>]*class="headerlink".*?</a>)', re.S | re.I)
HTML_INLINE = re.compile(r'</?(?:abbr|acronym|a|big|b|cite|cmd|code|del|dfn|em|file|font|guiseq|gui|img|input|ins|i|kbd|keyseq|key|link'
                         r'|mark|output|q|samp|small|span|strike|strong|sub|sup|sys|s|tt|u|var|wbr)(?:\s[^>]*)?/?>|<br\b[^>]*>', re.I)
HTML_TAG = re.compile(r'<[/!?a-z][^>]*>', re.I)


def from_html(text):
    """Takes the text between tags that begin or end a paragraph, without what is code, navigation or decoration."""
    text = HTML_SKIPPED.sub(lambda found: '' if found[2] else '\f', text)
    text = HTML_INLINE.sub(lambda found: ' ' if found[0][:3].lower() == '<br' else '', text)
    return map(html.unescape, HTML_TAG.sub('\f', text).split('\f'))


def from_pod(text):
    """Perl's format: a paragraph that begins with a blank is code, one that begins with = a command."""
    for paragraph in re.split(r'\n[ \t]*\n', text):
        paragraph = re.sub(r'\A=item\s+\*?\s*', '', paragraph.strip('\n'))
        if paragraph[:1] in ('=', ' ', '\t', ''):
            continue
        paragraph = re.sub(r'\b[XZ]<[^<>]*>', '', paragraph)
        paragraph = paragraph.replace('E<lt>', '\1').replace('E<gt>', '\2').replace('E<sol>', '/').replace('E<verbar>', '|')
        paragraph = re.sub(r'\b[BCFILS](<<+)\s+(.*?)\s+>>+', lambda found: found[2].replace('<', '\1').replace('>', '\2'),
                           paragraph, flags=re.S)
        before = None
        while before != paragraph:
            before = paragraph
            paragraph = re.sub(r'\bL<(?:([^<>|]*)\|)?([^<>]*)>', lambda found: found[1] or found[2].strip('/"'), paragraph)
            paragraph = re.sub(r'\b[BCFIS]<([^<>]*)>', r'\1', paragraph)
        yield paragraph.replace('\1', '<').replace('\2', '>')


def from_text(text):
    # A line with nothing but a % is between two fortunes.
    return re.split(r'\n[ \t\f]*%?[ \t\f]*\n', text)


def read(path):
    data = path.read_bytes()
    if path.suffix == '.gz':
        data = gzip.decompress(data)
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        return data.decode('latin-1')


def paragraphs_of(path):
    """The prose of a document in order, each paragraph on one line."""
    name = path.name.removesuffix('.gz')
    reader = from_pod if name.endswith('.pod') else from_html if re.search(r'\.(html?|page)$', name) else from_text
    for paragraph in reader(read(path).replace('\r\n', '\n')):
        paragraph = ' '.join(paragraph.translate({0xad: None, 0x200b: None, 0xfeff: None, 0xb6: None}).split())
        if is_prose(paragraph):
            yield paragraph


def documents_of(folder, patterns):
    """Paths of the files that a pattern names, as texts from the folder of the package, in an order of their own."""
    found = []
    for parent, _, names in os.walk(folder):
        paths = (pathlib.Path(parent, name) for name in names)
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns))


def extract(packages, root, out):
    """Writes the texts, and gives the bytes of each by name."""
    seen, sizes = set(), {}
    texts = {'validation': []}
    for package, patterns in packages:
        texts[package] = []
        for path in documents_of(root / package, patterns):
            text = texts['validation' if is_held_out(package, path) else package]
            for paragraph in paragraphs_of(root / package / path):
                known = len(seen)
                seen.add(fingerprint(paragraph))
                if len(seen) > known:
                    text.append(paragraph)
        print(f'{sum(map(len, texts[package])):9d} {package}', file=sys.stderr, flush=True)
    for name, text in texts.items():
        data = '\n\n'.join(text + ['']).encode()[:-1]
        (out / f'{name}.txt').write_bytes(data)
        sizes[name] = len(data)
    return sizes


if __name__ == '__main__':
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--out', required=True, type=pathlib.Path)
    options.add_argument('root', type=pathlib.Path)
    arguments = options.parse_args()
    lines = [line.split() for line in sys.stdin if line.strip()]
    for text_name, size in extract([(name, patterns) for name, *patterns in lines], arguments.root, arguments.out).items():
        print(f'{size:9d} {text_name}')
