"""A tiny run, started, disturbed, resumed, and compared with the one that nothing disturbed."""
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
STEPS = 12  # updates of a run: the switch after 3, merges after 6, 9 and 12
HALF_WAY = 8
PATIENCE = 40  # seconds after which a program counts as hung
# What a clock decides.
TIMES = {'tokens_per_s', 'mfu'}
# What no message to a person may hold: the place in the source, and words of libraries about themselves.
UNCLEAR = re.compile(r'\.(?:cpp|h|cu):\d+|\[json\.exception|std::|filesystem error|terminate called|libgomp|basic_string')


def text(words, seed):
    """Pseudo-English by a fixed generator."""
    pick = random.Random(seed)
    nouns = 'captain sailor sister admiral harbour letter winter brother evening sea garden'.split()
    return ' '.join(f'the {pick.choice(nouns)}{pick.choice(" ,.;")}' for _ in range(words)) + '\n'


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclasses.dataclass
class Ended:
    """A program that has ended: its code (negative: the signal that killed it), what it said, None for the code if it hung."""
    code: int | None
    stdout: str
    stderr: str

    def problem(self):
        """What is wrong with how it ended, if it was refused: '' for one clear line and an exit code."""
        if self.code is None:
            return 'hung'
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        if self.code < 0:
            return f'killed by {signal.Signals(-self.code).name}: {lines[-1:]}'
        if not lines:
            return f'exit code {self.code} without a line'
        if [line for line in lines if not re.match(r'(train_relora|tokenize)\w*: ', line)]:
            return f'exit code {self.code} with other lines: {lines[:3]}'
        return f'unclear: {lines[-1]}' if UNCLEAR.search(lines[-1]) else ''


class Runs:
    """A scratch folder with shards and the reference, and how to start programs there."""

    def __init__(self, folder, build):
        self.folder = folder
        self.shim = build / 'fault_shim.so'
        self.trainer, self.tokenizer = ROOT / 'train_relora', ROOT / 'data/tokenize'
        self.environment = {**os.environ, 'XDG_CACHE_HOME': str(folder / 'cache'), 'OMP_WAIT_POLICY': 'passive', 'LC_ALL': 'C'}
        (folder / 'texts').mkdir()
        (folder / 'texts/train.txt').write_text(text(900, 1))
        (folder / 'texts/val.txt').write_text(text(120, 2))
        self.shards = folder / 'shards'
        self.must(self.tokenize(self.shards))
        self.reference = folder / 'reference'
        start = time.monotonic()
        self.must(self.train(self.reference, '--keep', '0'))
        self.seconds = time.monotonic() - start
        self.result = self.result_of(self.reference)

    @staticmethod
    def must(ended):
        if ended.code != 0:
            raise SystemExit(f'the run that nothing disturbs fails with {ended.code}: {ended.stderr}')

    # ---- start programs

    def command(self, out, *more, shards=None):
        shards = shards or self.shards
        return [self.trainer, '--train-data', shards / 'train_*.bin', '--val-data', shards / 'val_*.bin', '--out', out,
                '--device', 'cpu', '--layers', '1', '--heads', '2', '--channels', '32', '--seq-len', '32', '--batch-size', '4',
                '--threads', '1', '--mode', 'relora', '--rank', '4', '--adapter-route', 'merged', '--lr', '2e-3', '--max-steps',
                str(STEPS), '--warm-start-steps', '3', '--merge-every', '3', '--restart-warmup-steps', '1', '--warmup-steps', '1',
                '--eval-every', '3', '--eval-batches', '2', '--save-every', '2', '--sample-tokens', '4', *more]

    def train(self, out, *more, fault=None, log=None, shards=None):
        return self.run(self.command(out, *more, shards=shards), fault, log)

    def resume(self, out, *more, **how):
        return self.train(out, '--resume', *more, **how)

    def tokenize(self, out, *more, fault=None, log=None):
        texts = self.folder / 'texts'
        return self.run([self.tokenizer, *more, '--threads', '1', '--out', out, '--val', texts / 'val.txt', texts / 'train.txt'],
                        fault, log)

    def export(self, to, fault=None, log=None):
        checkpoint = self.reference / f'step_{STEPS:08d}'
        return self.run([self.trainer, '--threads', '1', '--init-from', checkpoint, '--export', to], fault, log)

    def with_faults(self, fault, log):
        """The environment of a program whose calls on files here the shim counts and disturbs."""
        if not fault and not log:
            return self.environment
        more = {'LD_PRELOAD': str(self.shim), 'FAULT_UNDER': str(self.folder)}
        if fault:
            more['FAULT'] = fault
        if log:
            more['FAULT_LOG'] = str(log)
        return {**self.environment, **more}

    def run(self, command, fault=None, log=None):
        return self.end(self.start(command, self.with_faults(fault, log)))

    def start(self, command, environment=None, **how):
        how = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **how}
        return subprocess.Popen([str(word) for word in command], env=environment or self.environment, cwd=self.folder,
                                text=True, errors='replace', **how)

    @staticmethod
    def end(process, patience=PATIENCE):
        try:
            stdout, stderr = process.communicate(timeout=patience)
            return Ended(process.returncode, stdout or '', stderr or '')
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            return Ended(None, stdout or '', stderr or '')

    # ---- run folders

    def stopped_at(self, step, folder):
        """Makes a run folder as if the reference had been killed after this update."""
        ignored = shutil.ignore_patterns('export', *(p.name for p in self.reference.glob('step_*') if int(p.name[5:]) > step))
        shutil.copytree(self.reference, folder, ignore=ignored)
        lines = (folder / 'metrics.jsonl').read_text().splitlines(keepends=True)
        (folder / 'metrics.jsonl').write_text(''.join(line for line in lines if json.loads(line).get('step', 0) <= step))

    def result_of(self, folder):
        """All that a run leaves behind, but for times: what must be the same, whatever happened on the way."""
        last = folder / f'step_{STEPS:08d}'
        result = {path.relative_to(folder).as_posix(): sha256(path)
                  for path in (*last.glob('*.safetensors'), *(folder / 'export').glob('*'))}
        state = json.loads((last / 'state.json').read_text())
        result['state'] = {key: state[key] for key in ('step', 'restarts', 'data', 'adam_steps')}
        result['metrics'] = self.numbers(folder)
        return result

    @staticmethod
    def numbers(folder):
        """The lines of the log without times; when checkpoints were written is no result."""
        lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
        lines = [line for line in lines if line.get('event') != 'save']
        return [{key: value for key, value in line.items() if key not in TIMES and not key.endswith('_s')} for line in lines]

    def difference(self, folder, expected=None):
        """What differs from the reference, or from another result: '' if nothing does."""
        expected = expected or self.result
        try:
            result = self.result_of(folder)
        except (OSError, ValueError, KeyError) as error:
            return f'incomplete: {error}'
        return ', '.join(name for name in {**result, **expected} if result.get(name) != expected.get(name))

    @functools.cached_property
    def result_from_model(self):
        """What a new run leaves behind that begins with the reference's export."""
        folder = self.folder / 'from_model'
        self.must(self.train(folder, '--init-from', self.reference / 'export'))
        return self.result_of(folder)

    @functools.cached_property
    def half_way_export(self):
        """The export of a checkpoint with adapters."""
        folder = self.folder / 'half_way_export'
        checkpoint = self.reference / f'step_{HALF_WAY:08d}'
        self.must(self.run([self.trainer, '--threads', '1', '--init-from', checkpoint, '--export', folder]))
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def litter(self, folder):
        """What a finished run has left behind that the reference has not; what it has set aside is the user's."""
        known = {path.name for path in self.reference.iterdir()}
        return sorted(path.name for path in folder.iterdir()
                      if path.name not in known and not path.name.startswith('step_') and '.abandoned' not in path.name)
