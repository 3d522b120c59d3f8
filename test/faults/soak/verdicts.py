"""What became of a trial, and the table of all."""
import collections
import dataclasses
from typing import Callable

SAME, REFUSED = 'same result', 'refused in one line'
LOST, SILENT, CRASHED, HUNG, UNCLEAR, LITTER = 'lost', 'silent', 'crashed', 'hung', 'unclear line', 'left behind'
GOOD = (SAME, REFUSED)
BAD = (LOST, SILENT, CRASHED, HUNG, UNCLEAR, LITTER)


@dataclasses.dataclass
class Verdict:
    kind: str
    why: str = ''


@dataclasses.dataclass
class Trial:
    """`body` takes the runs and a folder of the trial's own, and gives the verdict."""
    name: str
    body: Callable


def ended_badly(ended):
    """The verdict on a program that neither succeeded nor was refused in one clear line; None on all others."""
    problem = '' if ended.code == 0 else ended.problem()
    if not problem:
        return None
    kind = HUNG if problem == 'hung' else UNCLEAR if problem.startswith('unclear') else CRASHED
    return Verdict(kind, problem)


def completed(runs, folder, *more):
    """The verdict on a run that is now resumed with nothing in its way: it must end as the reference did."""
    ended = runs.resume(folder, *more)
    if ended.code != 0:
        return Verdict(LOST, f'can\'t go on: {ended.problem() or ended.stderr.strip()}')
    return as_reference(runs, folder)


def as_reference(runs, folder):
    """The verdict on a run that says it is complete."""
    different = runs.difference(folder)
    if different:
        return Verdict(SILENT, f'differs: {different}')
    litter = runs.litter(folder)
    return Verdict(LITTER, ', '.join(litter)) if litter else Verdict(SAME)


class Table:
    """Counts verdicts by kind of trial, and prints the bad ones."""

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.bad = 0

    def add(self, group, trial, verdict):
        self.counts[group][verdict.kind] += 1
        if verdict.kind in BAD:
            self.bad += 1
            print(f'{verdict.kind}: {group}: {trial.name}: {verdict.why}', flush=True)

    def total(self, kinds):
        return sum(count[kind] for count in self.counts.values() for kind in kinds)

    def markdown(self):
        columns = (*GOOD, *BAD)
        rows = [['what was done', 'trials', *columns]]
        for group, count in self.counts.items():
            rows.append([group, sum(count.values()), *(count[kind] for kind in columns)])
        rows.append(['all', self.total(columns), *(self.total([kind]) for kind in columns)])
        lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in rows]
        return '\n'.join([lines[0], '|---' * len(rows[0]) + '|', *lines[1:]])
