"""The store's campaigns, rounds and models. Units: eV, s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from config.errors import StoreError
from pipeline.store import conversion, documents
from pipeline.store.base import StorePart, resilient, to_raw
from pipeline.store.records import RoundState, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.store.connection import Raw
    from pipeline.store.records import CampaignRecord, ModelRecord, RoundRecord


class CampaignStore(StorePart):
    """Campaigns, their rounds and the surrogates trained for them."""

    @resilient
    def save_campaign(
        self, name: str, settings: Mapping[str, Any], digest: str, home: Path
    ) -> CampaignRecord:
        """Store a campaign, or the new settings and home of one that is there.

        Credentials in the address of the settings' store are left out.
        """
        document = documents.CampaignDocument(
            name=name,
            settings=conversion.without_credentials(settings),
            digest=digest,
            home=str(home),
            created_at=utc_now(),
        )
        raw = to_raw(document)
        given = {field: raw.pop(field) for field in ("settings", "digest", "home")}
        self._collection(documents.CampaignDocument).update_one(
            {"_id": raw.pop("_id")}, {"$set": given, "$setOnInsert": raw}, upsert=True
        )
        return self._existing(name)

    @resilient
    def campaign(self, name: str) -> CampaignRecord | None:
        """Return a campaign, or None."""
        raw = self._find_one(documents.CampaignDocument, name)
        return conversion.campaign(raw) if raw else None

    @resilient
    def campaigns(self) -> list[CampaignRecord]:
        """Return all campaigns of the database, by name."""
        return [conversion.campaign(raw) for raw in self._find(documents.CampaignDocument)]

    @resilient
    def mark_stage(self, campaign: str, stage: str, count: int) -> None:
        """Note that a stage of a campaign is finished and how many things it yielded."""
        self._update_campaign(campaign, {"$set": {f"stages.{stage}": count}})

    @resilient
    def stage(self, campaign: str, stage: str) -> int | None:
        """Return what a finished stage yielded; None while it is not finished."""
        raw = self._find_one(documents.CampaignDocument, campaign)
        return raw.get("stages", {}).get(stage) if raw else None

    @resilient
    def record_elapsed(self, campaign: str, seconds: float) -> None:
        """Note the wall time that drivers have spent on a campaign so far; it never goes down."""
        self._update_campaign(campaign, {"$max": {"elapsed_seconds": seconds}})

    @resilient
    def set_paused(self, campaign: str, paused: bool) -> None:
        """Tell all drivers of a campaign to start nothing new, or to start again.

        Raises
        ------
        StoreError
            If there is no such campaign.
        """
        self._update_campaign(campaign, {"$set": {"paused": paused}})

    def _update_campaign(self, name: str, update: dict[str, Any]) -> None:
        if not self._collection(documents.CampaignDocument).update_one({"_id": name}, update).matched_count:
            self._existing(name)

    def _existing(self, name: str) -> CampaignRecord:
        raw = self._find_one(documents.CampaignDocument, name)
        if raw is None:
            message = f"the store has no campaign {name!r}"
            raise StoreError(message)
        return conversion.campaign(raw)

    @resilient
    def create_round(self, record: RoundRecord) -> RoundRecord:
        """Store a new round.

        Returns
        -------
        RoundRecord
            The round that is stored: the one that was there before, if any, so that a driver that was
            killed after choosing goes on with the same choice.
        """
        from pymongo import ReturnDocument

        new = to_raw(conversion.round_document(record))
        raw = self._collection(documents.RoundDocument).find_one_and_update(
            {"_id": new["_id"]}, {"$setOnInsert": new}, upsert=True, return_document=ReturnDocument.AFTER
        )
        # An upsert always finds a document; pymongo's type cannot say so.
        return conversion.round_record(cast("Raw", raw))

    @resilient
    def round(self, campaign: str, number: int) -> RoundRecord | None:
        """Return a round of a campaign, or None."""
        raw = self._find_one(documents.RoundDocument, conversion.key(campaign, number))
        return conversion.round_record(raw) if raw else None

    @resilient
    def rounds(self, campaign: str) -> list[RoundRecord]:
        """Return the rounds of a campaign by number."""
        found = [
            conversion.round_record(raw) for raw in self._find(documents.RoundDocument, campaign=campaign)
        ]
        return sorted(found, key=lambda record: record.number)

    @resilient
    def close_round(self, campaign: str, number: int) -> RoundRecord:
        """Mark a round as closed; one that is closed already keeps its time.

        Raises
        ------
        StoreError
            If there is no such round.
        """
        collection = self._collection(documents.RoundDocument)
        key = conversion.key(campaign, number)
        closed = {"state": RoundState.CLOSED.value, "closed_at": utc_now()}
        collection.update_one({"_id": key, "state": RoundState.SELECTED.value}, {"$set": closed})
        raw = collection.find_one({"_id": key})
        if raw is None:
            message = f"campaign {campaign!r} has no round {number}"
            raise StoreError(message)
        return conversion.round_record(raw)

    @resilient
    def save_model(self, record: ModelRecord) -> None:
        """Store a trained surrogate; one of the same round and adsorbate is replaced."""
        self._put([conversion.model_document(record)], overwrite=True)

    @resilient
    def models(self, campaign: str) -> list[ModelRecord]:
        """Return the surrogates of a campaign by round and adsorbate."""
        found = [
            conversion.model_record(raw) for raw in self._find(documents.ModelDocument, campaign=campaign)
        ]
        return sorted(found, key=lambda record: (record.round, record.adsorbate))
