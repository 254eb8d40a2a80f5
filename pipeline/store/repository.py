"""The store as one object: plain domain values in, plain domain values out.

Every method is idempotent and survives the death of the server (see ``connection``). Its parts are in
``structures``, ``calculations``, ``rounds`` and ``drivers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from config.errors import StoreError
from pipeline.store import documents
from pipeline.store.base import resilient
from pipeline.store.calculations import CalculationStore
from pipeline.store.drivers import DriverStore
from pipeline.store.rounds import CampaignStore
from pipeline.store.structures import StructureStore

if TYPE_CHECKING:
    from pipeline.store.connection import Connection

_SCHEMA_KEY = "schema"


class Store(CampaignStore, StructureStore, CalculationStore, DriverStore):
    """One database with all its campaigns.

    Raises
    ------
    StoreError
        If the database was written by a Sabatier with another schema.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._check_schema()
        self._make_indexes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        """Where the store is, without credentials."""
        return str(self.connection)

    def close(self) -> None:
        """Let go of the server; may be called again."""
        self.connection.close()

    def needed_by(self, campaign: str) -> list[str]:
        """Ids of what a campaign has chosen, in the order of its rounds, and of everything that requires."""
        return self.closure(i for r in self.rounds(campaign) for i in r.calculation_ids)

    @resilient
    def server_version(self) -> str:
        """Return the version of the MongoDB behind the store."""
        return f"MongoDB {self.connection.database.client.server_info()['version']}"

    @resilient
    def document_counts(self) -> dict[str, int]:
        """Count the documents of each collection."""
        counts = {d._get_collection_name(): self._collection(d) for d in documents.ALL_DOCUMENTS}
        return {name: collection.estimated_document_count() for name, collection in counts.items()}

    @resilient
    def size_bytes(self) -> int:
        """Return what the database takes on the server's disk, indexes included, bytes."""
        stats = self.connection.database.command("dbStats")
        return int(stats["storageSize"] + stats["indexSize"])

    @resilient
    def _check_schema(self) -> None:
        own = documents.SCHEMA_VERSION
        self._put([documents.MetaDocument(key=_SCHEMA_KEY, version=own)], overwrite=False)
        raw = self._find_one(documents.MetaDocument, _SCHEMA_KEY)
        found = raw["version"] if raw else None
        if found == own:
            return
        if found in documents.READABLE_VERSIONS:
            # Older releases now refuse it: they would drop what they do not know.
            meta = self._collection(documents.MetaDocument)
            meta.update_one({"_id": _SCHEMA_KEY, "version": found}, {"$set": {"version": own}})
            return
        message = f"{self} has schema version {found}, this Sabatier reads version {own}: " + (
            "upgrade Sabatier"
            if isinstance(found, int) and found > own
            else "use the Sabatier that made it, or another database (store.database)"
        )
        raise StoreError(message)

    @resilient
    def _make_indexes(self) -> None:
        from pymongo import IndexModel

        for document in documents.ALL_DOCUMENTS:
            # What mongoengine compiled from `meta`; its ensure_indexes works on global connections only.
            indexes = [IndexModel(index["fields"]) for index in document._meta["index_specs"] or ()]
            if indexes:
                self._collection(document).create_indexes(indexes)
