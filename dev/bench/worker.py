"""A worker of compare.py: a process that trains, and answers in one line of JSON to each word on its stdin.

    start         sets up, warms up, prints "ready {json}" with memory (bytes by category); ours also with flops_per_step,
                  flops_per_token, planned_bytes
    "step"        runs a turn of training steps, prints {"seconds": s, ...} of one step; ours with loader_share, the
                  fraction of it that was spent waiting for data
    "gemm"        ours only: measures the rate of matrix products in its type, prints {"gflops": g, ...}
    "profile"     ours only: runs a step with its ops timed, prints {"profile": {part of the step: seconds}}
    "restart"     ours only: merges, draws new adapters and prunes moments, prints {"restart_seconds": s}
    "switch"      ours only, full-rank: switches to low rank as after a warm start, takes a step, prints {"before_bytes": n,
                  "after_bytes": n}, the memory in use (of a process, or of the GPU as for the peak)
    "quit"        prints {"peak_bytes": n} and ends
Anything else on its stdout is ignored.
"""
import json
import os
import pathlib
import select
import subprocess
import tempfile
import time

SETTLE_SECONDS = 0.25
OURS = "train_relora"


def worker_environment(device):
    """The environment that makes a waiting worker free without slowing down a working one.

    Inside a step, threads must spin at the end of a parallel region: the next one follows in microseconds, and
    OMP_WAIT_POLICY=passive would pay a wake-up for each. Between turns they must sleep. So spinning stays on but is bounded:
    GOMP_SPINCOUNT is libgomp's own default, some milliseconds, and KMP_BLOCKTIME (Intel's and LLVM's runtime) is 20 ms instead
    of 200; an inherited wait policy would override both. A turn starts only after SETTLE_SECONDS of silence. The CPU time that a
    worker uses while others have their turns is measured and reported. For the same reason PyTorch compiles without its pool of
    processes, which would outlive the compilation, except where the steps that are timed run on a GPU.
    """
    environment = dict(os.environ, GOMP_SPINCOUNT="300000", KMP_BLOCKTIME="20")
    environment.pop("OMP_WAIT_POLICY", None)
    if device == "cpu":
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return environment


class WorkerFailed(Exception):
    pass


class Worker:
    """One process, its answers, and the CPU time it used out of turn; with `before`, also those of an earlier start."""

    def __init__(self, planned, timeout, before=None):
        self.planned, self.timeout = planned, timeout
        self.kind, self.dtype, self.mode = planned.kind, planned.dtype, planned.mode
        self.label = str(planned)
        self.seconds = before.seconds[:] if before else []
        self.gflops = before.gflops[:] if before else []
        self.loader_shares = before.loader_shares[:] if before else []
        self.peak_bytes = before.peak_bytes if before else None
        self.parts = self.switch = self.restart_seconds = None
        self.idle_cpu = self.idle_wall = 0.0
        self.idle_since = None
        self.pending = b""
        self.errors = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(planned.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                            env=worker_environment(planned.device), bufsize=0)
        except OSError as error:
            raise WorkerFailed(f"{self.label}: cannot start {planned.command[0]}: {error.strerror}") from error
        self.ready = self.read_json("ready ")

    def failure(self, what):
        self.process.kill()
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return WorkerFailed(f"{self.label}: {what} (exit status {code}): {lines[-1] if lines else 'nothing on stderr'}")

    def read_json(self, prefix=""):
        """The next line of stdout that starts with `prefix` and an object; anything else on stdout is ignored."""
        deadline = time.monotonic() + self.timeout
        while True:
            while b"\n" not in self.pending:
                if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise self.failure(f"no answer in {self.timeout:g} s")
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    raise self.failure("ended without an answer")
                self.pending += chunk
            line, self.pending = self.pending.split(b"\n", 1)
            text = line.decode(errors="replace")
            if text.startswith(prefix + "{"):
                return json.loads(text[len(prefix):])

    def ask(self, word):
        try:
            self.process.stdin.write(word.encode() + b"\n")
        except BrokenPipeError:
            raise self.failure(f"gone before '{word}'") from None
        return self.read_json()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def step(self):
        answer = self.ask("step")
        self.seconds.append(float(answer["seconds"]))
        if "loader_share" in answer:
            self.loader_shares.append(float(answer["loader_share"]))

    def gemm(self):
        if self.kind == OURS:
            self.gflops.append(float(self.ask("gemm")["gflops"]))

    def turn(self):
        if self.idle_since:
            wall, cpu = self.idle_since
            self.idle_wall += time.monotonic() - wall
            self.idle_cpu += self.cpu_seconds() - cpu
        self.step()
        self.gemm()
        time.sleep(SETTLE_SECONDS)
        self.idle_since = (time.monotonic(), self.cpu_seconds())

    def measure_once(self):
        """Ask for what needs no rounds."""
        if self.kind != OURS:
            return
        self.parts = self.ask("profile")["profile"]
        if self.mode == "relora":
            self.ask("restart")  # warms up
            self.restart_seconds = float(self.ask("restart")["restart_seconds"])
        if self.mode == "full" and self.planned.route:
            self.switch = self.ask("switch")

    def quit(self):
        peak = self.ask("quit")["peak_bytes"]
        self.peak_bytes = max(peak, self.peak_bytes or 0)
        self.process.wait(timeout=60)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
