#!/usr/bin/env python3
"""Writes unicode_classes.inc: which code points beyond ASCII tiktoken takes for letters, numbers and white space.

usage: python src/io/make_unicode_classes.py UNICODE_VERSION    (needs: pip install tiktoken)

tiktoken is asked itself, character by character, because ids have to agree with it. Which version of Unicode it follows
(16.0 in 0.14.0) is documented by the crate regex-syntax that it is built with.
"""
import importlib.metadata
import pathlib
import sys

import tiktoken

EVERY = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]
PER_LINE = 6


def members(pattern):
    """The code points that the pattern matches. An encoding of single bytes gives the matched text as it is."""
    encoding = tiktoken.Encoding('bytes', pat_str=pattern, mergeable_ranks={bytes([i]): i for i in range(256)},
                                 special_tokens={})
    for at in range(0, len(EVERY), 4096):
        text = ''.join(map(chr, EVERY[at:at + 4096]))
        yield from map(ord, bytes(encoding.encode_ordinary(text)).decode())


def ranges(code_points):
    found = []
    for c in code_points:
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return [f'{{0x{first:X}, 0x{last:X}}},' for first, last in found]


if len(sys.argv) != 2:
    sys.exit(__doc__.splitlines()[2])
lines = [f'// Classes of code points beyond ASCII in Unicode {sys.argv[1]}, as tiktoken '
         f'{importlib.metadata.version("tiktoken")} has them: ranges {{first, last}}.',
         '// Made by src/io/make_unicode_classes.py.']
for name, pattern in ('Letters', r'\p{L}'), ('Numbers', r'\p{N}'), ('Spaces', r'\s'):
    found = ranges(members(pattern))
    lines.append(f'constexpr CodePoints k{name}[] = {{')
    lines += ['    ' + ' '.join(found[at:at + PER_LINE]) for at in range(0, len(found), PER_LINE)]
    lines.append('};')
pathlib.Path(__file__).with_name('unicode_classes.inc').write_text('\n'.join(lines) + '\n')
