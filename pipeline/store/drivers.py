"""The store's drivers: who is at work, and what only one of them does at a time.

All times are the database server's, so that hosts whose clocks differ agree. Units: s.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.store import conversion, documents
from pipeline.store.base import StorePart, resilient, to_raw

if TYPE_CHECKING:
    from pipeline.store.connection import Raw
    from pipeline.store.records import DriverRecord

FORGET_SECONDS = 86_400.0
"""A driver that was killed is forgotten after this time."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class DriverStore(StorePart):
    """Heartbeats and leases."""

    @resilient
    def beat(self, driver: DriverRecord) -> None:
        """Note that a driver is at work now."""
        raw = to_raw(conversion.driver_document(driver))
        self._collection(documents.DriverDocument).update_one(
            {"_id": raw.pop("_id")}, {"$set": raw, "$currentDate": {"beat_at": True}}, upsert=True
        )

    @resilient
    def drivers(self, campaign: str) -> list[DriverRecord]:
        """Return the drivers that have not said good-bye, the one that beat last first.

        A killed one says nothing: look at ``age_seconds``.
        """
        stages: list[Raw] = [
            {"$match": {"campaign": campaign}},
            {"$set": {"age_ms": {"$subtract": ["$$NOW", "$beat_at"]}}},
            {"$sort": {"age_ms": 1, "_id": 1}},
        ]
        return [conversion.driver(r) for r in self._collection(documents.DriverDocument).aggregate(stages)]

    @resilient
    def forget_driver(self, driver_id: str) -> None:
        """Forget a driver that ends, and those that have been silent for a day."""
        silent = {"$expr": {"$lt": ["$beat_at", {"$subtract": ["$$NOW", 1000.0 * FORGET_SECONDS]}]}}
        self._collection(documents.DriverDocument).delete_many({"$or": [{"_id": driver_id}, silent]})

    @resilient
    def take_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Become the only one who does something for some time, or go on being it.

        Returns
        -------
        bool
            False if somebody else has the lease.
        """
        leases = self._collection(documents.LeaseDocument)
        free = {"owner": None, "until": _LONG_AGO}
        leases.update_one({"_id": name}, {"$setOnInsert": free}, upsert=True)
        mine_or_over = [{"owner": owner}, {"$expr": {"$lt": ["$until", "$$NOW"]}}]
        until = {"$add": ["$$NOW", 1000.0 * seconds]}
        # "$literal": an owner that begins with "$" would name a field.
        taken = [{"$set": {"owner": {"$literal": owner}, "until": until}}]
        return leases.update_one({"_id": name, "$or": mine_or_over}, taken).matched_count == 1

    @resilient
    def lease_owner(self, name: str) -> str | None:
        """Return who has a lease; None if nobody has, or its time is over."""
        raw = self._collection(documents.LeaseDocument).find_one(
            {"_id": name, "$expr": {"$gte": ["$until", "$$NOW"]}}
        )
        return raw["owner"] if raw else None

    @resilient
    def release_lease(self, name: str, owner: str) -> None:
        """Let go of a lease, one's own or that of a driver known to be dead; no error if it is over."""
        self._collection(documents.LeaseDocument).delete_one({"_id": name, "owner": owner})
