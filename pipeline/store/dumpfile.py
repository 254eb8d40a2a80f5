"""The file that a campaign is dumped into: gzip'd JSON lines, readable by any tool.

The first line is a header (format, versions, campaign, when, how many documents of each collection there
were at the start), each further line ``{"collection": ..., "document": ...}`` with the document in MongoDB's
canonical extended JSON, the last line a trailer with the documents written and the SHA-256 of their
lines. A file that was cut short or damaged is refused before anything of it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from config.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.store.connection import Raw

FORMAT = "sabatier-dump"
FORMAT_VERSION = 1
COMPRESSION_LEVEL = 6
_LINE = re.compile(r'\{"collection": "(\w+)", "document": (.*)\}\n', re.DOTALL)
Line = tuple[str, str]
"""Collection and document, the latter as text."""


class DumpWriter:
    """Writes one dump; ``header`` first, then ``add`` for each document, then ``finish``.

    Parameters
    ----------
    target
        Binary stream; it is not closed.
    """

    def __init__(self, target: IO[bytes]) -> None:
        # Without name and time in the gzip header: the same documents make the same bytes.
        self._file = gzip.GzipFile("", "wb", COMPRESSION_LEVEL, target, mtime=0)
        self._digest = hashlib.sha256()
        self.counts: Counter[str] = Counter()

    def header(self, fields: Mapping[str, Any]) -> None:
        """Write the first line."""
        self._write({"format": FORMAT, "version": FORMAT_VERSION, **fields})

    def add(self, collection: str, document: Raw) -> None:
        """Write one document."""
        text = f'{{"collection": "{collection}", "document": {to_json(document)}}}\n'.encode()
        self._digest.update(text)
        self._file.write(text)
        self.counts[collection] += 1

    def finish(self) -> None:
        """Write the last line."""
        self._write({"counts": dict(sorted(self.counts.items())), "sha256": self._digest.hexdigest()})
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write((json.dumps(line) + "\n").encode())


@dataclass
class DumpReader:
    """Reads one dump, as often as asked.

    Parameters
    ----------
    path
        The file.
    """

    path: Path
    header: Mapping[str, Any] = field(init=False)
    """The first line."""

    def __post_init__(self) -> None:
        with gzip.open(self.path) as file:
            line = self._guarded(file.readline)
        try:
            self.header = json.loads(line)
            is_dump = self.header["format"] == FORMAT
        except (ValueError, TypeError, KeyError):
            is_dump = False
        if not is_dump:
            message = f"{self.path} is no dump of Sabatier's"
            raise StoreError(message)
        if self.header["version"] != FORMAT_VERSION:
            message = f"{self.path} has format {self.header['version']}, this Sabatier reads {FORMAT_VERSION}"
            raise StoreError(message)

    def verify(self) -> None:
        """Read the file to its end.

        Raises
        ------
        StoreError
            If it is not whole.
        """
        for _ in self.lines():
            pass

    def campaign(self) -> Raw:
        """Document of the campaign."""
        return from_json(next(text for _, text in self.lines("campaigns")))

    def lines(self, *collections: str) -> Iterator[Line]:
        """Yield the lines of some collections, of all when none is named.

        Raises
        ------
        StoreError
            At the end, if the file is not whole: :meth:`verify` it first.
        """
        digest, counts = hashlib.sha256(), Counter[str]()
        with gzip.open(self.path) as file:
            line = self._guarded(file.readline)
            while line := self._guarded(file.readline):
                found = _LINE.fullmatch(line.decode(errors="replace"))
                if found is None:
                    break
                digest.update(line)
                counts[found[1]] += 1
                if not collections or found[1] in collections:
                    yield found[1], found[2]
            rest = self._guarded(file.read)
        self._check_trailer(line, rest, {"counts": dict(counts), "sha256": digest.hexdigest()})

    def _check_trailer(self, line: bytes, rest: bytes, expected: Mapping[str, Any]) -> None:
        try:
            is_whole = json.loads(line) == expected and not rest
        except ValueError:
            is_whole = False
        if not is_whole:
            raise self._damaged()

    def _guarded(self, read: Any) -> bytes:
        try:
            data: bytes = read()
        except (EOFError, OSError, zlib.error) as error:
            raise self._damaged() from error
        return data

    def _damaged(self) -> StoreError:
        return StoreError(f"{self.path} is not a whole dump: it was cut short or damaged; nothing was loaded")


def to_json(document: Raw) -> str:
    """Write a document in MongoDB's canonical extended JSON, which keeps every type."""
    from bson import json_util

    return str(json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS))


def from_json(text: str) -> Raw:
    """Read a document of :func:`to_json`."""
    from bson import json_util

    document: Raw = json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS)
    return document
