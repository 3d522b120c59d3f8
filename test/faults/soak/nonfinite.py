"""NaN and infinities in every class of tensor, before and after the switch: refused, naming the tensor."""
import hashlib
import json
import math
import random
import shutil
import struct

from runs import sha256
from verdicts import LOST, REFUSED, SILENT, UNCLEAR, Trial, Verdict, ended_badly

GROUP = 'numbers that are not finite'
STEPS = {'full': 2, 'lowrank': 8}


def seal(checkpoint):
    """Gives state.json the hashes of what is there now."""
    path = checkpoint / 'state.json'
    state = json.loads(path.read_text())
    state['files'] = {name: sha256(checkpoint / name) for name in state['files']}
    if state.pop('sha256', None):
        text = json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False)
        state['sha256'] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False) + '\n')


def tensors(path):
    """Names of a safetensors file, and where the bytes of each begin and end in it."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8 + length])
    return {name: [8 + length + offset for offset in entry['data_offsets']]
            for name, entry in header.items() if name != '__metadata__'}


def poison(path, name, pick):
    begin, end = tensors(path)[name]
    data = bytearray(path.read_bytes())
    struct.pack_into('<f', data, begin + 4 * pick.randrange((end - begin) // 4), pick.choice((math.nan, math.inf, -math.inf)))
    path.write_bytes(data)


def verdict(ended, name):
    if ended.code == 0:
        return Verdict(SILENT, 'accepted')
    bad = ended_badly(ended)
    if bad:
        return bad
    # Moments are named with their tensor: both forms of the name will do.
    return Verdict(REFUSED) if name.removesuffix('.m').removesuffix('.v') in ended.stderr else \
        Verdict(UNCLEAR, f'does not name {name}: {ended.stderr.strip()}')


def resumed(phase, file, name, seed):
    def body(runs, folder):
        runs.stopped_at(STEPS[phase], folder)
        # Older checkpoints are whole, and a resume would take one of them.
        last = folder / f'step_{STEPS[phase]:08d}'
        for other in folder.glob('step_*'):
            if other != last:
                shutil.rmtree(other)
        poison(last / file, name, random.Random(seed))
        seal(last)
        return verdict(runs.resume(folder), name)
    return Trial(f'{phase} {file} {name}', body)


def begun(name, seed):
    """A new run from a model; an export of a checkpoint that has been made from it would be next."""
    def body(runs, folder):
        model = folder.with_name('model')
        shutil.copytree(runs.reference / 'export', model)
        poison(model / 'model.safetensors', name, random.Random(seed))
        for sums in model.glob('*SUMS'):
            sums.unlink()
        ended = verdict(runs.train(folder, '--init-from', model), name)
        return Verdict(LOST, 'left a run folder') if ended.kind == REFUSED and (folder / 'export').exists() else ended
    return Trial(f'new run from {name}', body)


def trials(runs, pick):
    chosen = []
    for phase, step in STEPS.items():
        for path in sorted((runs.reference / f'step_{step:08d}').glob('*.safetensors')):
            chosen += [resumed(phase, path.name, name, pick.getrandbits(32)) for name in tensors(path)]
    chosen += [begun(name, pick.getrandbits(32)) for name in tensors(runs.reference / 'export/model.safetensors')]
    pick.shuffle(chosen)
    yield from chosen
