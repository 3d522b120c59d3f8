"""Edits state.json of a checkpoint in every structural way, and sees whether the program resumes from it all the same.

Usage: state_edits.py RUN PROGRAM ARGUMENT...: RUN/step_N is the only checkpoint of RUN, and `PROGRAM ARGUMENT...` resumes it.
Every edit is made with the hash that belongs to the edited text, some also with the old one. Prints how many were tried, and
each that went through in silence; ends with 1 if there was any.
"""
import copy
import hashlib
import json
import math
import pathlib
import subprocess
import sys

# Counters in which another small number can be that of another run: only the hash shows that it isn't this one's.
COUNTERS = ('restarts', 'data/', 'adam_steps/')
# A run may have no validation data and no tokenizer: only the hash shows that this one had.
MAY_BE_ABSENT = ('train_data/tokenizer', 'val_data/')
OTHERS = [None, True, -1, 0, 0.5, 1e300, 2**62, 2**64 - 1, 2**70, math.nan, -math.inf, '', 'x', [], {}, [1], {'a': 1}]


def text_of(state):
    return json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False) + '\n'


def hashed(state):
    state = {key: value for key, value in state.items() if key != 'sha256'}
    return {**state, 'sha256': hashlib.sha256(text_of(state)[:-1].encode()).hexdigest()}


def places(value, path=()):
    """The paths of all fields, and of the first of many that are alike."""
    if isinstance(value, dict):
        names = list(value)
        for name in names[:2] if path in (('options',), ('adam_steps',)) else names:
            yield path + (name,)
            yield from places(value[name], path + (name,))


def at(state, path):
    for name in path:
        state = state[name]
    return state


def same(a, b):
    """Whether two values are one to a reader of JSON: 0 and 0.0 are, 1 and true are not."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def edits(state):
    """(what it is, the edited state), for every edit that makes another state."""
    fields = [path for path in places(state) if path != ('sha256',)]
    for path in fields:
        name = '/'.join(path)
        edited = copy.deepcopy(state)
        del at(edited, path[:-1])[path[-1]]
        yield f'without {name}', edited
        for other in OTHERS:
            if same(other, at(state, path)):
                continue
            edited = copy.deepcopy(state)
            at(edited, path[:-1])[path[-1]] = copy.deepcopy(other)
            yield f'{name} = {other!r}', edited
        edited = copy.deepcopy(state)
        at(edited, path[:-1])[path[-1] + '_'] = at(edited, path[:-1]).pop(path[-1])
        yield f'{name} renamed', edited
        if isinstance(at(state, path), dict):
            edited = copy.deepcopy(state)
            at(edited, path)['unknown'] = 1
            yield f'more in {name}', edited
    for one, other in zip(fields, fields[1:]):
        edited = copy.deepcopy(state)
        a, b = at(state, one), at(state, other)
        if one == other[:-1] or a == b:
            continue
        at(edited, one[:-1])[one[-1]], at(edited, other[:-1])[other[-1]] = copy.deepcopy(b), copy.deepcopy(a)
        yield f'{"/".join(one)} and {"/".join(other)} swapped', edited


def texts(state):
    """(what it is, the text of an edited file)"""
    for what, edited in edits(state):
        plausible = (what.startswith(COUNTERS) and what.endswith(('= 0', 'swapped'))
                     or what.startswith(MAY_BE_ABSENT) and what.endswith(('= []', 'swapped')))
        if plausible or '=' not in what:
            yield what, text_of(edited)
        if not plausible:
            yield f'{what}, hashed', text_of(hashed(edited))
    good = text_of(state)
    for what, edited in (('plus 1', state['step'] + 1), ('minus 1', state['step'] - 1)):
        yield f'step {what}, hashed', text_of(hashed({**state, 'step': edited}))
    yield 'step twice', good.replace('{', '{\n "step": 1,', 1)
    yield 'spaces', good.replace(' "step"', '  "step"')
    yield 'cut', good[:len(good) // 2]
    yield 'empty', ''
    yield 'an older format', text_of({**state, 'format': 1})


def main():
    run, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
    file, = run.glob('step_*/state.json')
    good = file.read_text()
    state = json.loads(good)
    tried = silent = 0
    for what, text in texts(state):
        file.write_text(text)
        result = subprocess.run(command, capture_output=True, text=True)
        tried += 1
        lines = result.stderr.strip().splitlines()
        if result.returncode not in (1, 2) or len(lines) != 1:
            silent += 1
            print(f'{what}: exit code {result.returncode}, {len(lines)} lines: {result.stderr[:200]}')
    file.write_text(good)
    if subprocess.run(command, capture_output=True).returncode != 0:
        print('the checkpoint as it was is not resumed from')
        silent += 1
    print(f'{tried} edits of state.json, {silent} not refused in one line')
    return 1 if silent else 0


sys.exit(main())
