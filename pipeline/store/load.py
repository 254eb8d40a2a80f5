"""Read a campaign from a file of ``dump`` into a store, beside whatever is there.

The file is read to its end and checked before anything is written. Then come, in this order, what belongs
to the campaign, results and observations, calculations, and the campaign itself: a load that was
interrupted has not made a campaign, nor a calculation without its result, and may be repeated.

Calculations are shared by the campaigns of a database. One that is there already stays, with its result
and observation, unless the file's got further: no result is ever lost to an older one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.errors import ConfigError, StoreError
from pipeline.domain import IN_FLIGHT, CalculationState
from pipeline.store import documents as d
from pipeline.store.base import StorePart, resilient
from pipeline.store.dump import OWNED, PAGE, SHARED, owned_by
from pipeline.store.dumpfile import DumpReader, from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.store.connection import Raw
    from pipeline.store.dumpfile import Line
    from pipeline.store.repository import Store

DRIVER_SILENCE_SECONDS = 120.0
"""A driver that has been silent for so long does not keep a campaign from being replaced."""
_S = CalculationState
_RANKS = {_S.FAILED: 1, _S.DONE: 2, _S.VALID: 3, _S.REJECTED: 3}
"""How much is known of a calculation in each state."""
_ALL: tuple[type[d.StoredDocument], ...] = (d.CampaignDocument, *OWNED, *SHARED)
_BY_NAME = {document._get_collection_name(): document for document in _ALL}
_OWNED_NAMES = tuple(document._get_collection_name() for document in OWNED)
_OUTCOMES = ("results", "observations")


class Loader(StorePart):
    """Writes the documents of a dump into a store."""

    def load(self, store: Store, dump: DumpReader, *, replace: bool) -> dict[str, int]:
        """Read a campaign from a dump.

        Parameters
        ----------
        replace
            Put it in the place of the campaign of that name.

        Returns
        -------
        dict
            Documents of the file by collection, and as ``kept`` the calculations of the store that had got
            as far or further, and stayed.

        Raises
        ------
        ConfigError
            If there is such a campaign and it is not to be replaced, or drivers are at work on it.
        StoreError
            If the file is not whole, or of a later release.
        """
        name = str(dump.header["campaign"])
        if dump.header["schema_version"] > d.SCHEMA_VERSION:
            message = f"{dump.path} was written by a later Sabatier: upgrade Sabatier"
            raise StoreError(message)
        self._refuse_existing(store, name, replace=replace)
        dump.verify()
        counts, kept = self._survey(dump, name)
        self._forget(name)
        for collection, page in _pages(dump.lines(*_OWNED_NAMES, *_OUTCOMES)):
            raws = [r for r in page if collection not in _OUTCOMES or r["_id"] not in kept]
            self._write(collection, raws)
        for _, page in _pages(dump.lines("calculations")):
            self._write_calculations([r for r in page if r["_id"] not in kept])
        for collection, page in _pages(dump.lines("campaigns")):
            self._write(collection, page)
        return {**counts, "kept": len(kept)}

    def _refuse_existing(self, store: Store, name: str, *, replace: bool) -> None:
        if store.campaign(name) is None:
            return
        if not replace:
            message = f"{store} has a campaign {name!r} already; --replace puts the file's in its place"
            raise ConfigError(message)
        busy = [r for r in store.drivers(name) if r.age_seconds < DRIVER_SILENCE_SECONDS]
        if busy:
            message = f"process {busy[0].pid} on {busy[0].host} is driving campaign {name!r}: stop it first"
            raise ConfigError(message)

    def _survey(self, dump: DumpReader, name: str) -> tuple[dict[str, int], set[str]]:
        """Look what the file holds, and which calculations of the store stay.

        Raises
        ------
        StoreError
            If it holds documents of something else.
        """
        counts: dict[str, int] = {}
        kept: set[str] = set()
        for collection, page in _pages(dump.lines()):
            counts[collection] = counts.get(collection, 0) + len(page)
            strangers = [r["_id"] for r in page if not _belongs(collection, r, name)]
            if strangers:
                message = f"{dump.path} holds {collection} {strangers[0]!r}, not of campaign {name!r}"
                raise StoreError(message)
            if collection == "calculations":
                there = self._there(page)
                kept |= {r["_id"] for r in page if _stays(there.get(r["_id"]), r)}
        return counts, kept

    @resilient
    def _there(self, page: list[Raw]) -> dict[str, Raw]:
        """State and attempt of those calculations that are in the store."""
        fields = {"state": 1, "attempt": 1}
        wanted = {"_id": {"$in": [raw["_id"] for raw in page]}}
        return {r["_id"]: r for r in self._collection(d.CalculationDocument).find(wanted, fields)}

    @resilient
    def _forget(self, name: str) -> None:
        """Delete what belongs to a campaign, the campaign itself first."""
        self._collection(d.CampaignDocument).delete_one({"_id": name})
        for document in OWNED:
            self._collection(document).delete_many(owned_by(name))

    @resilient
    def _write(self, collection: str, raws: list[Raw]) -> None:
        from pymongo import ReplaceOne

        if raws:
            operations = [ReplaceOne({"_id": raw["_id"]}, raw, upsert=True) for raw in raws]
            self._collection(_BY_NAME[collection]).bulk_write(operations, ordered=False)

    @resilient
    def _write_calculations(self, raws: list[Raw]) -> None:
        """Write calculations over what has not got as far, unless a driver moves it at this moment."""
        from pymongo import InsertOne, ReplaceOne

        there = self._there(raws)
        operations: list[Any] = []
        for raw in raws:
            found = there.get(raw["_id"])
            if found is None:
                operations.append(InsertOne(raw))  # an upsert would sort the fields
            elif not _stays(found, raw):
                operations.append(ReplaceOne(found, raw))
        if operations:
            self._collection(d.CalculationDocument).bulk_write(operations, ordered=False)


def load_campaign(store: Store, dump: DumpReader, *, replace: bool = False) -> dict[str, int]:
    """Read a campaign from a dump into a store; see :meth:`Loader.load`."""
    return Loader(store.connection).load(store, dump, replace=replace)


def _stays(there: Raw | None, read: Raw) -> bool:
    """Whether a calculation of the store got as far as the one that was read."""
    if there is None:
        return False
    return _S(there["state"]) in IN_FLIGHT or _progress(there) >= _progress(read)


def _progress(raw: Raw) -> tuple[int, int]:
    return _RANKS.get(_S(raw["state"]), 0), raw.get("attempt", 0)


def _belongs(collection: str, raw: Raw, name: str) -> bool:
    if collection == "campaigns":
        return bool(raw["_id"] == name)
    if collection in _OWNED_NAMES:
        return bool(raw["campaign"] == name and str(raw["_id"]).startswith(f"{name}/"))
    return collection in _BY_NAME


def _pages(lines: Iterable[Line]) -> Iterator[tuple[str, list[Raw]]]:
    """Parse lines, and group those of one collection that follow each other."""
    collection = ""
    page: list[Raw] = []
    for name, text in lines:
        if name != collection or len(page) == PAGE:
            if page:
                yield collection, page
            collection, page = name, []
        page.append(from_json(text))
    if page:
        yield collection, page
