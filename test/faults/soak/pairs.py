"""Two programs on one run folder, in every order: one works, the other is refused, and the run is whole."""
import random
import signal
import time

from runs import HALF_WAY
from verdicts import LOST, Trial, Verdict, as_reference, completed, ended_badly

GROUP = 'two at once'
KINDS = ('new', 'resume')


def both(first, second, begun, seed):
    def body(runs, folder):
        pick = random.Random(seed)
        if begun:
            runs.stopped_at(HALF_WAY, folder)
        commands = [runs.command(folder, *(['--resume'] if kind == 'resume' else [])) for kind in (first, second)]
        processes = [runs.start(commands[0])]
        time.sleep(pick.choice((0, 0, pick.uniform(0, runs.seconds))))
        fate = pick.choice(('lives', 'lives', 'stops', 'dies'))
        if fate != 'lives':
            processes[0].send_signal(signal.SIGSTOP if fate == 'stops' else signal.SIGKILL)
        processes.append(runs.start(commands[1]))
        if fate == 'stops':
            time.sleep(pick.uniform(0, 2 * runs.seconds))
            processes[0].send_signal(signal.SIGCONT)
        ends = [runs.end(process) for process in processes]
        killed = fate == 'dies' and ends[0].code == -signal.SIGKILL
        for ended in ends[1:] if killed else ends:
            bad = ended_badly(ended)
            if bad:
                return bad
        # A new run on a begun one is refused, and a resume may come just when it holds the lock.
        may_both_fail = killed or begun and 'new' in (first, second)
        if not may_both_fail and all(ended.code != 0 for ended in ends):
            return Verdict(LOST, f'both refused: {[ended.stderr.strip() for ended in ends]}')
        if any(ended.code == 0 for ended in ends):
            return as_reference(runs, folder)
        return completed(runs, folder)
    return Trial(f'{first} and {second} on {"a begun run" if begun else "nothing"}, seed {seed}', body)


def trials(runs, pick):
    while True:
        yield both(pick.choice(KINDS), pick.choice(KINDS), pick.random() < 0.5, pick.getrandbits(32))
