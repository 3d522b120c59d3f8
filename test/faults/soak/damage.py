"""Bytes that flip, files that are cut, missing or something else: refused in one line, or without any effect."""
import os
import random
import shutil

from runs import HALF_WAY
from verdicts import LOST, REFUSED, SAME, SILENT, UNCLEAR, Trial, Verdict, as_reference, ended_badly

GROUP = 'damaged files'
CHECKPOINT = f'step_{HALF_WAY:08d}'


def flips(data, place, pick):
    """The contents with another byte at one place."""
    old = data[place]
    new = pick.choice([old ^ 1 << pick.randrange(8), 0, 255, pick.randrange(256), ord('\n')])
    return data[:place] + bytes([new if new != old else old ^ 255]) + data[place + 1:]


def cut(data, place, pick):
    return data[:place]


def loses(data, place, pick):
    """The contents without a few bytes in the middle."""
    return data[:place] + data[place + pick.randint(1, 8):]


def grows(data, place, pick):
    return data[:place] + pick.randbytes(pick.randint(1, 8)) + data[place:]


CHANGES = (flips, flips, flips, flips, cut, loses, grows)


def regions(path, data):
    """Parts of a file that mean different things: as many trials fall on a short one as on a long one."""
    if path.suffix == '.safetensors':
        header = 8 + int.from_bytes(data[:8], 'little')
        return [(0, 8), (8, header), (header, len(data))]
    if path.suffix == '.bin':
        return [(0, 16), (16, 1024), (1024, len(data))]
    return [(0, len(data))]


def becomes(path, what):
    """Puts something else in the place of a file."""
    path.unlink()
    if what == 'a folder':
        path.mkdir()
    elif what == 'a FIFO':
        os.mkfifo(path)
    elif what == 'a link to itself':
        path.symlink_to(path)
    elif what == 'empty':
        path.touch()


OTHERS = ('missing', 'a folder', 'a FIFO', 'a link to itself', 'empty')


# ---- scenes: what is prepared, which file of it is damaged, and what is then run

def resume_scene(runs, folder):
    runs.stopped_at(HALF_WAY, folder)
    return folder


def shards_scene(runs, folder):
    runs.stopped_at(HALF_WAY, folder)
    shutil.copytree(runs.shards, folder.with_name('shards'))
    return folder.with_name('shards')


def model_scene(runs, folder):
    shutil.copytree(runs.reference / 'export', folder.with_name('model'))
    return folder.with_name('model')


def checkpoint_scene(runs, folder):
    shutil.copytree(runs.reference / CHECKPOINT, folder.with_name(CHECKPOINT))
    return folder.with_name(CHECKPOINT)


def resumes(runs, folder):
    return runs.resume(folder)


def resumes_there(runs, folder):
    return runs.resume(folder, shards=folder.with_name('shards'))


def begins_with_model(runs, folder):
    return runs.train(folder, '--init-from', folder.with_name('model'))


def exports(runs, folder):
    return runs.run([runs.trainer, '--threads', '1', '--init-from', folder.with_name(CHECKPOINT), '--export', folder])


def run_verdict(runs, folder, said):
    return as_reference(runs, folder)


def weights_verdict(runs, folder, said):
    """The verdict where a run may report other numbers but must have trained the same."""
    reported = {'metrics', 'export/config.json'}
    different = [name for name in runs.difference(folder).split(', ') if name and name not in reported]
    return Verdict(SILENT, f'differs: {different}') if different else Verdict(SAME)


def metrics_verdict(runs, folder, said):
    """The verdict on a damaged log: at most the damaged lines differ, and one that is dropped is named."""
    verdict = weights_verdict(runs, folder, said)
    if verdict.kind != SAME:
        return verdict
    try:
        numbers = runs.numbers(folder)
    except ValueError as error:
        return Verdict(SILENT, f'a line that is not JSON stays: {error}')
    missing = [line for line in runs.result['metrics'] if line not in numbers]
    if len(numbers) < len(runs.result['metrics']) and 'metrics.jsonl' not in said:
        return Verdict(SILENT, f'{len(missing)} lines are gone without a word')
    return Verdict(SAME)


def validation_verdict(runs, folder, said):
    """The verdict where validation may go on with other data, if that is said."""
    return weights_verdict(runs, folder, said) if 'val_000000.bin' in said else run_verdict(runs, folder, said)


def model_verdict(runs, folder, said):
    """The verdict on a run from a damaged model: it must be the one from the whole model."""
    different = runs.difference(folder, runs.result_from_model)
    return Verdict(SILENT, f'differs: {different}') if different else Verdict(SAME)


def export_verdict(runs, folder, said):
    same = {path.name: path.read_bytes() for path in folder.iterdir()} == runs.half_way_export
    return Verdict(SAME) if same else Verdict(SILENT, 'another model')


# Prepare, files below what was prepared, run, judge.
SCENES = [
    (resume_scene, [f'{CHECKPOINT}/{name}' for name in ('state.json', 'model.safetensors', 'adapters.safetensors',
                                                        'optimizer.safetensors')], resumes, run_verdict),
    (resume_scene, ['config.toml'], resumes, weights_verdict),
    (resume_scene, ['metrics.jsonl'], resumes, metrics_verdict),
    (shards_scene, ['train_000000.bin', 'tokenizer.bin'], resumes_there, run_verdict),
    (shards_scene, ['val_000000.bin'], resumes_there, validation_verdict),
    (model_scene, ['config.json', 'model.safetensors', 'SHA256SUMS'], begins_with_model, model_verdict),
    (checkpoint_scene, ['state.json', 'model.safetensors', 'adapters.safetensors', 'optimizer.safetensors'], exports, export_verdict),
]


def damaged(scene, name, seed):
    prepare, _, start, verdict = scene
    pick = random.Random(seed)
    how = pick.choice(('bytes',) * 8 + ('other',))

    def body(runs, folder):
        path = prepare(runs, folder) / name
        data = path.read_bytes()
        if how == 'other':
            becomes(path, pick.choice(OTHERS))
        else:
            begin, end = pick.choice([part for part in regions(path, data) if part[0] < part[1]])
            path.write_bytes(pick.choice(CHANGES)(data, pick.randrange(begin, end), pick))
        ended = start(runs, folder)
        if ended.code == 0:
            return verdict(runs, folder, ended.stdout + ended.stderr)
        bad = ended_badly(ended)
        if bad:
            return bad
        # What reads well but can't be is refused by its option.
        named = path.name in ended.stderr or path.parent.name in ended.stderr or name == 'config.toml' and '--' in ended.stderr
        if not named:
            return Verdict(UNCLEAR, f'names neither {path.name} nor its folder: {ended.stderr.strip()}')
        # A refusal has destroyed nothing: with the file as it was, all goes on.
        if pick.random() < 0.2:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            again = start(runs, folder)
            if again.code != 0:
                return Verdict(LOST, f'refused with the file mended: {again.stderr.strip()}')
            after = verdict(runs, folder, 'metrics.jsonl')
            return after if after.kind != SAME else Verdict(REFUSED)
        return Verdict(REFUSED)
    return Trial(f'{prepare.__name__} {name}, seed {seed}', body)


def trials(runs, pick):
    while True:
        scene = pick.choice(SCENES)
        yield damaged(scene, pick.choice(scene[1]), pick.getrandbits(32))
