"""How a driver comes to an end before the campaign does, without anything being wrong."""

from __future__ import annotations

from config.errors import SabatierError


class Drained(SabatierError):  # noqa: N818 - an end, not an error
    """The driver was asked to stop, and nothing is under way any more."""

    exit_code = 130


class BudgetSpent(SabatierError):  # noqa: N818
    """The campaign's CPU-hours are spent; what was planned stays planned."""

    exit_code = 0


class NothingLeft(SabatierError):  # noqa: N818
    """Nothing is left that can be chosen, or is worth it: the campaign ends before its last round."""

    exit_code = 0


class StepDone(SabatierError):  # noqa: N818
    """``run --once`` has done all that can be done now; jobs are under way."""

    exit_code = 0


class Held(SabatierError):  # noqa: N818
    """A person has paused what is left to do."""

    exit_code = 0
