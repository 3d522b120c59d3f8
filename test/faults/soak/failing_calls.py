"""Every call on a file fails, is interrupted or comes back short: in a new run, a resume, an export, the tokenizer."""
import shutil

from runs import HALF_WAY
from verdicts import LITTER, LOST, REFUSED, SAME, SILENT, UNCLEAR, Trial, Verdict, as_reference, completed, ended_badly

GROUP = 'failing calls'
ACTIONS = {
    'open': ('EACCES', 'EMFILE', 'EIO', 'ENOSPC'),
    'read': ('EIO', 'EINTR', 'short'),
    'write': ('ENOSPC', 'ENOSPC+', 'EIO', 'EDQUOT+', 'EINTR', 'short'),
    'fsync': ('EIO', 'ENOSPC', 'EIO+', 'EINTR'),
    'rename': ('EIO', 'ENOSPC', 'EACCES'),
    'close': ('EIO', 'ENOSPC', 'EINTR'),
    'mmap': ('ENOMEM', 'EACCES'),
    'mkdir': ('ENOSPC', 'EACCES', 'EIO'),
    'unlink': ('EIO', 'EACCES'),
    'statvfs': ('EIO', 'EINTR'),
    'flock': ('ENOLCK', 'EINTR', 'EIO'),
}
# These are no failures: what was asked for is done all the same.
INVISIBLE = ('EINTR', 'short')


def not_refused_well(ended, action, runs):
    """The verdict on a program that has met a failing call and ended with an error; None if that was as it should be."""
    if action in INVISIBLE:
        return ended_badly(ended) or Verdict(LOST, f'{action} ended it: {ended.stderr.strip()}')
    bad = ended_badly(ended)
    if bad:
        return bad
    return None if str(runs.folder) in ended.stderr else Verdict(UNCLEAR, f'names no file: {ended.stderr.strip()}')


def of_a_run(call, number, action, prepare, start):
    def body(runs, folder):
        prepare(runs, folder)
        ended = start(runs, folder, f'{call} {number} {action}')
        if ended.code == 0:
            verdict = as_reference(runs, folder)
            # What can't be removed stays, until the next start.
            return Verdict(SAME) if verdict.kind == LITTER and call in ('unlink', 'open') else verdict
        bad = not_refused_well(ended, action, runs)
        if bad:
            return bad
        after = completed(runs, folder)
        return Verdict(REFUSED) if after.kind == SAME else after
    return body


def of_a_tool(call, number, action, start):
    """The export and the tokenizer: the whole result or none, and the same when it is asked for again."""
    def body(runs, folder):
        ended = start(runs, folder, f'{call} {number} {action}')
        if ended.code != 0:
            bad = not_refused_well(ended, action, runs)
            if bad:
                return bad
            if contents(folder) == contents(whole_result(runs, start)):
                return Verdict(REFUSED)  # it is only not known to be on the disk
            if start is exports and folder.exists():
                return Verdict(SILENT, f'half a model stays: {sorted(contents(folder))}')
            # Shards that stay can't be trained on before the tokenizer has had its way.
            if any(folder.glob('train_*.bin')) and runs.train(folder.with_name('trained'), shards=folder).code == 0:
                return Verdict(SILENT, f'half of the shards can be trained on: {sorted(contents(folder))}')
            again = runs.tokenize(folder, '--overwrite') if start is tokenizes else start(runs, folder, None)
            if again.code != 0:
                return Verdict(LOST, f'not possible again: {again.stderr.strip()}')
        litter = sorted(path.name for path in folder.parent.iterdir() if path != folder)
        if litter:
            return Verdict(LITTER, ', '.join(litter))
        if contents(folder) != contents(whole_result(runs, start)):
            return Verdict(SILENT, f'{sorted(contents(folder))} differ')
        return Verdict(REFUSED if ended.code else SAME)
    return body


def whole_result(runs, start):
    return runs.shards if start is tokenizes else runs.reference / 'export'


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}


def nothing(runs, folder):
    pass


def half_way(runs, folder):
    runs.stopped_at(HALF_WAY, folder)


def begins(runs, folder, fault, **how):
    return runs.train(folder, fault=fault, **how)


def resumes(runs, folder, fault, **how):
    return runs.resume(folder, fault=fault, **how)


def exports(runs, folder, fault, **how):
    return runs.export(folder, fault=fault, **how)


def tokenizes(runs, folder, fault, **how):
    return runs.tokenize(folder, fault=fault, **how)


SCENES = {'new run': (nothing, begins), 'resume': (half_way, resumes), 'export': (nothing, exports),
          'tokenizer': (nothing, tokenizes)}


def calls_of(runs, scene):
    """The calls that an undisturbed program makes: triples of call, number and path."""
    prepare, start = SCENES[scene]
    folder, log = runs.folder / f'counted {scene}', runs.folder / f'{scene}.log'
    prepare(runs, folder)
    ended = start(runs, folder, None, log=log)
    runs.must(ended)
    shutil.rmtree(folder)
    lines = [line.split(' ', 2) for line in log.read_text().splitlines()]
    return [(call, int(number), path) for call, number, path in lines]


def trials(runs, pick):
    chosen = []
    for scene, (prepare, start) in SCENES.items():
        for call, number, path in calls_of(runs, scene):
            for action in ACTIONS[call]:
                make = of_a_run(call, number, action, prepare, start) if start in (begins, resumes) else \
                    of_a_tool(call, number, action, start)
                chosen.append(Trial(f'{scene}: {action} at {call} {number} ({path.rsplit("/", 1)[-1]})', make))
    pick.shuffle(chosen)
    yield from chosen
