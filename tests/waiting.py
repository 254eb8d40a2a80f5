"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 180.0
"""How long to wait for what must happen; the machine may be busy."""


def wait_for(
    condition: Callable[[], object], what: str, timeout: float = PATIENCE_S, every: float = 0.02
) -> None:
    """Wait until a condition holds, with a look ``every`` so many seconds; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(every)
