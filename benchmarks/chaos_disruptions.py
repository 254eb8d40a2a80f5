"""What befalls a campaign under chaos: processes killed and put to sleep, daemons lost, a person about.

Only processes of the campaign's own home, of the drivers that the benchmark started, and of its own Slurm
cluster are touched. Units: seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

CLUSTER = Path(__file__).parents[1] / ".ci" / "slurm-cluster"
NODES = ("n1", "n2", "n3", "n4")
SLEEP_SECONDS = {
    "driver": 12.0,
    "worker": 12.0,
    "leader": 12.0,
    "mongod": 6.0,
    "slurmctld": 8.0,
    "slurmd": 16.0,
}
"""Longest ordinary SIGSTOP; a silent slurmd is given up by slurmctld after 10 s."""
LONG_SLEEP_SECONDS = 135.0
"""Once in a run a driver sleeps for longer than the lease that others leave it, and wakes up to a campaign
that has gone on without it."""
LONG_SLEEP_AFTER = 15
"""Disruptions before the long sleep."""
DOWN_SECONDS = 15.0
"""Longest time between the death of a Slurm daemon and its restart."""
POWER_CUT_SHARE = 0.4
"""Of slurmd's deaths, those that take the jobs of its node along."""
WEIGHTS = {"driver": 8.0, "worker": 6.0, "leader": 2.0, "mongod": 3.0, "slurmctld": 2.0, "slurmd": 2.0}
"""How often each target is hit, relative to the others."""
COMPLETE = b" is complete: "
"""What ``sabatier run`` says of a campaign in which nothing is left to do."""
AMBUSH_SECONDS = 3.0
"""How long to lie in wait for a submission."""


@dataclass
class Driver:
    """A ``sabatier run`` that is started again whenever it dies."""

    number: int
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    n_started: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    is_finished: bool = False
    """It said that the campaign is complete."""
    _due: float = 0.0
    _log_start: int = 0

    def tend(self) -> None:
        """Note an end, and start it (again) unless the campaign is complete."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.exit_codes[code] += 1
            self.process = None
            # One that ends well may just have found the campaign paused; the next one tells.
            self.is_finished = code == 0 and COMPLETE in self.log.read_bytes()[self._log_start :]
            self._due = time.monotonic() + (0.0 if code == -signal.SIGKILL else 2.0)
        if self.is_finished or time.monotonic() < self._due:
            return
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.n_started += 1

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None


@dataclass
class Disruptor:
    """Hits the processes of one campaign, at random but reproducibly chosen."""

    home: Path
    drivers: Sequence[Driver]
    rng: np.random.Generator
    cluster: Path | None = None
    """Folder of the Slurm cluster, if there is one."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Disruptions by target and kind."""
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _asleep: set[int] = field(default_factory=set)
    _spared: set[int] = field(default_factory=set)
    """The long sleeper shall wake up again."""

    @property
    def total(self) -> int:
        """Disruptions so far."""
        return sum(self.counts.values())

    def disrupt(self) -> None:
        """Hit one target, if there is one."""
        if self.total >= LONG_SLEEP_AFTER and not self.counts["driver", "long sleep"]:
            self._long_sleep()
            return
        targets = [t for t in WEIGHTS if self.cluster is not None or not t.startswith("slurm")]
        weights = [WEIGHTS[t] for t in targets]
        target = targets[self.rng.choice(len(targets), p=[w / sum(weights) for w in weights])]
        if target == "driver" and self.rng.random() < 0.35:
            self._ambush()
        elif self.rng.random() < 0.6:
            self._kill(target)
        else:
            self._stop(target, "stop", self._find(target), self.rng.uniform(0.5, SLEEP_SECONDS[target]))

    def tend(self) -> None:
        """Wake sleepers and restart daemons whose time has come."""
        now = time.monotonic()
        due = [action for moment, action in self._later if moment <= now]
        self._later = [item for item in self._later if item[0] > now]
        for action in due:
            action()

    @property
    def is_quiet(self) -> bool:
        """True if nobody sleeps and no daemon is to be restarted."""
        return not self._later

    # -- what is done to a process -----------------------------------------------------------------

    def _kill(self, target: str) -> None:
        victims = self._find(target)
        if not victims:
            return
        victim = victims[self.rng.integers(len(victims))]
        node = self._node_of(victim.pid) if target == "slurmd" else ""
        if node and self.rng.random() < POWER_CUT_SHARE:
            self._cluster("kill-node", node)
            self.counts[target, "power cut"] += 1
        elif _send(victim, signal.SIGKILL):
            self.counts[target, "kill"] += 1
        else:
            return
        if target.startswith("slurm"):
            command = ("restart-node", node) if node else ("restart-controller",)
            seconds = self.rng.uniform(0.2, DOWN_SECONDS)
            self._later.append((time.monotonic() + seconds, lambda: self._cluster(*command)))

    def _stop(self, target: str, kind: str, victims: list[psutil.Process], seconds: float) -> None:
        awake = [v for v in victims if v.pid not in self._asleep]
        if not awake:
            return
        victim = awake[self.rng.integers(len(awake))]
        if not _send(victim, signal.SIGSTOP):
            return
        self.counts[target, kind] += 1
        self._asleep.add(victim.pid)
        self._later.append((time.monotonic() + seconds, lambda: self._wake(victim)))

    def _long_sleep(self) -> None:
        victims = self._drivers()
        self._stop("driver", "long sleep", victims, LONG_SLEEP_SECONDS)
        self._spared = self._asleep & {v.pid for v in victims}

    def _wake(self, victim: psutil.Process) -> None:
        self._asleep.discard(victim.pid)
        self._spared.discard(victim.pid)
        _send(victim, signal.SIGCONT)

    def _ambush(self) -> None:
        """Kill drivers in the middle of a submission: the moment a job directory appears."""
        before = _job_dirs(self.home)
        deadline = time.monotonic() + AMBUSH_SECONDS
        while time.monotonic() < deadline:
            if _job_dirs(self.home) - before:
                # Whose it is cannot be seen in time: hit all but one.
                time.sleep(self.rng.uniform(0.0, 0.05))
                victims = self._drivers()
                keep = self.rng.integers(len(victims)) if victims else 0
                for i, victim in enumerate(victims):
                    if (i != keep or len(victims) == 1) and _send(victim, signal.SIGKILL):
                        self.counts["driver", "kill at submission"] += 1
                return
            self.tend()
            time.sleep(0.005)

    def _cluster(self, *command: str) -> None:
        verb, *node = command
        whole = [str(CLUSTER), verb, str(self.cluster), *node]
        subprocess.run(whole, check=False, stdout=subprocess.DEVNULL, timeout=120)

    # -- who there is --------------------------------------------------------------------------------

    def _find(self, target: str) -> list[psutil.Process]:
        finders: dict[str, Callable[[], list[psutil.Process]]] = {
            "driver": self._drivers,
            "worker": self._workers,
            "leader": self._leaders,
            "mongod": lambda: processes_of(self.home, "mongod"),
            "slurmctld": lambda: self._daemons(["slurmctld"]),
            "slurmd": lambda: self._daemons([f"slurmd-{n}" for n in NODES]),
        }
        return finders[target]()

    def _workers(self) -> list[psutil.Process]:
        return processes_of(self.home, "-m dft.worker ")

    def _drivers(self) -> list[psutil.Process]:
        pids = [d.pid for d in self.drivers if d.pid is not None and d.pid not in self._spared]
        return [p for pid in pids for p in _process(pid)]

    def _leaders(self) -> list[psutil.Process]:
        """What started the workers: leaders of their sessions, shepherds of Slurm."""
        found = {}
        for worker in self._workers():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                parent = worker.parent() if self.cluster else psutil.Process(os.getsid(worker.pid))
                if parent is not None and parent.pid not in {1, worker.pid, os.getpid()}:
                    found[parent.pid] = parent
        return list(found.values())

    def _daemons(self, names: list[str]) -> list[psutil.Process]:
        assert self.cluster is not None
        found = []
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                found += _process(int((self.cluster / "pids" / name).read_text()))
        return [p for p in found if _name(p).startswith("slurm")]

    def _node_of(self, pid: int) -> str:
        assert self.cluster is not None
        files = {n: self.cluster / "pids" / f"slurmd-{n}" for n in NODES}
        return next(n for n, f in files.items() if f.exists() and f.read_text().strip() == str(pid))


@dataclass
class Person:
    """Somebody who looks at the campaign and meddles with it meanwhile."""

    sabatier: list[str]
    home: Path
    environment: dict[str, str]
    log: Path
    rng: np.random.Generator
    once: list[str]
    """What cron would run."""
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Calls by command and exit code."""
    _process: subprocess.Popen[bytes] | None = None
    _verb: str = ""
    _has_paused: bool = False

    def act(self) -> None:
        """Give a command, unless the last one is still at work."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self.calls[self._verb, code] += 1
            self._process = None
            if self._verb in {"pause", "resume"} and code == 0:
                self._has_paused = self._verb == "pause"
        verb = str(self.rng.choice(["status", "run --once", "pause"], p=[0.45, 0.4, 0.15]))
        self._give("resume" if self._has_paused else verb)

    def leave(self) -> None:
        """Let the last command end and undo a pause, however often that takes."""
        while self._process is not None or self._has_paused:
            if self._process is not None:
                self.calls[self._verb, self._process.wait()] += 1
                if self._verb in {"pause", "resume"} and self._process.returncode == 0:
                    self._has_paused = self._verb == "pause"
                self._process = None
            if self._has_paused:
                self._give("resume")

    def _give(self, verb: str) -> None:
        own = {"status": ["status", "--json"], "run --once": self.once}.get(verb, [verb])
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.sabatier, *own, "--home", str(self.home)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._verb = verb


def processes_of(home: Path, word: str = "") -> list[psutil.Process]:
    """Live processes with a home, and a word, in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if str(home) in command and word in command:
                found.append(process)
    return [p for p in found if p.pid != os.getpid() and _status(p) != psutil.STATUS_ZOMBIE]


def n_results(home: Path) -> int:
    """Calculations with an energy on disk."""
    done = set()
    for path in home.glob("jobs/*/attempt-*/result.json"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text())["state"] == "DONE":
                done.add(path.parent.parent.name)
    return len(done)


def _job_dirs(home: Path) -> set[str]:
    return {str(p) for p in home.glob("jobs/*/attempt-*")}


def _process(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.Error:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    """Signal a process unless it is gone; psutil sees to it that a reused pid is not hit."""
    try:
        process.send_signal(number)
    except (psutil.Error, ProcessLookupError):
        return False
    return True


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def _status(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.status())
    return str(psutil.STATUS_ZOMBIE)
