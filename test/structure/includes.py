"""Checks the order of the tree, after a check that a planted mistake of every kind is found. Prints FILE:LINE: MISTAKE.

  - A room of src/ includes only rooms below it (BELOW). The path is written from src/, and the file is there.
  - No file in src/ is longer than 400 lines, and none names dev/.
  - The rooms below the training loop name no command line option: the loop says which one would help.
  - A comment begins with its subject, not with "Of", "That" or "Those".
"""
import os
import pathlib
import re
import sys
import tempfile

BELOW = {
    'runtime': set(),
    'kernels': {'runtime'},
    'relora.cuh': {'kernels', 'runtime'},
    'model': {'relora.cuh', 'kernels', 'runtime'},
    'optimizer': {'kernels', 'runtime'},
    'io': {'runtime'},
    'checkpoint': {'model', 'optimizer', 'io', 'relora.cuh', 'kernels', 'runtime'},
    'train': {'checkpoint', 'model', 'optimizer', 'io', 'relora.cuh', 'kernels', 'runtime'},
    'train_relora.cu': {'train', 'checkpoint', 'model', 'optimizer', 'io', 'relora.cuh', 'kernels', 'runtime'},
    'model/config.h': {'runtime'},  # plain data, so that what is below the model may know it
}
WITHOUT_OPTIONS = ('runtime', 'kernels', 'model', 'optimizer', 'io', 'checkpoint')
MOST_LINES = 400
# The executor of dev/cuda_on_cpu stands in for CUDA's headers, and comes from the include path of that build.
EXCEPTIONS = {('src/kernels/cuda/gpu.cuh', 'executor.h')}

CPP = ('.cpp', '.cu', '.cuh', '.h')
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]*)"')
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|R"\(.*?\)"|"(?:\\.|[^"\\\n])*"', re.S)
OPTION = re.compile(r'(?<![\w-])--[a-z]')
NAMES_DEV = re.compile(r'(?<![\w/])dev/')
BEGINS_BADLY = re.compile(r'(?:^|\s)(?:#|//|/\*|""")\s*(Of|That|Those)\s')


def room_of(path):
    """The room of a path from the root, and of one from src/; None for what belongs to none."""
    path = path.removeprefix('src/')
    if path in BELOW:
        return path
    return path.split('/')[0] if '/' in path and path.split('/')[0] in BELOW else None


def mistakes_of_includes(root, name, lines):
    room = room_of(name)
    if room is None:
        yield 1, f'src/ has no room of this name; there are {", ".join(key for key in BELOW if "." not in key)}'
        return
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found or (name, found[1]) in EXCEPTIONS:
            continue
        path = found[1]
        if '..' in path or not ((root / 'src' / path).is_file() or path == 'relora.cuh'):
            yield number, f'"{path}" is no file under src/: include paths are written from there'
        elif not {room_of(path), path.split('/')[0]} & (BELOW[room] | {room}):
            yield number, f'{room} may not include {room_of(path)} ("{path}")'


def mistakes_of_strings(text):
    for found in COMMENT_OR_STRING.finditer(text):
        option = not found[0].startswith('/') and OPTION.search(found[0])
        if option:
            number = text.count('\n', 0, found.start() + option.start()) + 1
            yield number, 'names a command line option, which only src/train and train_relora.cu may'


def sources(root):
    """Every source, script and Makefile, without a look at what is built or trained while this runs."""
    for folder, folders, names in os.walk(root):
        folders[:] = set(folders) - ({'build', 'runs', '.git'} if folder == str(root) else set())
        for path in (pathlib.Path(folder, name) for name in names):
            if path.suffix in (*CPP, '.sh', '.bash', '.sbatch', '.py') or path.name == 'Makefile' or path.match('.ci/run'):
                yield path


def mistakes(root):
    for path in sorted(sources(root)):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding='utf-8')
        lines = text.splitlines()
        found = [(number, f'the comment begins with "{bad[1]}": begin with the subject')
                 for number, line in enumerate(lines, 1) if (bad := BEGINS_BADLY.search(line))]
        if name.startswith('src/') and path.suffix in CPP:
            if len(lines) > MOST_LINES:
                found.append((MOST_LINES + 1, f'has {len(lines)} lines, more than {MOST_LINES}'))
            found += [(number, 'names dev/, which is above src/')
                      for number, line in enumerate(lines, 1) if NAMES_DEV.search(line)]
            if name.split('/')[1] in WITHOUT_OPTIONS:
                found += mistakes_of_strings(text)
        if path.suffix in CPP and (name.startswith('src/') or name in BELOW):
            found += mistakes_of_includes(root, name, lines)
        yield from (f'{name}:{number}: {what}' for number, what in sorted(found))


# One of every kind, and beside them what looks like one and is none.
PLANTED = {
    'src/runtime/tensor.h': '#include <vector>\n// {That} is no subject.\n// What is meant: that one.\n',
    'src/kernels/kernels.h': '#include "runtime/tensor.h"\nauto s = "use --chunk 4";  // as --chunk says\nint n = x --y;\n',
    'src/kernels/cuda/gpu.cuh': '#include "executor.h"\n#include "kernels.h"\n#include "dev/on_cpu.h"\nopen("/dev/null");\n',
    'src/io/files.h': '#include "model/config.h"\n#include "runtime/tensor.h"\nauto s = R"(\n--out)";\n',
    'src/model/config.h': '#include "relora.cuh"\n#include "../io/files.h"\n',
    'src/model/gpt2.h': '#include "relora.cuh"\n#include "model/config.h"\n',
    'src/optimizer/adamw.h': '#include "model/config.h"\n',
    'src/checkpoint/save.h': '#include "io/files.h"\n#include "train/long.h"\n',
    'src/train/long.h': '#include "checkpoint/save.h"\nauto s = "--out";\n' + '\n' * 400,
    'src/other/stray.h': '',
    'relora.cuh': '#include "kernels/kernels.h"\n#include "model/gpt2.h"\n',
    'train_relora.cu': '#include "train/long.h"\n#include "io/files.h"\n',
    'Makefile': 'all:  # {Those} are all\n',
    'dev/run.sh': '# {Of} a kind\n#    Often it is not.\n',
}
PLACES = '''Makefile:1 dev/run.sh:1 relora.cuh:2 src/checkpoint/save.h:2 src/io/files.h:1 src/io/files.h:4 src/kernels/cuda/gpu.cuh:2
    src/kernels/cuda/gpu.cuh:3 src/kernels/cuda/gpu.cuh:3 src/kernels/kernels.h:2 src/model/config.h:1 src/model/config.h:2
    src/optimizer/adamw.h:1 src/other/stray.h:1 src/runtime/tensor.h:2 src/train/long.h:401'''


def check_this_check():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in PLANTED.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(re.sub(r'\{(\w+)\}', r'\1', text))
        found = [':'.join(line.split(':')[:2]) for line in mistakes(root)]
    if found != PLACES.split():
        sys.exit(f'the check is wrong: planted mistakes found at\n{found}, should be at\n{PLACES.split()}')


if __name__ == '__main__':
    check_this_check()
    all_mistakes = list(mistakes(pathlib.Path('.')))
    if all_mistakes:
        sys.exit('\n'.join(all_mistakes + [f'{len(all_mistakes)} mistakes']))
