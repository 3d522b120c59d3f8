"""Kills, power cuts and signals at chosen calls and at random moments, closed pipes and descriptors: the run goes on from there."""
import os
import random
import signal
import subprocess
import time

from failing_calls import calls_of
from verdicts import LOST, Trial, Verdict, as_reference, completed, ended_badly

GROUP = 'kills, power cuts, signals'
SIGNALS = ('TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'PIPE')


def killed_at(call, number, how):
    """A run that is killed at one of its calls on files."""
    def body(runs, folder):
        ended = runs.train(folder, fault=f'{call} {number} {how}')
        if ended.code != -signal.SIGKILL:
            return ended_badly(ended) or completed(runs, folder)
        return completed(runs, folder)
    return Trial(f'{how} at {call} {number}', body)


def signalled_at(call, number, name):
    """A signal at a call: the run saves and stops, or saves and goes on, or dies before there is work to lose."""
    def body(runs, folder):
        return after_signal(runs, folder, runs.train(folder, fault=f'{call} {number} {name}'), name)
    return Trial(f'SIG{name} at {call} {number}', body)


def after_signal(runs, folder, ended, name):
    number = signal.Signals[f'SIG{name}']
    if ended.code == 0:
        return as_reference(runs, folder)
    if ended.code == -number:
        metrics = folder / 'metrics.jsonl'
        if metrics.exists() and metrics.stat().st_size > 0:
            return Verdict(LOST, 'ended by the signal, with updates done and not saved')
    elif ended.code != 128 + number:
        return ended_badly(ended) or Verdict(LOST, f'exit code {ended.code}: {ended.stderr.strip()}')
    return completed(runs, folder)


def at_random(seed):
    """One to three kills or signals at random moments, of the run and of its resumes."""
    def body(runs, folder):
        pick = random.Random(seed)
        for attempt in range(pick.randint(1, 3)):
            process = runs.start(runs.command(folder, *(['--resume'] if attempt else [])))
            time.sleep(pick.uniform(0, runs.seconds * 1.2))
            name = pick.choice(('KILL', 'KILL', *SIGNALS))
            process.send_signal(signal.Signals[f'SIG{name}'])
            if name in ('TERM', 'INT') and pick.random() < 0.3:
                process.send_signal(signal.Signals[f'SIG{name}'])  # the second one ends it at once
            ended = runs.end(process)
            if ended.code and ended.code > 0 and ended.code != 128 + signal.Signals[f'SIG{name}']:
                return ended_badly(ended) or Verdict(LOST, f'exit code {ended.code}: {ended.stderr.strip()}')
        return completed(runs, folder)
    return Trial(f'at random, seed {seed}', body)


def without(descriptors):
    """Started with some of descriptors 0 to 2 closed."""
    def body(runs, folder):
        def shut():
            for descriptor in descriptors:
                os.close(descriptor)
        process = runs.start(runs.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=shut)
        ended = runs.end(process)
        return as_reference(runs, folder) if ended.code == 0 else Verdict(LOST, f'exit code {ended.code}')
    return Trial(f'descriptors {descriptors} closed', body)


def nobody_listens():
    """Who reads the output goes away."""
    def body(runs, folder):
        process = runs.start(runs.command(folder, '--log-every', '1'))
        process.stdout.close()
        process.stderr.close()
        process.stdout = process.stderr = None
        ended = runs.end(process)
        return as_reference(runs, folder) if ended.code == 0 else Verdict(LOST, f'exit code {ended.code}')
    return Trial('output closed', body)


def trials(runs, pick):
    calls = calls_of(runs, 'new run')
    chosen = [killed_at(call, number, how) for call, number, _ in calls for how in ('KILL', 'power')]
    chosen += [killed_at(call, number, 'torn') for call, number, _ in calls if call == 'write']
    chosen += [signalled_at(call, number, name) for call, number, _ in calls for name in SIGNALS]
    chosen += [without(closed) for closed in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2))] + [nobody_listens()]
    pick.shuffle(chosen)
    # Half of the time something from the list, half of the time a moment that no list has.
    while True:
        yield at_random(pick.getrandbits(32))
        if chosen:
            yield chosen.pop()
