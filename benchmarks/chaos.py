"""A campaign that is killed and put to sleep all the time, and whether it comes out right.

Runs a real campaign (the effective-medium potential on slabs of some hundred atoms, so that a worker lasts
seconds) under several ``sabatier run`` at once, each started again when it dies. Meanwhile drivers, workers
and what started them, mongod and, on Slurm, slurmctld and slurmd get SIGKILL or SIGSTOP at random, and a
person calls ``status``, ``run --once``, ``pause`` and ``resume``. Once the number of disruptions is reached
the campaign is left in peace until it is complete. Then the jobs' own run records are examined, and the
store is held against them (``chaos_evidence.py``).

    python benchmarks/chaos.py --backend local|slurm [--seed N] [--calculations 40] [--drivers 3]
                               [--disruptions 100] [--mode batch|async] [--pack single|array|bundle]
                               [--home DIR] [--json]

The last line is JSON: ``calculations``, ``attempts``, ``starts``, ``max_starts_per_attempt``,
``lost_results``, ``duplicate_computations``, ``disruptions`` (by target and kind), ``drivers_started``,
``wall_seconds``, ``peak_memory_mib`` and so on; ``wrong`` lists what was found wrong. Exit code 1, with the
home kept, if anything was. The seed fixes what is drawn, not the timing of the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.chaos_disruptions import CLUSTER, Disruptor, Driver, Person, n_results, processes_of
from benchmarks.chaos_evidence import done_results, lost_results, read_attempts, wrong_in_jobs, wrong_in_store

if TYPE_CHECKING:
    from benchmarks.chaos_evidence import AttemptRecord

ROOT = Path(__file__).parents[1]
SABATIER = [sys.executable, "-m", "tasks.cli.main"]
CAMPAIGN = """
name: chaos
bulks: {{ids: [mp-30, mp-2, mp-124, mp-81, mp-126, mp-1018029]}}  # Cu, Pd, Ag, Au, Pt, CuPd
surfaces:
  {{miller_indices: [[1, 1, 1], [1, 0, 0]], min_height_a: 12.0, min_lateral_a: 14.0, max_atoms: 400,
   vacuum_a: 8.0, free_depth_a: 9.0}}
adsorbates: {{CO: {{}}, H: {{}}}}
recipe: {{base: emt, fmax_ev_per_a: 0.002, max_steps: 1000}}
mode: {mode}
seed_size: {batch}
batch_size: {batch}
budget: {{calculations: {energies}, rounds: 2, cpu_hours: 100}}
execution: {execution}
seed: {seed}
"""
ENERGIES_SHARE = 0.65
"""Adsorption energies among all calculations; the rest are the slabs, bulks and gases that they need."""
MEAN_GAP_SECONDS = 2.5
"""Mean time between disruptions while they keep step with the campaign."""
TICK_SECONDS = 0.1
PERSON_SECONDS = 10.0
LOOK_SECONDS = 5.0
ENDING_SECONDS = 60.0
"""How long processes may take to end after the campaign is complete."""
MIB = 2**20


@dataclass
class Observed:
    """What is measured while the campaign runs."""

    wall_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    peak_driver_mib: float = 0.0
    is_complete: bool = False


def execution(options: argparse.Namespace) -> dict[str, Any]:
    """The campaign's ``execution`` section."""
    if options.backend == "local":
        return {"backend": "local", "cores": 2, "max_attempts": 20, "timeout_minutes": 20}
    packed = {} if options.pack == "single" else {"pack": options.pack, "pack_size": 4}
    return {
        "backend": "slurm",
        "partition": "main",
        "walltime_minutes": 20,
        "warning_seconds": 30,
        "memory_gb": 1.0,
        "max_jobs": 5,
        "poll_seconds": 1.0,
        "max_attempts": 20,
        **packed,
    }


def write_campaign(folder: Path, options: argparse.Namespace) -> Path:
    """Write the campaign file."""
    energies = math.ceil(ENERGIES_SHARE * options.calculations)
    text = CAMPAIGN.format(
        mode=options.mode,
        batch=math.ceil(energies / 3),
        energies=energies,
        execution=json.dumps(execution(options)),
        seed=options.seed % 1000,
    )
    path = folder / "chaos.yaml"
    path.write_text(text)
    return path


def start_cluster(folder: Path) -> str:
    """Start a Slurm cluster; return the path of its configuration."""
    said = subprocess.run([str(CLUSTER), "start", str(folder)], check=True, capture_output=True, text=True)
    return said.stdout.strip().rpartition("SLURM_CONF=")[2].strip("'\"")


def disrupt_until_complete(
    disruptor: Disruptor, person: Person, options: argparse.Namespace, observed: Observed
) -> None:
    """Tend the drivers and disturb them until the campaign is complete, or the time is up."""
    started = time.monotonic()
    next_hit = next_act = next_look = started + 5.0
    while time.monotonic() - started < 60 * options.limit_minutes:
        for driver in disruptor.drivers:
            driver.tend()
        disruptor.tend()
        now = time.monotonic()
        is_enough = disruptor.total >= options.disruptions
        if now >= next_hit and not is_enough:
            disruptor.disrupt()
            next_hit = time.monotonic() + disruptor.rng.exponential(gap_seconds(disruptor, options))
        if now >= next_act and not is_enough:
            person.act()
            next_act = now + PERSON_SECONDS
        if is_enough and disruptor.is_quiet:
            person.leave()
        if now >= next_look:
            observe_memory(disruptor, observed)
            said = (
                f"{now - started:5.0f} s: {disruptor.total} disruptions, {n_results(disruptor.home)} energies"
            )
            print(said, file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n")
            next_look = now + LOOK_SECONDS
        if all(driver.is_finished for driver in disruptor.drivers) and disruptor.is_quiet:
            observed.is_complete = True
            break
        time.sleep(TICK_SECONDS)
    observed.wall_seconds = time.monotonic() - started


def gap_seconds(disruptor: Disruptor, options: argparse.Namespace) -> float:
    """Mean time to the next disruption: longer when they run ahead of the campaign, shorter when behind."""
    progress = n_results(disruptor.home) / options.calculations
    ahead = disruptor.total / options.disruptions - min(1.0, 0.1 + 1.1 * progress)
    return float(MEAN_GAP_SECONDS * np.clip(np.exp(6 * ahead), 0.2, 8.0))


def observe_memory(disruptor: Disruptor, observed: Observed) -> None:
    """Note proportional memory of all processes of the campaign, and resident memory of each driver."""
    pids = {d.pid for d in disruptor.drivers if d.pid is not None}
    total = 0
    for process in {
        *processes_of(disruptor.home),
        *(psutil.Process(p) for p in pids if psutil.pid_exists(p)),
    }:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        total += memory.pss
        if process.pid in pids:
            observed.peak_driver_mib = max(observed.peak_driver_mib, memory.rss / MIB)
    observed.peak_memory_mib = max(observed.peak_memory_mib, total / MIB)


def left_processes(home: Path) -> list[str]:
    """Processes that are still there a while after the last driver has ended."""
    deadline = time.monotonic() + ENDING_SECONDS
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [f"process {p.pid} is left: {' '.join(p.cmdline()[:6])}" for p in left if p.is_running()]


def wrong_in_logs(logs: list[Path], drivers: list[Driver]) -> list[str]:
    """Name bugs that drivers and commands ended with, and drivers that gave up by themselves."""
    wrong = [f"{log} holds a traceback" for log in logs if log.exists() and "Traceback" in log.read_text()]
    for driver in drivers:
        gave_up = {code: n for code, n in driver.exit_codes.items() if code > 0}
        if gave_up:
            wrong.append(f"driver {driver.number} gave up (exit code: times) {gave_up}, see {driver.log}")
    return wrong


def examine(home: Path, attempts: list[AttemptRecord]) -> tuple[list[str], list[str], dict[str, int]]:
    """Ask the store; return lost results, what else is wrong, and a count of calculations by state."""
    from pipeline.campaign import open_campaign
    from pipeline.home import CampaignHome

    with open_campaign(CampaignHome(home).load_settings(), home) as campaign:
        states = Counter(c.state.value for c in campaign.calculations())
        return lost_results(campaign, attempts), wrong_in_store(campaign, attempts), dict(states)


def figures(
    options: argparse.Namespace, attempts: list[AttemptRecord], disruptor: Disruptor, observed: Observed
) -> dict[str, Any]:
    """Counts from the jobs' own records, and of what was done to them."""
    codes = Counter(a.result.code.value for a in attempts if a.result and a.result.code)
    by_target: dict[str, dict[str, int]] = {}
    for (target, kind), n in sorted(disruptor.counts.items()):
        by_target.setdefault(target, {})[kind] = n
    return {
        "backend": options.backend,
        "mode": options.mode,
        "seed": options.seed,
        "calculations": len({a.calculation_id for a in attempts}),
        "calculations_done": len(done_results(attempts)),
        "attempts": len(attempts),
        "starts": sum(a.starts for a in attempts),
        "max_starts_per_attempt": max((a.starts for a in attempts), default=0),
        "attempts_revoked": sum(a.claimed_by == "driver" for a in attempts),
        "attempts_gone_on_with": sum(
            bool(a.result and a.result.details.get("restarted_from")) for a in attempts
        ),
        "late_results": sum(a.late is not None for a in attempts),
        "duplicate_computations": sum(len(r) > 1 for r in done_results(attempts).values()),
        "failed_attempts_by_code": dict(sorted(codes.items())),
        "disruptions_total": disruptor.total,
        "disruptions": by_target,
        "drivers_started": sum(d.n_started for d in disruptor.drivers),
        "driver_exits": {
            str(code): n for code, n in sum((d.exit_codes for d in disruptor.drivers), Counter()).items()
        },
        "wall_seconds": round(observed.wall_seconds, 1),
        "peak_memory_mib": round(observed.peak_memory_mib, 1),
        "peak_driver_mib": round(observed.peak_driver_mib, 1),
    }


def print_table(report: dict[str, Any], person: Person) -> None:
    """Print what happened for a person."""
    print(f"{'disruption':12} {'kind':20} {'times':>5}")
    for target, kinds in report["disruptions"].items():
        for kind, n in kinds.items():
            print(f"{target:12} {kind:20} {n:5}")
    for (verb, code), n in sorted(person.calls.items()):
        print(f"{'person':12} {f'{verb} (exit {code})':20} {n:5}")
    for key, value in report.items():
        if not isinstance(value, dict | list):
            print(f"{key:26} {value}")
    for sentence in report["wrong"]:
        print(f"WRONG: {sentence}")


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the campaign in ``folder/home`` and examine what is left of it."""
    home = folder / "home"
    campaign_file = write_campaign(folder, options)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    cluster = folder / "slurm" if options.backend == "slurm" else None
    if cluster is not None:
        environment["SLURM_CONF"] = start_cluster(cluster)
    once = ["run", str(campaign_file)]
    command = [*SABATIER, *once, "--home", str(home)]
    drivers = [
        Driver(n, command, environment, folder / f"driver-{n}.log") for n in range(1, options.drivers + 1)
    ]
    rng = np.random.default_rng(options.seed)
    disruptor = Disruptor(home, drivers, rng, cluster)
    person = Person(SABATIER, home, environment, folder / "person.log", rng, [*once, "--once"])
    observed = Observed()
    try:
        disrupt_until_complete(disruptor, person, options, observed)
        left = left_processes(home)
        attempts = read_attempts(home)
        lost, in_store, states = examine(home, attempts)
    finally:
        end_all(home, drivers, cluster)
    wrong = [] if observed.is_complete else [f"not complete after {options.limit_minutes:g} minutes"]
    wrong += wrong_in_jobs(attempts) + lost + in_store + left
    wrong += wrong_in_logs([d.log for d in drivers] + [person.log], drivers)
    report = figures(options, attempts, disruptor, observed)
    if report["calculations"] < options.calculations:
        wrong.append(f"only {report['calculations']} calculations were needed; {options.calculations} wanted")
    if disruptor.total < options.disruptions:
        wrong.append(f"only {disruptor.total} disruptions fell into the campaign's time")
    report |= {"states": states, "lost_results": len(lost), "wrong": wrong}
    if not options.json:
        print_table(report, person)
    return report


def end_all(home: Path, drivers: list[Driver], cluster: Path | None) -> None:
    """Leave no process behind, whatever happened."""
    for driver in drivers:
        if driver.process is not None and driver.process.poll() is None:
            driver.process.kill()
            driver.process.wait()
    for process in processes_of(home):
        process.kill()
    if cluster is not None:
        subprocess.run([str(CLUSTER), "stop", str(cluster)], check=False, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["local", "slurm"], default="local")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calculations", type=int, default=40, help="at least so many are needed in all")
    parser.add_argument("--drivers", type=int, default=3)
    parser.add_argument("--disruptions", type=int, default=100)
    parser.add_argument("--mode", choices=["batch", "async"], default="batch")
    parser.add_argument("--pack", choices=["single", "array", "bundle"], default="single")
    parser.add_argument("--limit-minutes", type=float, default=60.0, help="give up after so long")
    parser.add_argument("--home", type=Path, help="work in this (new) folder and keep it")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    if options.home is not None and options.home.exists():
        parser.error(f"{options.home} exists already")
    # Short, as a Unix socket lies in it.
    folder = options.home.absolute() if options.home else Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"chaos in {folder}, seed {options.seed}", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    report = run(folder, options)
    if report["wrong"]:
        print(f"kept: {folder}", file=sys.stderr)
    elif options.home is None:
        shutil.rmtree(folder)
    print(json.dumps(report))
    sys.exit(1 if report["wrong"] else 0)


if __name__ == "__main__":
    main()
