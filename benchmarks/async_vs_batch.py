"""What asynchronous campaigns bring: one campaign in ``mode: batch`` and in ``mode: async``, on real jobs.

A campaign of relaxations with the effective-medium potential (real processes, of uneven length) runs once
in each mode, in a fresh temporary home; the jobs' own records tell how long cores were busy and idle. In
``batch`` the cores wait for the slowest of every round. What choosing with calculations under way costs
in hits is measured by ``benchmarks/pending.py``.

    python benchmarks/async_vs_batch.py [--cores N] [--rounds N] [--json]

The last line is JSON: for each mode ``wall_seconds``, ``idle_core_share`` (from the first start of a job
to the last end) and ``peak_memory_mib`` (driver, mongod and workers together), and of the two
``wall_ratio`` (async over batch), ``idle_core_seconds_ratio``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.driver_overhead import job_intervals, run_campaign

CAMPAIGN = """
name: modes
mode: {mode}
bulks: {{ids: [mp-30, mp-2, mp-124, mp-1018029]}}
surfaces: {{max_miller_index: 1, min_height_a: 6.0, min_lateral_a: 7.0, vacuum_a: 8.0, free_depth_a: 3.0}}
adsorbates: {{CO: {{}}, H: {{}}}}
recipe: emt
budget: {{calculations: {calculations}, rounds: {rounds}, cpu_hours: 10}}
seed_size: {width}
batch_size: {width}
execution: {{backend: local, cores: {cores}}}
"""


def measure(mode: str, cores: int, rounds: int) -> dict[str, Any]:
    """Run the campaign in a mode; what its jobs' records say."""
    width = 2 * cores
    text = CAMPAIGN.format(
        mode=mode, cores=cores, rounds=rounds, width=width, calculations=(rounds + 1) * width
    )
    with tempfile.TemporaryDirectory(prefix="sabatier-modes-") as folder:
        file, home = Path(folder) / "modes.yaml", Path(folder) / "home"
        file.write_text(text)
        peak = run_campaign(str(file), home)
        intervals, results = job_intervals(home)
    wall = max(end for _, end in intervals) - min(start for start, _ in intervals)
    busy = sum(end - start for start, end in intervals)
    return {
        "adsorption_energies": sum(r["kind"] == "adslab" for r in results),
        "calculations": len(results),
        "wall_seconds": wall,
        "busy_core_seconds": busy,
        "idle_core_share": 1 - busy / (cores * wall),
        "peak_memory_mib": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=len(psutil.Process().cpu_affinity()))
    parser.add_argument("--rounds", type=int, default=6, help="rounds after the seed, in mode batch")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    for mode in ("batch", "async"):
        report[mode] = measure(mode, options.cores, options.rounds)
        if not options.json:
            print(mode, report[mode])
    batch, asynchronous = report["batch"], report["async"]
    report["wall_ratio"] = asynchronous["wall_seconds"] / batch["wall_seconds"]
    report["idle_core_seconds_ratio"] = (asynchronous["idle_core_share"] * asynchronous["wall_seconds"]) / (
        batch["idle_core_share"] * batch["wall_seconds"]
    )
    report["cores"] = options.cores
    print(json.dumps(report))


if __name__ == "__main__":
    main()
