"""What the runner knows of train_relora: its options, and what it leaves in a run folder."""
import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import subprocess
import tomllib

from refusal import Refusal

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTION = re.compile(r"^  (?:-\w,)?--([A-Za-z0-9-]+)(?:[ ]([A-Z]+\b|\{))?", re.M)


class Trainer:
    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        # A flag has no value after its name.
        self.options = {name: not value for name, value in OPTION.findall(self._ask("--help"))}
        if "train-data" not in self.options:
            raise Refusal(f"--binary {self.path}: its --help has no --train-data; it should be train_relora")

    @functools.cached_property
    def version(self):
        return self._ask("--version").strip()

    @functools.cached_property
    def sha256(self):
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def _ask(self, option):
        try:
            answer = subprocess.run([self.path, option], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise Refusal(f"--binary {self.path}: {error.strerror}; `make` builds ./train_relora") from error
        if answer.returncode != 0:
            raise Refusal(f"--binary {self.path}: {option} ends with code {answer.returncode}; it should be train_relora")
        return answer.stdout

    def plan(self, arguments, environment):
        """Memory of each phase in MiB and parameters, by --dry-run; or, as a text, why the run can't be."""
        run = subprocess.run([self.path, "--dry-run", *arguments], capture_output=True, text=True, check=False, cwd=ROOT,
                             stdin=subprocess.DEVNULL, env=environment)
        if run.returncode != 0:
            return last_line(run.stderr) or last_line(run.stdout) or f"--dry-run ends with code {run.returncode}"
        phases = re.search(r"^memory \(MiB\)(.*)$", run.stdout, re.M)
        total = re.search(r"^  total(.*)$", run.stdout, re.M)
        parameters = re.search(r"^parameters +(\d+)", run.stdout, re.M)
        trained = re.findall(r"^trained +(\d+) in the ([\w-]+) phase", run.stdout, re.M)
        if not phases or not total:
            return {}
        return {"memory": dict(zip(phases[1].split(), map(float, total[1].split()))),
                "parameters": int(parameters[1]) if parameters else None, "trained": {phase: int(n) for n, phase in trained}}


def last_line(text):
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-1] if lines else ""


def last_line_of(path):
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            return last_line(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def lines_of(folder):
    """The whole lines of metrics.jsonl; a last one that is not, because the run was killed, is left out."""
    try:
        text = (folder / "metrics.jsonl").read_bytes()
    except OSError:
        return
    for line in text.splitlines(True):
        try:
            if line.endswith(b"\n"):
                yield json.loads(line)
        except ValueError:
            pass


@dataclasses.dataclass
class Metrics:
    """Rows of updates, with the validation that followed; lines of events; seconds spent in updates."""
    updates: dict
    events: list
    seconds: float

    def last_validation(self):
        """Step and loss; the loss is None where it is not finite or there is none."""
        for step in sorted(self.updates, reverse=True):
            if "val_loss" in self.updates[step]:
                return step, self.updates[step]["val_loss"]
        return 0, None


def read_metrics(folder):
    updates, events, seconds, before = {}, [], 0.0, 0
    for line in lines_of(folder):
        if "event" in line:
            events.append(line)
            continue
        row = updates.setdefault(line["step"], {})
        row.update(line)
        if "tokens" in line:
            if line.get("tokens_per_s"):
                seconds += (line["tokens"] - before) / line["tokens_per_s"]
            before = line["tokens"]
        row["seconds"] = seconds
    return Metrics(updates, events, seconds)


def config_of(folder):
    try:
        return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def is_finished(folder):
    """A run ends with a validation at its last update, and then the export, whose hashes come last."""
    steps = config_of(folder).get("max-steps")
    if not steps or not (folder / "export" / "SHA256SUMS").is_file():
        return False
    step, loss = read_metrics(folder).last_validation()
    return step == steps and loss is not None
