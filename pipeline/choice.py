"""Choosing calculations for a person's commands: by ids or their beginnings, or by what they are.

Only calculations of the campaign can be chosen: those of its rounds with all that they require.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dft.codes import FailureCode
    from dft.jobs import CalculationKind
    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation, CalculationState

IDS_NAMED = 8
"""Most ids that a message spells out."""


@dataclass(frozen=True)
class Filter:
    """Conditions on calculations; each that is not empty must be met, by any of its values."""

    states: frozenset[CalculationState] = frozenset()
    codes: frozenset[FailureCode] = frozenset()
    kinds: frozenset[CalculationKind] = frozenset()
    adsorbates: frozenset[str] = frozenset()
    bulk_ids: frozenset[str] = frozenset()
    label: str = ""
    """Part of the label, in any case."""

    @property
    def is_empty(self) -> bool:
        """True if every calculation meets it."""
        return self == Filter()

    def meets(self, calculation: Calculation) -> bool:
        """Tell whether a calculation meets every condition."""
        asked: list[tuple[frozenset[object], object]] = [
            (frozenset(self.states), calculation.state),
            (frozenset(self.codes), calculation.code),
            (frozenset(self.kinds), calculation.kind),
            (frozenset(self.adsorbates), calculation.adsorbate),
            (frozenset(self.bulk_ids), calculation.bulk_id),
        ]
        named = self.label.casefold() in calculation.label.casefold()
        return named and all(not allowed or value in allowed for allowed, value in asked)


def by_ids(campaign: Campaign, known: Iterable[Calculation], given: Sequence[str]) -> list[Calculation]:
    """Find the calculations that ids or their unique beginnings stand for, each once.

    Raises
    ------
    ConfigError
        If one stands for nothing, for several, or for something else than a calculation of the campaign.
    """
    calculations = list(known)
    found = [_by_id(campaign, calculations, identifier) for identifier in given]
    return list({c.id: c for c in found}.values())


def _by_id(campaign: Campaign, calculations: list[Calculation], identifier: str) -> Calculation:
    matches = [c for c in calculations if identifier and c.id.startswith(identifier)]
    exact = [c for c in matches if c.id == identifier]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        names = ", ".join(c.id for c in matches[:IDS_NAMED])
        message = f"id {identifier!r} is ambiguous: {names}"
    else:
        message = _why_unknown(campaign, identifier)
    raise ConfigError(message)


def _why_unknown(campaign: Campaign, identifier: str) -> str:
    """Say what an id is that no calculation of the campaign has."""
    others = campaign.store.resolve_id(identifier, campaign.name)
    if not others:
        return f"no calculation has the id {identifier!r}; 'sabatier status --all' lists ids"
    kind, full_id = others[0]
    if kind == "calculation":
        return f"{full_id} is not a calculation of campaign {campaign.name}"
    return f"{full_id} is a {kind}, not a calculation; 'sabatier show {full_id}' lists its calculations" + (
        f", --bulk {full_id} chooses them" if kind == "bulk" else ""
    )


def bulk_ids(campaign: Campaign, name: str) -> frozenset[str]:
    """Ids of the bulks that a formula, an id or its beginning, or a source's id stands for.

    Raises
    ------
    ConfigError
        If the campaign has no such bulk.
    """
    found = {
        b.id
        for b in campaign.bulks
        if name in {b.formula, b.source_id} or (len(name) > len("bulk-") and b.id.startswith(name))
    }
    if not found:
        formulas = sorted({b.formula for b in campaign.bulks})
        more = f" and {len(formulas) - IDS_NAMED} more" if len(formulas) > IDS_NAMED else ""
        message = (
            f"no bulk {name!r} in campaign {campaign.name}: it has {', '.join(formulas[:IDS_NAMED])}{more}"
        )
        raise ConfigError(message)
    return frozenset(found)


def sharers(campaign: Campaign, ids: Iterable[str]) -> dict[str, int]:
    """Other campaigns of the database that have chosen calculations too, and how many of them."""
    mine = set(ids)
    others = [other.name for other in campaign.store.campaigns() if other.name != campaign.name]
    shared = {name: len(mine.intersection(campaign.store.needed_by(name))) for name in others}
    return {name: n for name, n in shared.items() if n}


def dependents(campaign: Campaign, ids: Iterable[str]) -> list[Calculation]:
    """Every calculation of any campaign that requires one of these, directly or not, nearest first."""
    wanted = set(ids)
    everything: dict[str, Calculation] = {}
    for record in campaign.store.campaigns():
        needed = campaign.store.needed_by(record.name)
        everything |= {c.id: c for c in campaign.store.calculations(ids=needed)}
    found: dict[str, Calculation] = {}
    while True:
        reached = wanted | found.keys()
        nearer = {i: c for i, c in everything.items() if i not in reached and reached & set(c.requires)}
        if not nearer:
            return list(found.values())
        found |= nearer
