"""Small campaigns and a way to run the real ``sabatier`` command on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

TINY = """
name: tiny
bulks: {ids: [mp-30, mp-2, mp-1018029]}
surfaces:
  {miller_indices: [[1, 1, 1]], min_height_a: 4.0, min_lateral_a: 2.0, vacuum_a: 8.0, free_depth_a: 0.0}
adsorbates: {CO: {}, H: {}}
recipe: emt
budget: {calculations: 8, rounds: 2, cpu_hours: 10}
seed_size: 4
batch_size: 2
execution: {backend: local, cores: 2}
seed: 3
"""


def command(*arguments: str) -> list[str]:
    """Command line of ``sabatier``."""
    return [sys.executable, "-m", "tasks.cli.main", *arguments]


def environment() -> dict[str, str]:
    """Environment in which the checkout is importable from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def sabatier(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ``sabatier`` to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def completed(folder: Path, name: str, text: str) -> Path:
    """Run a campaign file to its end in a folder, which is returned."""
    (folder / name).write_text(text)
    done = sabatier("run", name, cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start ``sabatier`` in a session of its own, its output in a file."""
    with (cwd / "driver.out").open("a") as out:
        return subprocess.Popen(
            command(*arguments),
            cwd=cwd,
            env=environment(),
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )


def results(home: Path) -> list[dict[str, Any]]:
    """Every result file of a home."""
    return [json.loads(p.read_text()) for p in sorted(home.glob("jobs/*/*/result.json"))]


def starts(home: Path) -> Counter[str]:
    """How often a computation of each calculation was started, by the jobs' own records."""
    lines = [line for p in home.glob("jobs/*/*/runs.jsonl") for line in p.read_text().splitlines()]
    return Counter(json.loads(line)["calculation_id"] for line in lines)
