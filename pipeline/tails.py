"""The last words of a job: what a person reads first to learn why a calculation failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dft.execution.environment import OUTPUT_FILE
from dft.jobs import LOG_FILE

if TYPE_CHECKING:
    from pathlib import Path

TAIL_LINES = 5
TAIL_BYTES = 16_384
LOG_ENDINGS = (".txt", ".log", ".out", ".err")


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a text file that are not blank; none if it cannot be read.

    Only the end is read: a log may have grown to gigabytes.
    """
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - max(TAIL_BYTES, 200 * lines)))
            text = handle.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]


def logs_of(job_dir: Path) -> list[Path]:
    """Files in a job directory that a person may want to read, the calculation's own first."""
    return [path for ending in LOG_ENDINGS for path in sorted(job_dir.glob(f"*{ending}"))]


def error_tail(message: str, job_dir: Path) -> list[str]:
    """Return the end of what is known of a failure: its message, what the job printed, or GPAW's log."""
    said = [line for line in message.splitlines() if line.strip()][-TAIL_LINES:]
    printed = tail(job_dir / OUTPUT_FILE, TAIL_LINES) or tail(job_dir / LOG_FILE, TAIL_LINES)
    return said if len(said) > 1 or not printed else [*said, *printed]
