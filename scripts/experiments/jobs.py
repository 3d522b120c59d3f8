"""Runs a study's processes, several at a time, until each of its runs is done or has failed.

One thread does everything: it starts processes, waits for them, and writes what became of them to the store. It may be killed
at any moment: the kernel then kills its children (PR_SET_PDEATHSIG), and the next call finds in the run folders what is done.
"""
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

from refusal import Refusal
from store import best_of
from trainer import ROOT, is_finished, last_line_of

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A run that ends by one of these was disturbed from outside, and goes on in the next call.
FROM_OUTSIDE = (*STOPS, signal.SIGKILL)
SECONDS_BETWEEN_LOOKS = 0.1


def gpus(study):
    """The GPUs that runs may take, as CUDA_VISIBLE_DEVICES names them."""
    devices = {setting.options.get("device", "auto") for group in study.groups for setting in group.settings}
    if devices == {"cpu"}:
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return []
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def environments(study, jobs):
    """One environment for each run that may be on its way at a time."""
    found = gpus(study)
    count = jobs or len(found) or max(1, len(os.sched_getaffinity(0)) // study.threads)
    return [dict(os.environ, CUDA_VISIBLE_DEVICES=found[i % len(found)]) if found else dict(os.environ) for i in range(count)]


def lock(folder):
    """The study's folder is this process's until it ends; returns the file that must stay open."""
    file = open(folder / "lock", "a", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Refusal(f"{folder} is in use by another run.py; wait for it, or give another --runs") from error
    return file


class Job:
    """A run on its way."""

    def __init__(self, run, trainer, folder, environment):
        self.run, self.environment, self.begun = run, environment, time.monotonic()
        self.told = None
        self.output = folder / f"{run.name}.log"
        parent = os.getpid()

        def in_child():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
        command = [trainer.path, "--resume", "--out", folder / run.name, *run.arguments()]
        with open(self.output, "ab") as output:
            # In a process group of its own it gets no interrupt of the terminal, but the one signal that stop() sends.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT,
                                            env=environment, preexec_fn=in_child, process_group=0)

    def ended(self):
        """Code, wall seconds and CPU seconds of a process that has ended, else None."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not pid:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode, time.monotonic() - self.begun, usage.ru_utime + usage.ru_stime

    def stop(self, number):
        if self.told != number:
            os.kill(self.process.pid, number)
            self.told = number


class Progress:
    """On a terminal a line that is overwritten, elsewhere a line for each run that begins or ends."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()

    def say(self, text):
        print(f"\r\033[K{text}" if self.terminal else text, flush=True)

    def show(self, text):
        print(f"\r\033[K{text[:os.get_terminal_size().columns - 1]}", end="", flush=True)


class Jobs:
    def __init__(self, study, store, trainer, folder, slots, retry):
        self.study, self.store, self.trainer, self.folder, self.retry = study, store, trainer, folder, retry
        self.free, self.active, self.states, self.signals = slots, [], {}, []
        self.total = sum(group.number_of_runs(study.seeds) for group in study.groups)
        self.progress = Progress()
        self.seconds = {}  # point -> seconds of the runs that ended in this call
        self.at_once = len(slots)

    def _state_of(self, run):
        """State of a run that this call meets for the first time."""
        self.store.add(run)
        row = self.store.row(run.name)
        if is_finished(self.folder / run.name):
            self.store.set(run.name, state="done", message=None)
            self.store.collect(run.name)
            return "done"
        if row["state"] == "failed" and not self.retry:
            self.store.collect(run.name)
            return "failed"
        return "planned"

    def _wanted(self):
        """All runs that can be asked for by now: of a sweep, the further seeds only when the best is known."""
        for group in self.study.groups:
            runs = group.first_runs(self.study.seeds)
            yield from runs
            if len(group.settings) > 1 and all(self.states.get(run.name) in ("done", "failed") for run in runs):
                best = best_of(self.store, group, self.study.seeds)
                if best:
                    yield from group.all_seeds(best, self.study.seeds)[1:]

    def _next(self):
        for run in self._wanted():
            if run.name not in self.states:
                self.states[run.name] = self._state_of(run)
            if self.states[run.name] == "planned":
                return run
        return None

    def _begin(self, run, environment):
        row = self.store.row(run.name)
        if not row["plan"]:
            plan = self.trainer.plan(run.arguments(), environment)
            if isinstance(plan, str):
                self._ends(run, "failed", plan)
                self.free.append(environment)
                return
            self.store.set(run.name, plan=json.dumps(plan))
        self.store.set(run.name, state="running", version=self.trainer.version, binary_sha256=self.trainer.sha256, message=None)
        self.states[run.name] = "running"
        self.active.append(Job(run, self.trainer, self.folder, environment))
        if not self.progress.terminal:
            self.progress.say(f"begins {run.name}")
        self._show_counts()

    def _ends(self, run, state, message):
        self.states[run.name] = state
        self.store.set(run.name, state=state, message=message)
        count = sum(state in ("done", "failed") for state in self.states.values())
        self.progress.say(f"{state} {count}/{self.total} {run.name}: {message}")
        if state == "done":
            self.store.set(run.name, message=None)
        self._show_counts()

    def _reap(self):
        for job in list(self.active):
            result = job.ended()
            if not result:
                continue
            code, wall, cpu = result
            self.active.remove(job)
            self.free.append(job.environment)
            name = job.run.name
            self.store.add_cost(name, wall, cpu)
            self.store.collect(name)
            said = last_line_of(job.output)
            number = -code if code < 0 else code - 128
            if code == 0 and is_finished(self.folder / name):
                self.seconds.setdefault(str(job.run.setting.point), []).append(wall)
                self._ends(job.run, "done", f"validation loss {self.store.row(name)['val_loss']:.4f}, {wall:.0f} s")
            elif number in FROM_OUTSIDE:
                self._ends(job.run, "interrupted", f"by {signal.Signals(number).name}: {said}")
            elif code == 0:
                self._ends(job.run, "failed", f"ended without a finite validation loss at its last update: {said}")
            else:
                self._ends(job.run, "failed", said or f"exit code {code}")

    def _show_counts(self):
        """Called when a run begins or ends: to count hundreds of runs ten times a second takes time that they need."""
        if not self.progress.terminal:
            return
        counts = {state: list(self.states.values()).count(state) for state in ("done", "failed", "running")}
        text = f"{counts['done']}/{self.total} done, {counts['failed']} failed, {counts['running']} running"
        every = [s for seconds in self.seconds.values() for s in seconds]
        if not every:
            self.progress.show(text)
            return
        left = 0.0
        for group in self.study.groups:
            own = self.seconds.get(str(group.point), every)
            ended = sum(self.states.get(run.name) in ("done", "failed")
                        for setting in group.settings for run in group.all_seeds(setting, self.study.seeds))
            left += (group.number_of_runs(self.study.seeds) - ended) * sum(own) / len(own)
        left = int(left / self.at_once)
        self.progress.show(f"{text}, ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}")

    def _on_signal(self, number, _):
        self.signals.append(number)

    def go(self):
        """Returns the exit code: 0 if every run is done."""
        for number in STOPS:
            signal.signal(number, self._on_signal)
        self.store.begin()
        while True:
            self._reap()
            while self.free and not self.signals and (run := self._next()):
                self._begin(run, self.free.pop(0))
            if not self.active:
                break
            for job in self.active if self.signals else ():
                # The second signal ends what the first has not stopped yet.
                job.stop(signal.SIGTERM if len(self.signals) == 1 else signal.SIGKILL)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # What was stopped before it was met is in the study all the same.
        for run in self._wanted():
            self.store.add(run)
        counts = {state: list(self.states.values()).count(state) for state in ("done", "failed", "interrupted")}
        self.progress.say(f"{counts['done']} of {self.total} runs done, {counts['failed']} failed, "
                          f"{counts['interrupted']} interrupted")
        if self.signals:
            return 128 + self.signals[0]
        return 0 if counts["done"] == self.total else 1
