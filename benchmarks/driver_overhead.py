"""What the driver costs: wall time outside GPAW as a share of a campaign.

Runs a campaign (the demo by default) in a fresh temporary home and reads the jobs' own records, not the
store: when each GPAW run started and ended, and when the driver did. The alternative it is held against
is the ideal schedule of the same calculations, in which all cores are busy from first to last second.

    python benchmarks/driver_overhead.py [CAMPAIGN] [--home DIR] [--json]

With ``--home`` a campaign that was run before is read instead. The last line is JSON:
``overhead_share`` (of wall time with no calculation running), ``idle_core_share``, ``wall_ratio`` (wall
time over the ideal schedule), ``cpu_seconds_per_energy``, ``peak_memory_mib`` (driver, mongod and workers
together; null with ``--home``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20
SAMPLE_SECONDS = 1.0
Interval = tuple[float, float]


def run_campaign(campaign: str, home: Path) -> float:
    """Run a campaign to its end; return the peak memory of all its processes, MiB."""
    command = [sys.executable, "-m", "tasks.cli.main", "run", campaign, "--home", str(home)]
    process = subprocess.Popen(command, stdout=sys.stderr)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory_mib(process.pid, home))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode != 0:
        sys.exit(f"the campaign ended with exit code {process.returncode}")
    return peak


def memory_mib(driver: int, home: Path) -> float:
    """Proportional memory of the driver and of every process that works in its home, MiB."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.pid == driver or str(home) in " ".join(process.cmdline()):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / MIB


def job_intervals(home: Path) -> tuple[list[Interval], list[dict[str, Any]]]:
    """When each run computed (seconds since the epoch), and its result."""
    intervals, results = [], []
    for result_file in sorted(home.glob("jobs/*/*/result.json")):
        runs_file = result_file.with_name("runs.jsonl")
        if not runs_file.exists():
            continue
        result = json.loads(result_file.read_text())
        end = datetime.fromisoformat(result["finished_at"]).timestamp()
        for line in runs_file.read_text().splitlines():
            intervals.append((datetime.fromisoformat(json.loads(line)["started_at"]).timestamp(), end))
        results.append(result)
    return intervals, results


def session_intervals(home: Path) -> list[Interval]:
    """When drivers were at work."""
    starts: dict[int, float] = {}
    sessions = []
    for line in (home / "sessions.jsonl").read_text().splitlines():
        event = json.loads(line)
        moment = datetime.fromisoformat(event["time"]).timestamp()
        if event["event"] == "start":
            starts[event["pid"]] = moment
        elif event["pid"] in starts:
            sessions.append((starts.pop(event["pid"]), moment))
    return sessions


def covered(intervals: list[Interval]) -> float:
    """Length of the union of intervals, seconds."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def figures(home: Path, cores: int, peak_memory_mib: float | None) -> dict[str, Any]:
    """Everything the benchmark reports."""
    intervals, results = job_intervals(home)
    wall = sum(end - start for start, end in session_intervals(home))
    busy = sum(end - start for start, end in intervals)
    energies = [r for r in results if r["kind"] == "adslab" and r["state"] == "DONE"]
    cpu = sum(r["cpu_seconds"] for r in results)
    return {
        "calculations": len(results),
        "adsorption_energies": len(energies),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "cpu_seconds_per_energy": cpu / len(energies) if energies else None,
        "adslab_cpu_seconds_mean": sum(r["cpu_seconds"] for r in energies) / len(energies)
        if energies
        else None,
        "overhead_share": 1 - covered(intervals) / wall,
        "idle_core_share": 1 - busy / (cores * wall),
        "wall_ratio": wall / (busy / cores),
        "peak_memory_mib": peak_memory_mib,
        "cores": cores,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", nargs="?", default="demo")
    parser.add_argument("--home", type=Path, help="read this home instead of running the campaign")
    parser.add_argument("--cores", type=int, default=len(psutil.Process().cpu_affinity()))
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    if options.home is not None:
        if not (options.home / "sessions.jsonl").exists():
            parser.error(f"no campaign has been run in {options.home}")
        report = figures(options.home, options.cores, None)
    else:
        with tempfile.TemporaryDirectory(prefix="sabatier-benchmark-") as folder:
            home = Path(folder) / "home"
            report = figures(home, options.cores, run_campaign(options.campaign, home))
    if not options.json:
        for key, value in report.items():
            print(f"{key:26} {value:.3f}" if isinstance(value, float) else f"{key:26} {value}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
