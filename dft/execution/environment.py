"""What a job inherits from the driver, and what it must not."""

from __future__ import annotations

import os
from pathlib import Path

SECRET_PREFIX = "SABATIER_MONGODB_"
"""Variables that tell where the database is and who may use it: no job needs them, and other users of a
cluster may read a job's environment."""
WORKER = "dft.worker"
"""Module that a job runs on its directory."""
OUTPUT_FILE = "job.out"
"""File in the job directory with what the worker prints."""


def job_environment() -> dict[str, str]:
    """The driver's environment without its secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SECRET_PREFIX)}


def python_path() -> list[str]:
    """Entries of a job's PYTHONPATH: the checkout, if these packages come from one, and the driver's own.

    An installed package needs no help, and site-packages in front of the standard library do harm.
    """
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    root = Path(__file__).parents[2]
    if root.name not in {"site-packages", "dist-packages"}:
        entries.insert(0, str(root))
    # The job runs in another folder.
    return list(dict.fromkeys(str(Path(entry).resolve()) for entry in entries))
