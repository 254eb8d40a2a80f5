"""What the Luigi tasks of this process work on.

Luigi parameters are identities, never settings or connections: a task names its campaign and round, and
finds the open :class:`~pipeline.campaign.Campaign` here.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.batch import Watch
    from pipeline.campaign import Campaign


@dataclass(frozen=True)
class LoopContext:
    """An open campaign and the person watching it."""

    campaign: Campaign
    watch: Watch
    failures: list[BaseException] = field(default_factory=list)
    """What tasks, and the checks whether they are complete, have raised."""


_active: dict[str, LoopContext] = {}


@contextmanager
def activate(context: LoopContext) -> Iterator[None]:
    """Let the tasks of this campaign run in this process."""
    name = context.campaign.name
    _active[name] = context
    try:
        yield
    finally:
        del _active[name]


def current(campaign: str) -> LoopContext:
    """Return the context of a campaign that is active in this process."""
    return _active[campaign]
