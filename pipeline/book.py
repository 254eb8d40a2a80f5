"""The calculations that a driver works on, as it last saw them, and the only way to move one.

Several drivers write the same calculations. Every move therefore holds only if the calculation is
still in the state and attempt in which this driver saw it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Unpack

from config.errors import StoreError
from dft.jobs import CalculationKind
from pipeline.domain import IN_FLIGHT, TERMINAL, CalculationState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.domain import Calculation
    from pipeline.store.calculations import CalculationChanges
    from pipeline.store.repository import Store

Kind = CalculationKind
DEPTH = {Kind.GAS: 0, Kind.BULK: 1, Kind.SLAB: 2, Kind.ADSLAB: 3}
"""Calculations require only kinds of a smaller depth."""
REREAD_SECONDS = 10.0
"""How often to look for moves of calculations that had ended: a person may have asked for more of them."""
OVERLAP = timedelta(minutes=1)
"""Moves are written a moment after their time is taken, and clocks are set."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Book:
    """What a driver knows of its calculations."""

    store: Store
    calculations: dict[str, Calculation] = field(default_factory=dict)
    """By id, as last read from the store."""
    _looked_at: float = float("-inf")
    _seen_until: datetime | None = None
    """Moves up to then are known, by the database's clock."""

    def refresh(self, ids: Iterable[str]) -> None:
        """Read calculations that may have changed.

        Raises
        ------
        StoreError
            If the store lacks one of them.
        """
        wanted = dict.fromkeys(ids)
        known = self.calculations
        for stranger in known.keys() - wanted.keys():
            del known[stranger]
        read = [i for i in wanted if i not in known or known[i].state not in TERMINAL]
        known.update({c.id: c for c in self.store.calculations(ids=read)})
        if time.monotonic() - self._looked_at > REREAD_SECONDS:
            self._looked_at = time.monotonic()
            self._take_up_moves()
        missing = next((i for i in wanted if i not in known), None)
        if missing is not None:
            message = f"the store lacks calculation {missing}; was it restored from an old copy?"
            raise StoreError(message)

    def _take_up_moves(self) -> None:
        """Read what was moved, of that which had ended as well.

        It may be open again, or, if this driver was asleep meanwhile, have ended in another way. All may be
        10^5, few of them have moved.
        """
        known = self.calculations
        if self._seen_until is not None:
            moved = self.store.calculations(moved_since=self._seen_until - OVERLAP)
            known.update({c.id: c for c in moved if c.id in known})
        self._seen_until = max((c.since for c in known.values() if c.since is not None), default=LONG_AGO)

    def move(
        self,
        calculation: Calculation,
        to: CalculationState,
        *,
        owned_by: str | None = None,
        **fields: Unpack[CalculationChanges],
    ) -> Calculation | None:
        """Change a state in the store if nobody else has since it was read; None if somebody has."""
        moved = self.store.transition(
            calculation.id,
            (calculation.state,),
            to,
            at_attempt=calculation.attempt,
            owned_by=owned_by,
            **fields,
        )
        if moved is not None:
            self.calculations[calculation.id] = moved
        return moved

    def in_state(self, state: CalculationState) -> list[Calculation]:
        """Calculations in a state."""
        return [c for c in self.calculations.values() if c.state is state]

    def ready(self) -> list[Calculation]:
        """Planned calculations that lack nothing they require."""
        known = self.calculations
        valid = {i for i, c in known.items() if c.state is CalculationState.VALID}
        return [c for c in self.in_state(CalculationState.PLANNED) if valid.issuperset(c.requires)]

    def in_flight(self) -> list[Calculation]:
        """Calculations that occupy cores or wait for them."""
        return [c for c in self.calculations.values() if c.state in IN_FLIGHT]

    def in_order(self) -> list[Calculation]:
        """Calculations with prerequisites before what needs them."""
        return sorted(self.calculations.values(), key=lambda c: DEPTH[c.kind])

    def counts(self) -> Counter[CalculationState]:
        """How many calculations are in each state."""
        return Counter(c.state for c in self.calculations.values())
