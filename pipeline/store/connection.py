"""The connection to MongoDB: which server, one client per process, and what happens when it breaks.

The server is, in this order, the one that the environment variable ``SABATIER_MONGODB_URI`` names, the
one of ``store.uri`` in the campaign file, or the embedded one. A write counts as done when the journal
holds it. An operation that fails because the connection broke is tried again, for about a minute; the
embedded server is started again if it died. Operations must therefore be idempotent.

mongoengine's own connections are global, and its ``switch_db`` changes the document class for every
thread. So the client is kept here, and the document classes (``documents``) serve as the schema only:
two stores in one process, threads and forked children cannot reach into each other.
"""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from config.errors import ConfigError, StoreError
from pipeline.store.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from config.campaign import StoreSettings

URI_VARIABLE = "SABATIER_MONGODB_URI"
RETRY_SECONDS = 60.0
"""How long an operation is tried again after the connection broke."""
FIRST_CONTACT_MS = 5000
"""How long a server given by address may take to answer when the store is opened."""
TRANSIENT_CODES = frozenset({43, 89, 91, 189, 9001, 10107, 11600, 11602, 13435, 13436})
"""CursorNotFound, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown, SocketException,
NotWritablePrimary, InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
NotPrimaryOrSecondary."""
DUPLICATE_KEY = 11000
MAX_PLAIN_SECRET = 3
"""Passwords up to this length are not searched for in the text of errors, characters."""

_R = TypeVar("_R")
Raw = dict[str, Any]
"""A document as MongoDB returns it."""


class Connection:
    """A MongoDB database that survives the death of its server.

    Parameters
    ----------
    database
        Name of the database.
    uri
        Address of a server.
    embedded
        The embedded server to use instead of ``uri``.
    """

    def __init__(self, database: str, *, uri: str | None = None, embedded: EmbeddedServer | None = None):
        self._name = database
        self._embedded = embedded
        self._uri = embedded.acquire() if embedded is not None else uri
        self._lock = threading.RLock()
        self._client: MongoClient[Raw] | None = None
        self._pid = os.getpid()
        self._inherited: list[MongoClient[Raw]] = []
        self._closed = False

    def __str__(self) -> str:
        """Where the database is, without credentials."""
        place = f"embedded MongoDB of {self._embedded.home}" if self._embedded else mask(self._uri or "")
        return f"{place}, database {self._name!r}"

    @property
    def database(self) -> Database[Raw]:
        """The database, through a client of this very process.

        Raises
        ------
        StoreError
            If the store is closed.
        """
        with self._lock:
            if self._closed:
                message = "the store is closed"
                raise StoreError(message)
            if self._pid != os.getpid() and self._client is not None:
                # A client does not survive a fork. The parent's is kept only so that it is not collected,
                # which would close the connections that the parent still uses.
                self._inherited.append(self._client)
                self._client = None
            if self._client is None:
                self._client = self._connect()
                self._pid = os.getpid()
            return self._client[self._name]

    def _connect(self) -> MongoClient[Raw]:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        if self._embedded is None:
            options: dict[str, Any] = {"serverSelectionTimeoutMS": FIRST_CONTACT_MS}
        else:
            # `call` retries, and starts a dead server, which pymongo would only wait for.
            options = {
                "directConnection": True,
                "retryReads": False,
                "retryWrites": False,
                "serverSelectionTimeoutMS": 1000,
                "socketTimeoutMS": 60_000,
            }
        try:
            with warnings.catch_warnings():
                # pymongo warns of options that it does not understand and leaves them out, tls=... too.
                warnings.simplefilter("error", UserWarning)
                return MongoClient(self._uri, tz_aware=True, w="majority", journal=True, **options)
        except (PyMongoError, ValueError, UserWarning) as error:
            message = f"cannot use MongoDB address {mask(self._uri or '')}: {self._scrub(error)}"
            raise StoreError(message) from None

    def check(self) -> None:
        """Reach the server once, without trying again.

        Raises
        ------
        StoreError
            If it does not answer or refuses the credentials.
        """
        from pymongo.errors import PyMongoError

        try:
            self.database.command("ping")
        except PyMongoError as error:
            message = f"cannot reach {self}: {self._scrub(error)}"
            raise StoreError(message) from None

    def call(self, operation: Callable[[], _R]) -> _R:
        """Run an idempotent operation; run it again if the connection breaks.

        Raises
        ------
        StoreError
            If the server stays away for :data:`RETRY_SECONDS`, cannot be started again, or refuses the
            operation.
        """
        from pymongo.errors import PyMongoError

        deadline = time.monotonic() + RETRY_SECONDS
        delay = 0.05
        while True:
            try:
                return operation()
            except PyMongoError as error:
                if not is_transient(error) or self._closed:
                    message = f"{self} refuses: {self._scrub(error)}"
                    raise StoreError(message) from None
                if time.monotonic() > deadline:
                    message = f"lost {self} for {RETRY_SECONDS:.0f} s: {self._scrub(error)}"
                    raise StoreError(message) from None
            self._recover()
            time.sleep(delay)
            delay = min(2 * delay, 2.0)

    def _recover(self) -> None:
        """See to it that the embedded server runs; its address changes if it was started elsewhere."""
        if self._embedded is None:
            return
        with self._lock:
            uri = self._embedded.ensure_running()
            if uri != self._uri and self._client is not None:
                self._client.close()
                self._client = None
            self._uri = uri

    def close(self) -> None:
        """Close the client; the last user of an embedded server shuts it down. May be called again."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
            if self._embedded is not None:
                self._embedded.release()

    def _scrub(self, error: Exception) -> str:
        """Text of an error, cut to what a person reads, without the credentials of the address."""
        text = re.split(r" \(configured timeouts|, Timeout:|, full error:", str(error), maxsplit=1)[0]
        found = re.match(r"[^:]+://(.*)@", self._uri or "")
        if found is None:
            return text
        user, _, password = found[1].partition(":")
        text = text.replace(f"{found[1]}@", "***@")
        # Shorter than that it is no secret, and part of many a word.
        for secret in {password, unquote(password), f"{user}:{password}"}:
            if len(secret) > MAX_PLAIN_SECRET:
                text = text.replace(secret, "***")
        return text


def is_transient(error: Exception) -> bool:
    """Whether the same operation may succeed if it is tried again."""
    from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure

    if isinstance(error, BulkWriteError):
        details: Raw = dict(error.details)
        problems = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        # Two upserts of one id at the same time: the second attempt finds the first one's document.
        return all(p.get("code") in TRANSIENT_CODES | {DUPLICATE_KEY} for p in problems)
    if isinstance(error, OperationFailure) and not isinstance(error, ConnectionFailure):
        return isinstance(error, DuplicateKeyError) or error.code in TRANSIENT_CODES
    return isinstance(error, ConnectionFailure)


def mask(uri: str) -> str:
    """Hosts of a MongoDB address, without user, password and options."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return "***"
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def connect(settings: StoreSettings, home: Path) -> Connection:
    """Connect to the campaign's database, starting the embedded server if no address is given.

    Raises
    ------
    ConfigError
        If the environment variable holds no address of a MongoDB.
    StoreError
        If the server cannot be started or reached; the message holds no credentials.
    """
    uri = os.environ.get(URI_VARIABLE) or settings.uri
    if uri is not None and not uri.startswith(("mongodb://", "mongodb+srv://")):
        message = f"the environment variable {URI_VARIABLE} must start with mongodb:// or mongodb+srv://"
        raise ConfigError(message)
    if uri is None:
        return Connection(settings.database, embedded=EmbeddedServer(Path(home)))
    connection = Connection(settings.database, uri=uri)
    try:
        connection.check()
    except BaseException:
        connection.close()
        raise
    return connection
