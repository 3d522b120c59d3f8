"""Disturbs tiny runs in every way that is known here, and counts what becomes of them.

    make soak SOAK_TRIALS=5000 SOAK_JOBS=2        every kind of disturbance
    python3 test/faults/soak --only failing_calls --trials 100

Prints a table in Markdown. The exit code is 1 if a trial ended otherwise than with the same result or one clear line.
"""
import argparse
import concurrent.futures
import itertools
import pathlib
import random
import shutil
import sys
import tempfile
import time
import traceback

import damage
import failing_calls
import interruptions
import nonfinite
import pairs
from runs import ROOT, Runs
from verdicts import BAD, CRASHED, GOOD, Table, Verdict

# The kinds of disturbance, and how many of a hundred trials each gets.
SHARES = {interruptions: 27, failing_calls: 33, damage: 33, nonfinite: 3, pairs: 4}
KINDS = {module.__name__: module for module in SHARES}


def scratch_folder():
    """Memory, where there is some: trials write much and keep nothing."""
    memory = pathlib.Path('/dev/shm')
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return pathlib.Path(tempfile.mkdtemp(prefix='relora_soak_', dir=memory if roomy else None)).resolve()


def in_turn(runs, kinds, pick):
    """The trials of these kinds by their shares, until none is left."""
    made = {kind: kind.trials(runs, pick) for kind in kinds}
    owed = dict.fromkeys(made, 0)
    while made:
        for kind in made:
            owed[kind] += SHARES[kind]
        kind = max(made, key=lambda each: owed[each])
        owed[kind] -= sum(SHARES[each] for each in made)
        trial = next(made[kind], None)
        if trial is None:
            del made[kind]
        else:
            yield kind.GROUP, trial


def judged(runs, trial, folder):
    try:
        folder.mkdir()
        return trial.body(runs, folder / 'run')
    except Exception:  # a mistake here must not pass for a good end
        return Verdict(CRASHED, 'in the trial itself: ' + ' / '.join(traceback.format_exc().splitlines()[-3:]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--trials', type=int, default=500)
    arguments.add_argument('--seconds', type=float, default=float('inf'))
    arguments.add_argument('--jobs', type=int, default=1, help='trials side by side')
    arguments.add_argument('--seed', type=int, default=1)
    arguments.add_argument('--only', choices=KINDS, action='append')
    arguments.add_argument('--build', type=pathlib.Path, default=ROOT / 'build')
    chosen = arguments.parse_args()

    folder, table, start = scratch_folder(), Table(), time.monotonic()
    try:
        runs = Runs(folder, chosen.build)
        print(f'a run takes {runs.seconds:.2f} s undisturbed', flush=True)
        kinds = [KINDS[name] for name in chosen.only or KINDS]
        turn = itertools.islice(in_turn(runs, kinds, random.Random(chosen.seed)), chosen.trials)
        with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
            numbered, waiting = enumerate(turn), {}
            said = time.monotonic()
            while True:
                while len(waiting) < 2 * chosen.jobs and time.monotonic() - start < chosen.seconds:
                    number, (group, trial) = next(numbered, (None, (None, None)))
                    if trial is None:
                        break
                    waiting[pool.submit(judged, runs, trial, folder / f'trial {number}')] = group, trial
                if not waiting:
                    break
                done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    group, trial = waiting.pop(future)
                    table.add(group, trial, future.result())
                if time.monotonic() - said > 30:
                    said = time.monotonic()
                    print(f'{table.total(GOOD + BAD)} trials, {table.bad} bad, {said - start:.0f} s', flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f'\n{table.markdown()}\n\n{table.total(GOOD + BAD)} trials in {time.monotonic() - start:.0f} s, seed {chosen.seed}')
    sys.exit(1 if table.bad else 0)


if __name__ == '__main__':
    main()
