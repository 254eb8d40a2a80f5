"""Write a whole campaign into a file: all that the store knows of it, and nothing of other campaigns.

Documents are read in pages by their key, so that memory does not grow with the campaign and an outage of
the database only delays. Drivers may be at work meanwhile: rounds are read before the calculations, and
calculations before their results, so that nothing in the file refers to something that is missing.
What is not in it are the files of the home: job directories, predictions, results.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from config.errors import StoreError
from pipeline.store import documents as d
from pipeline.store.base import StorePart, resilient
from pipeline.store.calculations import CalculationStore
from pipeline.store.dumpfile import DumpWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.store.connection import Raw
    from pipeline.store.repository import Store

PAGE = 500
"""Documents read at a time."""
OWNED: tuple[type[d.StoredDocument], ...] = (
    d.BulkDocument,
    d.SurfaceDocument,
    d.SiteDocument,
    d.RoundDocument,
    d.ModelDocument,
)
"""What belongs to one campaign; keys begin with its name."""
SHARED: tuple[type[d.StoredDocument], ...] = (
    d.CalculationDocument,
    d.ResultDocument,
    d.ObservationDocument,
)
"""What campaigns share; keys are the ids of calculations."""


class Dumper(StorePart):
    """Reads a campaign of a store page by page."""

    def dump(self, campaign: str, target: IO[bytes]) -> dict[str, int]:
        """Write a campaign to a binary stream.

        Returns
        -------
        dict
            Documents written by collection.

        Raises
        ------
        StoreError
            If there is no such campaign.
        """
        found = self._page(d.CampaignDocument, {"_id": campaign})
        if not found:
            message = f"the store has no campaign {campaign!r}"
            raise StoreError(message)
        writer = DumpWriter(target)
        writer.header(self._header(campaign))
        writer.add(_name(d.CampaignDocument), found[0])
        chosen: set[str] = set()
        for document in OWNED:
            for raw in self.pages(document, owned_by(campaign)):
                writer.add(_name(document), raw)
                if document is d.RoundDocument:
                    chosen.update(s["calculation_id"] for s in raw.get("selections", ()))
        ids = sorted(CalculationStore(self.connection).closure(chosen))
        for document in SHARED:
            for raw in self._by_id(document, ids):
                writer.add(_name(document), raw)
        writer.finish()
        return dict(writer.counts)

    def _header(self, campaign: str) -> dict[str, Any]:
        from pipeline.versions import package_versions

        return {
            "schema_version": d.SCHEMA_VERSION,
            "sabatier": package_versions()["sabatier"],
            "campaign": campaign,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": {_name(document): self._count(document, campaign) for document in OWNED},
        }

    @resilient
    def _count(self, document: type[d.StoredDocument], campaign: str) -> int:
        return self._collection(document).count_documents(owned_by(campaign))

    def pages(self, document: type[d.StoredDocument], match: Raw) -> Iterator[Raw]:
        """Yield documents by key."""
        after: Raw = {}
        while page := self._page(document, {"$and": [match, after]}):
            yield from page
            after = {"_id": {"$gt": page[-1]["_id"]}}

    def _by_id(self, document: type[d.StoredDocument], ids: list[str]) -> Iterator[Raw]:
        for start in range(0, len(ids), PAGE):
            yield from self._page(document, {"_id": {"$in": ids[start : start + PAGE]}})

    @resilient
    def _page(self, document: type[d.StoredDocument], match: Raw) -> list[Raw]:
        return list(self._collection(document).find(match).sort("_id").limit(PAGE))


def dump_campaign(store: Store, campaign: str, target: IO[bytes]) -> dict[str, int]:
    """Write a campaign to a binary stream; see :meth:`Dumper.dump`."""
    return Dumper(store.connection).dump(campaign, target)


def owned_by(campaign: str) -> Raw:
    """Condition on documents of a campaign, one that the index on the key serves ('0' follows '/')."""
    return {"_id": {"$gte": f"{campaign}/", "$lt": f"{campaign}0"}, "campaign": campaign}


def _name(document: type[d.StoredDocument]) -> str:
    return str(document._get_collection_name())
