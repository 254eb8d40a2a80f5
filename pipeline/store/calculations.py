"""The store's calculations and observations, shared by all campaigns of a database. Units: eV, s."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from dft.jobs import CalculationKind, JobResult, ResultState
from pipeline.domain import TRANSITIONS, Calculation, CalculationState
from pipeline.store import conversion, documents
from pipeline.store.base import StorePart, resilient, to_raw
from pipeline.store.records import Attempt, HistoryEntry, utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from dft.codes import FailureCode
    from pipeline.domain import Observation
    from pipeline.store.connection import Raw

MAX_HISTORY = 200
"""Moves kept of a calculation; one that is retried three times makes about fifteen."""
IDS_AT_ONCE = 5000
"""Ids that one query for what they require names: 10^5 would be 3 MB."""
_HISTORY_FIELDS = ("attempt", "job_dir", "job_id", "code")


class CalculationChanges(TypedDict, total=False):
    """What a move may change of a calculation, besides its state."""

    code: FailureCode | None
    message: str
    energy: float | None
    attempt: int
    job_dir: str | None
    job_id: str | None
    cpu_seconds: float
    owner: str | None
    memory_factor: float
    forgiven: int
    fresh_after: int


class CalculationStore(StorePart):
    """Calculations, their states and histories, and the observations that came of them."""

    @resilient
    def plan(self, calculations: Iterable[Calculation]) -> int:
        """Store calculations that are not there yet; those that are stay untouched.

        Returns
        -------
        int
            How many were new (fewer if the server died in between: the second try finds some there).
        """
        now = utc_now()
        return self._put([conversion.calculation_document(c, now) for c in calculations], overwrite=False)

    @resilient
    def calculation(self, calculation_id: str) -> Calculation | None:
        """Return a calculation, or None."""
        raw = self._find_one(documents.CalculationDocument, calculation_id)
        return conversion.calculation(raw) if raw else None

    @resilient
    def calculations(
        self,
        ids: Iterable[str] | None = None,
        states: Collection[CalculationState] | None = None,
        kinds: Collection[CalculationKind] | None = None,
        moved_since: datetime | None = None,
    ) -> list[Calculation]:
        """Return the calculations that meet every condition given.

        They come in the order of ``ids`` when given (unknown ones left out), else by id.

        Parameters
        ----------
        moved_since
            Only those that have come into their state since then, by the database's clock.
        """
        wanted = None if ids is None else list(dict.fromkeys(ids))
        match = _match(wanted, states, kinds)
        if moved_since is not None:
            match["since"] = {"$gte": moved_since}
        raws = self._collection(documents.CalculationDocument).find(match, {"history": 0}).sort("_id")
        found = {raw["_id"]: conversion.calculation(raw) for raw in raws}
        return list(found.values()) if wanted is None else [found[i] for i in wanted if i in found]

    def closure(self, ids: Iterable[str]) -> list[str]:
        """Return ids of calculations, unknown ones too, and then of everything that they require."""
        known = dict.fromkeys(ids)
        frontier = list(known)
        while frontier:
            starts = range(0, len(frontier), IDS_AT_ONCE)
            needed = [i for start in starts for i in self._required(frontier[start : start + IDS_AT_ONCE])]
            frontier = [i for i in dict.fromkeys(needed) if i not in known]
            known |= dict.fromkeys(frontier)
        return list(known)

    @resilient
    def _required(self, ids: list[str]) -> list[str]:
        """Ids of what calculations require themselves, in the calculations' order."""
        collection = self._collection(documents.CalculationDocument)
        found = collection.find({"_id": {"$in": ids}}, {"requires": 1})
        required = {raw["_id"]: raw.get("requires", ()) for raw in found}
        return [needed for i in ids for needed in required.get(i, ())]

    def transition(
        self,
        calculation_id: str,
        from_states: CalculationState | Collection[CalculationState],
        to_state: CalculationState,
        *,
        at_attempt: int | None = None,
        owned_by: str | None = None,
        note: str = "",
        **changes: Unpack[CalculationChanges],
    ) -> Calculation | None:
        """Move a calculation to another state, if nobody else moved it first.

        One atomic operation: of several callers with the same ``from_states`` exactly one succeeds. A
        move whose acknowledgement was lost with the connection is recognised by its token.

        Parameters
        ----------
        from_states
            States from which the move is wanted.
        at_attempt
            The move is wanted only while this is the calculation's attempt. Keeps a driver that was asleep
            from moving an attempt that another driver has begun since.
        owned_by
            The move is wanted only while this driver is the owner.
        note
            Kept in the calculation's history.
        changes
            New values of the calculation's fields.

        Returns
        -------
        Calculation or None
            The calculation after the move; None if it is in none of ``from_states``, or unknown.

        Raises
        ------
        ValueError
            If ``pipeline.domain.TRANSITIONS`` forbids the move, or there is no such field.
        """
        from bson import ObjectId

        sources = {from_states} if isinstance(from_states, CalculationState) else set(from_states)
        forbidden = sorted(s for s in sources if to_state not in TRANSITIONS[s])
        unknown = sorted(set(changes) - set(CalculationChanges.__annotations__))
        if forbidden or unknown:
            message = f"no move {forbidden} -> {to_state}" if forbidden else f"no field {unknown} to change"
            raise ValueError(message)
        values = conversion.plain(changes)
        token = str(ObjectId())
        entry = {"token": token, "state": to_state.value, "at": utc_now(), "note": note}
        entry |= {name: values[name] for name in _HISTORY_FIELDS if values.get(name) is not None}
        update = {
            "$set": {"state": to_state.value, **values},
            "$currentDate": {"since": True},
            "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}},
        }
        match: Raw = {"_id": calculation_id, "state": {"$in": [s.value for s in sources]}}
        if at_attempt is not None:
            match["attempt"] = at_attempt
        if owned_by is not None:
            match["owner"] = owned_by
        return self._move(calculation_id, match, update, token)

    @resilient
    def _move(self, calculation_id: str, match: Raw, update: Raw, token: str) -> Calculation | None:
        from pymongo import ReturnDocument

        collection = self._collection(documents.CalculationDocument)
        raw = collection.find_one_and_update(
            {**match, "history.token": {"$ne": token}},
            update,
            return_document=ReturnDocument.AFTER,
        )
        if raw is None:
            # Somebody else was first, or this is the second try after a lost acknowledgement.
            raw = collection.find_one({"_id": calculation_id, "history.token": token})
        return conversion.calculation(raw) if raw else None

    @resilient
    def in_state_for(self, state: CalculationState, seconds: float, ids: Iterable[str]) -> set[str]:
        """Ids of calculations that have been in a state for longer than so many seconds.

        The database's own clock decides, so that hosts whose clocks differ agree.
        """
        match = _match(list(ids), {state}, None)
        match["$expr"] = {"$lt": ["$since", {"$subtract": ["$$NOW", 1000.0 * seconds]}]}
        return {raw["_id"] for raw in self._collection(documents.CalculationDocument).find(match, {"_id": 1})}

    @resilient
    def delete_observation(self, calculation_id: str, attempt: int) -> None:
        """Forget the observation of a calculation that is to be computed anew after an attempt."""
        old = {"_id": calculation_id, "$or": _before("attempt", attempt + 1)}
        self._collection(documents.ObservationDocument).delete_one(old)

    @resilient
    def save_result(self, result: JobResult) -> None:
        """Keep what a worker left of a calculation that ended; a later attempt's stays.

        A driver may have been asleep since it read the result, and the calculation have been run again. An
        energy takes the place of any failure: one that came late may belong to an earlier attempt.
        """
        document = documents.ResultDocument(
            calculation_id=result.calculation_id, result=result.model_dump(mode="json")
        )
        old = _before("result.attempt", result.attempt + 1)
        if result.energy is not None:
            old.append({"result.state": ResultState.FAILED.value})
        self._put_over(document, old)

    def _put_over(self, document: documents.StoredDocument, old: list[Raw]) -> None:
        """Store a document unless there is one that is not ``old``."""
        from pymongo.errors import DuplicateKeyError

        raw = to_raw(document)
        with suppress(DuplicateKeyError):
            self._collection(type(document)).replace_one({"_id": raw["_id"], "$or": old}, raw, upsert=True)

    @resilient
    def result(self, calculation_id: str) -> JobResult | None:
        """Return what the worker of a finished calculation left, or None."""
        raw = self._find_one(documents.ResultDocument, calculation_id)
        return JobResult.model_validate(raw["result"]) if raw else None

    @resilient
    def history(self, calculation_id: str) -> tuple[HistoryEntry, ...]:
        """Return the moves of a calculation, oldest first; empty if it is unknown."""
        raw = self._find_one(documents.CalculationDocument, calculation_id)
        return conversion.history(raw) if raw else ()

    def attempts(self, calculation_id: str) -> tuple[Attempt, ...]:
        """Return the attempts at a calculation, oldest first."""
        return conversion.attempts(self.history(calculation_id))

    @resilient
    def cpu_seconds(self, ids: Iterable[str] | None = None) -> float:
        """Sum the CPU seconds of calculations (all of the database when ``ids`` is left out)."""
        match = _match(None if ids is None else list(ids), None, None)
        total = {"_id": None, "seconds": {"$sum": "$cpu_seconds"}}
        found = list(
            self._collection(documents.CalculationDocument).aggregate([{"$match": match}, {"$group": total}])
        )
        return float(found[0]["seconds"]) if found else 0.0

    @resilient
    def tally(self, ids: Iterable[str] | None = None) -> dict[tuple[CalculationKind, CalculationState], int]:
        """Count calculations by kind and state (all of the database when ``ids`` is left out)."""
        match = _match(None if ids is None else list(ids), None, None)
        group = {"_id": {"kind": "$kind", "state": "$state"}, "n": {"$sum": 1}}
        found = self._collection(documents.CalculationDocument).aggregate(
            [{"$match": match}, {"$group": group}]
        )
        return {
            (CalculationKind(r["_id"]["kind"]), CalculationState(r["_id"]["state"])): r["n"] for r in found
        }

    @resilient
    def save_observation(self, observation: Observation) -> None:
        """Store the observation of a calculation; the first one stays, unless this is a later attempt's."""
        document = conversion.observation_document(observation)
        self._put_over(document, _before("attempt", observation.attempt))

    @resilient
    def observations(
        self,
        recipe_digest: str | None = None,
        adsorbate: str | None = None,
        surface_ids: Iterable[str] | None = None,
        calculation_ids: Iterable[str] | None = None,
    ) -> list[Observation]:
        """Return the observations that meet every condition given, ordered by calculation id."""
        conditions: dict[str, Any] = {}
        if recipe_digest is not None:
            conditions["recipe_digest"] = recipe_digest
        if adsorbate is not None:
            conditions["adsorbate"] = adsorbate
        if surface_ids is not None:
            conditions["surface_id__in"] = list(surface_ids)
        if calculation_ids is not None:
            conditions["calculation_id__in"] = list(calculation_ids)
        return [
            conversion.observation(raw) for raw in self._find(documents.ObservationDocument, **conditions)
        ]


def _before(field: str, attempt: int) -> list[Raw]:
    """Conditions of which one holds for what an earlier attempt has left; older releases did not note it."""
    return [{field: {"$lt": attempt}}, {field: {"$exists": False}}]


def _match(
    ids: list[str] | None,
    states: Collection[CalculationState] | None,
    kinds: Collection[CalculationKind] | None,
) -> Raw:
    """Condition on calculations in MongoDB's terms."""
    match: Raw = {}
    if ids is not None:
        match["_id"] = {"$in": ids}
    if states is not None:
        match["state"] = {"$in": [s.value for s in states]}
    if kinds is not None:
        match["kind"] = {"$in": [k.value for k in kinds]}
    return match
