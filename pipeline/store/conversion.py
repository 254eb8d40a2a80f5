"""Domain values to documents and back: the only place that knows both shapes.

To the store a value becomes a mongoengine document, which validates it. From the store it comes as the
plain dictionary that MongoDB returns: building 100,000 mongoengine objects would take half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from dft.codes import FailureCode
from dft.jobs import AtomsRecord, CalculationKind
from pipeline.domain import Bulk, Calculation, CalculationState, Observation, Site, Surface
from pipeline.store import documents as d
from pipeline.store.address import mask
from pipeline.store.records import (
    Attempt,
    CampaignRecord,
    DriverRecord,
    HistoryEntry,
    ModelRecord,
    Prospect,
    RoundRecord,
    RoundState,
    Selection,
)

if TYPE_CHECKING:
    from pipeline.domain import Shell
    from pipeline.store.connection import Raw


def key(*parts: str | int) -> str:
    """Primary key of a document that belongs to a campaign."""
    return "/".join(str(part) for part in parts)


def plain(value: Any) -> Any:
    """Turn numpy numbers and arrays, tuples and enums inside a value into what MongoDB can hold."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    return value


def without_credentials(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a campaign's settings, with only the hosts of the store's address.

    Settings are shown and exported; who can read them here knows the address already.
    """
    copy: dict[str, Any] = plain(settings)
    store = copy.get("store")
    if isinstance(store, dict) and store.get("uri"):
        store["uri"] = mask(store["uri"])
    return copy


# Structures


def bulk_document(campaign: str, bulk: Bulk) -> d.BulkDocument:
    """Document of a bulk in a campaign."""
    return d.BulkDocument(
        key=key(campaign, bulk.id),
        campaign=campaign,
        bulk_id=bulk.id,
        source_id=bulk.source_id,
        source=bulk.source,
        formula=bulk.formula,
        elements=list(bulk.elements),
        atoms=AtomsRecord.from_atoms(bulk.atoms).model_dump(mode="json"),
    )


def bulk(raw: Raw) -> Bulk:
    """Bulk of a stored document."""
    return Bulk(
        id=raw["bulk_id"],
        source_id=raw["source_id"],
        source=raw["source"],
        formula=raw["formula"],
        elements=tuple(raw["elements"]),
        atoms=AtomsRecord.model_validate(raw["atoms"]).to_atoms(),
    )


def surface_document(campaign: str, surface: Surface) -> d.SurfaceDocument:
    """Document of a surface in a campaign."""
    return d.SurfaceDocument(
        key=key(campaign, surface.id),
        campaign=campaign,
        surface_id=surface.id,
        bulk_id=surface.bulk_id,
        miller=plain(surface.miller),
        shift=plain(surface.shift),
        side=surface.side,
        label=surface.label,
        atoms=AtomsRecord.from_atoms(surface.atoms).model_dump(mode="json"),
    )


def surface(raw: Raw) -> Surface:
    """Surface of a stored document."""
    return Surface(
        id=raw["surface_id"],
        bulk_id=raw["bulk_id"],
        miller=cast("tuple[int, int, int]", tuple(raw["miller"])),
        shift=raw["shift"],
        side=raw["side"],
        label=raw["label"],
        atoms=AtomsRecord.model_validate(raw["atoms"]).to_atoms(),
    )


def site_document(campaign: str, site: Site) -> d.SiteDocument:
    """Document of a site in a campaign."""
    return d.SiteDocument(
        key=key(campaign, site.id),
        campaign=campaign,
        site_id=site.id,
        surface_id=site.surface_id,
        bulk_id=site.bulk_id,
        kind=site.kind,
        label=site.label,
        position=plain(site.position),
        images=plain(site.images),
        first_shell=plain(site.first_shell),
        second_shell=plain(site.second_shell),
        neighbours=plain(site.neighbours),
        beneath=None if site.beneath is None else plain(site.beneath),
    )


def site(raw: Raw) -> Site:
    """Site of a stored document."""
    return Site(
        id=raw["site_id"],
        surface_id=raw["surface_id"],
        bulk_id=raw["bulk_id"],
        kind=raw["kind"],
        label=raw["label"],
        position=cast("tuple[float, float, float]", tuple(raw["position"])),
        images=tuple((x, y) for x, y in raw.get("images", ())),
        first_shell=_shell(raw.get("first_shell", ())),
        second_shell=_shell(raw.get("second_shell", ())),
        neighbours=tuple((symbol, _shell(shell)) for symbol, shell in raw.get("neighbours", ())),
        beneath=None if raw.get("beneath") is None else _shell(raw["beneath"]),
    )


def _shell(raw: Sequence[Sequence[Any]]) -> Shell:
    return tuple((symbol, count) for symbol, count in raw)


# Calculations

CALCULATION_FIELDS = (
    "label",
    "bulk_id",
    "surface_id",
    "site_id",
    "adsorbate",
    "gas",
    "recipe_digest",
    "message",
    "energy",
    "attempt",
    "job_dir",
    "job_id",
    "cpu_seconds",
    "owner",
    "since",
    "memory_factor",
    "forgiven",
    "fresh_after",
)
"""Fields that are the same in the dataclass and in the document."""


def calculation_document(calculation: Calculation, at: Any) -> d.CalculationDocument:
    """Document of a calculation that is new at the time ``at``."""
    return d.CalculationDocument(
        calculation_id=calculation.id,
        kind=calculation.kind.value,
        state=calculation.state.value,
        requires=list(calculation.requires),
        code=calculation.code.value if calculation.code else None,
        history=[d.HistoryDocument(state=calculation.state.value, at=at)],
        **{name: plain(getattr(calculation, name)) for name in CALCULATION_FIELDS},
    )


def calculation(raw: Raw) -> Calculation:
    """Calculation of a stored document."""
    return Calculation(
        id=raw["_id"],
        kind=CalculationKind(raw["kind"]),
        state=CalculationState(raw["state"]),
        requires=tuple(raw.get("requires", ())),
        code=_code(raw),
        **{name: raw[name] for name in CALCULATION_FIELDS if name in raw},
    )


def _code(raw: Raw) -> FailureCode | None:
    return FailureCode(raw["code"]) if raw.get("code") else None


def history(raw: Raw) -> tuple[HistoryEntry, ...]:
    """Moves of a stored calculation, oldest first."""
    return tuple(
        HistoryEntry(
            state=CalculationState(entry["state"]),
            at=entry["at"],
            note=entry.get("note", ""),
            attempt=entry.get("attempt"),
            job_dir=entry.get("job_dir"),
            job_id=entry.get("job_id"),
            code=_code(entry),
        )
        for entry in raw.get("history", ())
    )


def attempts(moves: Sequence[HistoryEntry]) -> tuple[Attempt, ...]:
    """Attempts told by a calculation's moves: each begins with a move to SUBMITTING."""
    found: list[Attempt] = []
    for move in moves:
        if move.state is CalculationState.SUBMITTING:
            number = move.attempt if move.attempt is not None else len(found) + 1
            found.append(Attempt(number, move.job_dir, move.job_id, move.code, move.state, move.at, None))
        elif found and found[-1].ended_at is None:
            found[-1] = _continued(found[-1], move)
    return tuple(found)


def _continued(attempt: Attempt, move: HistoryEntry) -> Attempt:
    from pipeline.domain import IN_FLIGHT

    return Attempt(
        number=attempt.number,
        job_dir=move.job_dir or attempt.job_dir,
        job_id=move.job_id or attempt.job_id,
        code=move.code or attempt.code,
        state=move.state,
        started_at=attempt.started_at,
        ended_at=None if move.state in IN_FLIGHT else move.at,
    )


def observation_document(observation: Observation) -> d.ObservationDocument:
    """Document of an observation."""
    return d.ObservationDocument(**{name: plain(value) for name, value in vars(observation).items()})


def observation(raw: Raw) -> Observation:
    """Observation of a stored document."""
    return Observation(calculation_id=raw["_id"], **{k: v for k, v in raw.items() if k != "_id"})


# Campaigns, rounds, models


def campaign(raw: Raw) -> CampaignRecord:
    """Campaign of a stored document."""
    return CampaignRecord(
        name=raw["_id"],
        settings=raw["settings"],
        digest=raw["digest"],
        home=raw["home"],
        created_at=raw["created_at"],
        stages=raw.get("stages", {}),
        elapsed_seconds=raw.get("elapsed_seconds", 0.0),
        paused=raw.get("paused", False),
    )


def driver_document(record: DriverRecord) -> d.DriverDocument:
    """Document of a driver, without the time of its beat, which is the server's."""
    return d.DriverDocument(
        driver_id=record.id,
        campaign=record.campaign,
        host=record.host,
        pid=record.pid,
        started_at=record.started_at,
        mode=record.mode,
    )


def driver(raw: Raw) -> DriverRecord:
    """Driver of a stored document with its age."""
    return DriverRecord(
        id=raw["_id"],
        campaign=raw["campaign"],
        host=raw["host"],
        pid=raw["pid"],
        started_at=raw["started_at"],
        mode=raw["mode"],
        age_seconds=raw["age_ms"] / 1000.0,
    )


def round_document(record: RoundRecord) -> d.RoundDocument:
    """Document of a round."""
    return d.RoundDocument(
        key=key(record.campaign, record.number),
        campaign=record.campaign,
        number=record.number,
        state=record.state.value,
        selections=[
            d.SelectionDocument(**{name: plain(value) for name, value in vars(s).items()})
            for s in record.selections
        ],
        prospects=[d.ProspectDocument(**vars(p)) for p in record.prospects],
        seed=record.seed,
        config_digest=record.config_digest,
        versions=plain(record.versions),
        started_at=record.started_at,
        closed_at=record.closed_at,
    )


def round_record(raw: Raw) -> RoundRecord:
    """Round of a stored document."""
    return RoundRecord(
        campaign=raw["campaign"],
        number=raw["number"],
        state=RoundState(raw["state"]),
        selections=tuple(Selection(**entry) for entry in raw.get("selections", ())),
        prospects=tuple(Prospect(**entry) for entry in raw.get("prospects", ())),
        seed=raw["seed"],
        config_digest=raw["config_digest"],
        versions=raw.get("versions", {}),
        started_at=raw["started_at"],
        closed_at=raw.get("closed_at"),
    )


def model_document(record: ModelRecord) -> d.ModelDocument:
    """Document of a trained surrogate."""
    return d.ModelDocument(
        key=key(record.campaign, record.round, record.adsorbate),
        campaign=record.campaign,
        round=record.round,
        adsorbate=record.adsorbate,
        record=plain(record.record),
        metrics=plain(record.metrics),
        training_ids=list(record.training_ids),
        created_at=record.created_at,
    )


def model_record(raw: Raw) -> ModelRecord:
    """Trained surrogate of a stored document."""
    return ModelRecord(
        campaign=raw["campaign"],
        round=raw["round"],
        adsorbate=raw["adsorbate"],
        record=raw.get("record", {}),
        metrics=raw.get("metrics", {}),
        training_ids=tuple(raw.get("training_ids", ())),
        created_at=raw["created_at"],
    )
