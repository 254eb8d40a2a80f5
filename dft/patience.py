"""Writing to a disk that may be full for a while, without losing what took hours. Units: s."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, TypeVar

from dft.watch import job_end

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PATIENCE_SECONDS = 1800.0
"""How long to wait for room when nobody said when the job ends."""
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LAST_SECONDS = 2.0
"""Time before the job's end at which to stop waiting."""


def patiently(write: Callable[[], T], what: str) -> T:
    """Call ``write`` again and again until the disk has room for it.

    Parameters
    ----------
    what
        Named in the job's output while it waits.

    Raises
    ------
    OSError
        If the disk is still full when the job's time, or half an hour, is over; any other error at once.
    """
    end = job_end()
    left = PATIENCE_SECONDS if end is None else end - LAST_SECONDS - time.time()
    deadline = time.monotonic() + left
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in DISK_FULL or time.monotonic() + wait > deadline:
                raise
            print(f"cannot write {what}, trying again in {wait:g} s: {error}", flush=True)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)
