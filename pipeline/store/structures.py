"""The store's bulks, surfaces and sites; each belongs to a campaign. Units: Å."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pipeline.store import conversion, documents
from pipeline.store.base import StorePart, resilient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.domain import Bulk, Site, Surface

StructureKind = Literal["bulks", "surfaces", "sites"]
_COLLECTIONS: dict[str, type[documents.StoredDocument]] = {
    "bulks": documents.BulkDocument,
    "surfaces": documents.SurfaceDocument,
    "sites": documents.SiteDocument,
}
NounKind = Literal["bulk", "surface", "site", "calculation"]


class StructureStore(StorePart):
    """Bulks, surfaces and sites of campaigns. Saving again overwrites; lists are ordered by id."""

    def save_bulks(self, campaign: str, bulks: Iterable[Bulk]) -> None:
        """Store bulks of a campaign."""
        self._save([conversion.bulk_document(campaign, bulk) for bulk in bulks])

    def save_surfaces(self, campaign: str, surfaces: Iterable[Surface]) -> None:
        """Store surfaces of a campaign."""
        self._save([conversion.surface_document(campaign, surface) for surface in surfaces])

    def save_sites(self, campaign: str, sites: Iterable[Site]) -> None:
        """Store sites of a campaign."""
        self._save([conversion.site_document(campaign, site) for site in sites])

    @resilient
    def _save(self, found: list[documents.StoredDocument]) -> None:
        self._put(found, overwrite=True)

    @resilient
    def bulks(self, campaign: str) -> list[Bulk]:
        """Return the bulks of a campaign."""
        return [conversion.bulk(raw) for raw in self._find(documents.BulkDocument, campaign=campaign)]

    @resilient
    def bulk(self, campaign: str, bulk_id: str) -> Bulk | None:
        """Return a bulk of a campaign, or None."""
        raw = self._find_one(documents.BulkDocument, conversion.key(campaign, bulk_id))
        return conversion.bulk(raw) if raw else None

    @resilient
    def surfaces(self, campaign: str, bulk_id: str | None = None) -> list[Surface]:
        """Return the surfaces of a campaign, or those of one of its bulks."""
        conditions = {"campaign": campaign} | ({"bulk_id": bulk_id} if bulk_id else {})
        return [conversion.surface(raw) for raw in self._find(documents.SurfaceDocument, **conditions)]

    @resilient
    def surface(self, campaign: str, surface_id: str) -> Surface | None:
        """Return a surface of a campaign, or None."""
        raw = self._find_one(documents.SurfaceDocument, conversion.key(campaign, surface_id))
        return conversion.surface(raw) if raw else None

    @resilient
    def sites(self, campaign: str, surface_id: str | None = None) -> list[Site]:
        """Return the sites of a campaign, or those of one of its surfaces."""
        conditions = {"campaign": campaign} | ({"surface_id": surface_id} if surface_id else {})
        return [conversion.site(raw) for raw in self._find(documents.SiteDocument, **conditions)]

    @resilient
    def site(self, campaign: str, site_id: str) -> Site | None:
        """Return a site of a campaign, or None."""
        raw = self._find_one(documents.SiteDocument, conversion.key(campaign, site_id))
        return conversion.site(raw) if raw else None

    @resilient
    def count(self, campaign: str, kind: StructureKind) -> int:
        """Count the bulks, surfaces or sites of a campaign."""
        return self._collection(_COLLECTIONS[kind]).count_documents({"campaign": campaign})

    @resilient
    def resolve_id(self, prefix: str, campaign: str | None = None) -> list[tuple[NounKind, str]]:
        """Find what an id, or the beginning of one, may mean.

        Parameters
        ----------
        prefix
            At least one character.
        campaign
            Look only at this campaign's bulks, surfaces and sites; calculations belong to all.

        Returns
        -------
        list
            Kind and whole id of each match, an exact match alone; empty when nothing matches.
        """
        if not prefix:
            return []
        pattern = {"$regex": f"^{re.escape(prefix)}"}
        scope = {"campaign": campaign} if campaign else {}
        places: list[tuple[NounKind, type[documents.StoredDocument], str]] = [
            ("bulk", documents.BulkDocument, "bulk_id"),
            ("surface", documents.SurfaceDocument, "surface_id"),
            ("site", documents.SiteDocument, "site_id"),
        ]
        found: list[tuple[NounKind, str]] = []
        for kind, document, field in places:
            ids = self._collection(document).distinct(field, {field: pattern, **scope})
            found += [(kind, str(i)) for i in sorted(ids)]
        calculations = self._collection(documents.CalculationDocument).distinct("_id", {"_id": pattern})
        found += [("calculation", str(i)) for i in sorted(calculations)]
        return [match for match in found if match[1] == prefix] or found
