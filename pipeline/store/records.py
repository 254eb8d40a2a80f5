"""What the store keeps besides the domain's nouns: campaigns, rounds, models, histories. Units: eV, s."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dft.codes import FailureCode
    from pipeline.domain import CalculationState

SEED_ROUND = 0
"""Number of the first round, whose choice rests on no energy of the campaign."""


def utc_now() -> datetime:
    """Return the time, to the millisecond that MongoDB keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as the store knows it."""

    name: str
    settings: Mapping[str, Any]
    """The campaign's settings as JSON values; an address in them is kept without its credentials."""
    digest: str
    """Hash of the settings."""
    home: str
    created_at: datetime
    stages: Mapping[str, int] = field(default_factory=dict)
    """How many things each finished stage yielded, such as ``{"bulks": 5, "surfaces": 40}``."""
    elapsed_seconds: float = 0.0
    """Wall time that drivers have spent on it."""
    paused: bool = False
    """A person wants nothing new to be started."""


@dataclass(frozen=True)
class DriverRecord:
    """A driver at work on a campaign, as it last said."""

    id: str
    campaign: str
    host: str
    pid: int
    started_at: datetime
    mode: str
    """What it does, in words for a person."""
    age_seconds: float = field(default=0.0, compare=False)
    """How long ago it said so, by the database's clock."""


class RoundState(StrEnum):
    """Where a round is."""

    SELECTED = "SELECTED"
    """Its candidates are chosen and being computed."""
    CLOSED = "CLOSED"
    """Every one of its calculations has come to an end."""


class Reason(StrEnum):
    """Why a candidate was chosen."""

    SEED = "seed"
    """Before there was anything to learn from."""
    PROMISE = "promise"
    """By the acquisition strategy, among those that may decide the fate of their surface."""
    FILLING = "filling"
    """By the acquisition strategy; nothing was left that might decide the fate of a surface."""
    EXPLORATION = "exploration"
    """The surrogate knew least of it."""
    ELSEWHERE = "elsewhere"
    """Another campaign was computing it, and nothing else was left."""


@dataclass(frozen=True)
class Selection:
    """A candidate chosen for a round, with what the surrogate thought of it then."""

    calculation_id: str
    site_id: str
    adsorbate: str
    score: float | None = None
    """Acquisition score; higher is chosen earlier. None in a seed round."""
    mean_ev: float | None = None
    """Predicted ΔE, eV."""
    std_ev: float | None = None
    """Standard deviation of the prediction, eV."""
    reason: str | None = None
    """One of :class:`Reason`; None in rounds of earlier releases."""


@dataclass(frozen=True)
class Prospect:
    """What a round's choice promised, by the probabilities that the surrogate gave then."""

    goal: str
    """The adsorbate whose hits are counted; ``all`` where only surfaces count that hit for all of them."""
    hits: float
    """New ones expected among the candidates chosen."""
    cpu_hours: float
    """Expected cost of those."""
    hits_left: float
    """New ones expected among the candidates left."""


@dataclass(frozen=True)
class RoundRecord:
    """A round: what was chosen, and everything that the choice depended on."""

    campaign: str
    number: int
    selections: tuple[Selection, ...]
    """In the order in which they were chosen."""
    seed: int
    config_digest: str
    versions: Mapping[str, str]
    """Version of the code and of each library."""
    state: RoundState = RoundState.SELECTED
    started_at: datetime = field(default_factory=utc_now)
    closed_at: datetime | None = None
    prospects: tuple[Prospect, ...] = ()
    """Empty in a seed round and in rounds of earlier releases."""

    @property
    def is_closed(self) -> bool:
        """True once every one of its calculations has come to an end."""
        return self.state is RoundState.CLOSED

    @property
    def calculation_ids(self) -> tuple[str, ...]:
        """Ids of the chosen calculations, in order."""
        return tuple(s.calculation_id for s in self.selections)


@dataclass(frozen=True)
class ModelRecord:
    """A surrogate as it was trained for one round and adsorbate."""

    campaign: str
    round: int
    adsorbate: str
    record: Mapping[str, Any]
    """What the surrogate says of itself: class, parameters, features, seed."""
    metrics: Mapping[str, Any]
    training_ids: tuple[str, ...]
    """Ids of the calculations that it learned from."""
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True)
class HistoryEntry:
    """One move of a calculation; fields that the move did not set are None."""

    state: CalculationState
    at: datetime
    note: str = ""
    attempt: int | None = None
    job_dir: str | None = None
    job_id: str | None = None
    code: FailureCode | None = None


@dataclass(frozen=True)
class Attempt:
    """One attempt at a calculation, put together from its history."""

    number: int
    job_dir: str | None
    job_id: str | None
    code: FailureCode | None
    state: CalculationState
    """Last state of the attempt; PLANNED if it was given up for another one."""
    started_at: datetime
    ended_at: datetime | None
