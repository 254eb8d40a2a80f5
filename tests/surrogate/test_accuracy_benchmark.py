"""The accuracy benchmark on a small made-up data folder, and without one."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

from tests.surrogate.worlds import law, random_environments

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=300
    )


def spell(shell):
    return "-".join(symbol for symbol, count in shell for _ in range(count))


def write_sites(folder):
    environments = random_environments(40)
    for name in ("co", "h"):
        with gzip.open(folder / f"gaspy_{name}_sites.csv.gz", "wt", encoding="utf-8") as handle:
            second = "neighborcoord" if name == "co" else "outer8"
            writer = csv.writer(handle)
            writer.writerow(["mpid", "coordination", second, "energy_eV"])
            for i, (environment, energy) in enumerate(zip(environments, law(environments), strict=True)):
                outer = spell(environment.second_shell)
                outer = f"Cu:{outer}" if name == "co" else outer
                writer.writerow([f"mp-{i % 10}", spell(environment.first_shell), outer, energy])


def test_says_that_it_cannot_run_without_the_data(tmp_path):
    done = run("--data", str(tmp_path))
    assert done.returncode == 2
    assert "gaspy_co_sites.csv.gz" in done.stderr


def test_last_line_is_json_with_the_figures_of_both_models(tmp_path):
    write_sites(tmp_path)
    done = run("--data", str(tmp_path), "--curve", "10")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    for adsorbate in ("CO", "H"):
        for model in ("gaussian_process", "extra_trees"):
            assert 0.0 < results[adsorbate][model]["mae_ev"] < 0.5
            assert "10" in results[adsorbate][model]["curve"]
