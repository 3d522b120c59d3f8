"""The SQLite file of a study: what became of every run, and all of its metrics. Python's sqlite3, or any other, reads it."""
import json
import sqlite3

from refusal import Refusal
from trainer import config_of, read_metrics

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY, arm TEXT, point TEXT, swept TEXT, seed INTEGER, options TEXT,
    in_study INTEGER,                       -- whether the study asks for it as it is now written
    state TEXT,                             -- planned, running, interrupted, failed or done
    message TEXT,                           -- the last line of a run that failed
    version TEXT, binary_sha256 TEXT,       -- the program that trained last
    wall_seconds REAL DEFAULT 0, cpu_seconds REAL DEFAULT 0,    -- of its processes, all starts together
    train_seconds REAL, max_steps INTEGER, val_loss REAL,
    plan TEXT,                              -- memory and parameters, as --dry-run has them
    stamp TEXT);                            -- size and time of the metrics.jsonl that was read
CREATE TABLE IF NOT EXISTS metrics (
    run TEXT, step INTEGER, phase TEXT, loss REAL, val_loss REAL, lr REAL, grad_norm REAL, tokens INTEGER,
    tokens_per_s REAL, seconds REAL, PRIMARY KEY (run, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (run TEXT, step INTEGER, event TEXT, line TEXT);
CREATE INDEX IF NOT EXISTS events_of_run ON events (run);
"""
COLUMNS = ("phase", "loss", "val_loss", "lr", "grad_norm", "tokens", "tokens_per_s", "seconds")
VERSION = 1


def stored(value):
    """A number that has no point, as a gradient norm of 1e20 has none, may be too large for SQLite's integers."""
    return float(value) if isinstance(value, int) and abs(value) >= 2 ** 63 else value


class Store:
    def __init__(self, folder):
        self.folder = folder
        path = folder / "study.sqlite"
        try:
            self.db = sqlite3.connect(path, isolation_level=None)
            self.db.row_factory = sqlite3.Row
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise Refusal(f"{path} has version {version}, not {VERSION}; remove it: it is made anew from the run folders")
            self.db.executescript(TABLES + f"PRAGMA user_version = {VERSION};")
        except sqlite3.Error as error:
            raise Refusal(f"{path}: {error}; if it is damaged, remove it: it is made anew from the run folders") from error

    def begin(self):
        """Before the runs of the study are added: so far none is known to be in it."""
        self.db.execute("UPDATE runs SET in_study = 0")

    def add(self, run):
        setting = run.setting
        self.db.execute(
            "INSERT INTO runs (name, arm, point, swept, seed, options, in_study, state) "
            "VALUES (?, ?, ?, ?, ?, ?, 1, 'planned') ON CONFLICT (name) DO UPDATE SET in_study = 1",
            (run.name, setting.arm, json.dumps(setting.point), json.dumps(setting.swept), run.seed, json.dumps(run.options)))

    def row(self, name):
        return self.db.execute("SELECT * FROM runs WHERE name = ?", (name,)).fetchone()

    def set(self, name, **values):
        assignments = ", ".join(f"{column} = ?" for column in values)
        self.db.execute(f"UPDATE runs SET {assignments} WHERE name = ?", (*values.values(), name))

    def add_cost(self, name, wall, cpu):
        self.db.execute("UPDATE runs SET wall_seconds = wall_seconds + ?, cpu_seconds = cpu_seconds + ? WHERE name = ?",
                        (wall, cpu, name))

    def collect(self, name):
        """Reads metrics.jsonl into the tables, unless that very file has been read."""
        folder = self.folder / name
        try:
            status = (folder / "metrics.jsonl").stat()
        except OSError:
            return
        stamp = f"{status.st_size} {status.st_mtime_ns}"
        if self.row(name)["stamp"] == stamp:
            return
        metrics = read_metrics(folder)
        _, loss = metrics.last_validation()
        self.db.execute("BEGIN")
        with self.db:
            self.db.execute("DELETE FROM metrics WHERE run = ?", (name,))
            self.db.execute("DELETE FROM events WHERE run = ?", (name,))
            self.db.executemany(f"INSERT INTO metrics VALUES (?, ?{', ?' * len(COLUMNS)})",
                                [(name, step, *(stored(row.get(column)) for column in COLUMNS))
                                 for step, row in metrics.updates.items()])
            self.db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)",
                                [(name, line["step"], line["event"], json.dumps(line)) for line in metrics.events])
            self.set(name, stamp=stamp, train_seconds=metrics.seconds, val_loss=loss,
                     max_steps=config_of(folder).get("max-steps"))

    def validations(self, name):
        """Step, seconds of training so far, and loss of every validation whose loss was finite."""
        return self.db.execute("SELECT step, seconds, val_loss FROM metrics WHERE run = ? AND val_loss IS NOT NULL "
                               "ORDER BY step", (name,)).fetchall()


def best_of(store, group, seeds):
    """The setting with the lowest validation loss among those that are done with the first seed, or None."""
    losses = [(row["val_loss"], i) for i, setting in enumerate(group.settings)
              if (row := store.row(setting.run(seeds[0]).name)) and row["state"] == "done"]
    return group.settings[min(losses)[1]] if losses else None
