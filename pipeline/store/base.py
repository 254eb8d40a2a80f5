"""What the store's parts share: queries, upserts and the retry around every operation."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from config.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pymongo.collection import Collection

    from pipeline.store.connection import Connection, Raw
    from pipeline.store.documents import StoredDocument


class StorePart:
    """Access to one database; the base of each part of the store."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def _collection(self, document: type[StoredDocument]) -> Collection[Raw]:
        return self.connection.database[document._get_collection_name()]

    def _find(self, document: type[StoredDocument], **conditions: Any) -> list[Raw]:
        """Return all documents that meet conditions in mongoengine's terms, ordered by primary key."""
        from mongoengine.queryset import QuerySet

        found = QuerySet(document, self._collection(document)).filter(**conditions)
        return list(found.order_by("pk").as_pymongo())

    def _find_one(self, document: type[StoredDocument], key: str) -> Raw | None:
        return self._collection(document).find_one({"_id": key})

    def _put(self, documents: Iterable[StoredDocument], *, overwrite: bool) -> int:
        """Store documents by primary key, in one unordered bulk write.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        StoreError
            If a value does not fit the schema; nothing is stored then.
        """
        from pymongo import ReplaceOne, UpdateOne

        kept = list(documents)
        raws = [to_raw(document) for document in kept]
        if not raws:
            return 0
        operations: list[ReplaceOne[Raw] | UpdateOne] = [
            ReplaceOne({"_id": raw["_id"]}, raw, upsert=True)
            if overwrite
            else UpdateOne({"_id": raw["_id"]}, {"$setOnInsert": raw}, upsert=True)
            for raw in raws
        ]
        return self._collection(type(kept[0])).bulk_write(operations, ordered=False).upserted_count


def to_raw(document: StoredDocument) -> Raw:
    """Validate a document and turn it into what MongoDB stores.

    Raises
    ------
    StoreError
        If a value does not fit the schema.
    """
    from mongoengine.errors import ValidationError

    try:
        document.validate()
    except ValidationError as error:
        message = f"cannot store {type(document).__name__} {document.pk}: {error}"
        raise StoreError(message) from error
    raw: Raw = document.to_mongo().to_dict()
    return raw


_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound=StorePart)


def resilient(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Let an idempotent method survive the death of the server (see ``Connection.call``)."""

    @functools.wraps(method)
    def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        # An iterator would be empty at the second try.
        kept: Any = tuple(list(a) if isinstance(a, Iterator) else a for a in args)
        named: Any = {k: list(v) if isinstance(v, Iterator) else v for k, v in kwargs.items()}
        return self.connection.call(lambda: method(self, *kept, **named))

    return wrapper
