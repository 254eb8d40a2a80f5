"""The connection to MongoDB: which server, one client per process, and what happens when it breaks.

The server is, in this order, the one that the environment variable ``SABATIER_MONGODB_URI`` names, the
one of ``store.uri`` in the campaign file, or the embedded one. A write counts as done when the journal
holds it. An operation that fails because the connection broke is tried again for as long as the
connection has patience; the embedded server is started again if it died. Operations must therefore be
idempotent. The logger ``sabatier.store`` tells once when an outage lasts, and when it is over.

mongoengine's own connections are global, and its ``switch_db`` changes the document class for every
thread. So the client is kept here, and the document classes (``documents``) serve as the schema only:
two stores in one process, threads and forked children cannot reach into each other.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from config.errors import StoreError
from pipeline.store.address import (
    PASSWORD_VARIABLE,
    USERNAME_VARIABLE,
    ServerAddress,
    server_address,
)
from pipeline.store.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from config.campaign import StoreSettings


PATIENCE_SECONDS = 60.0
"""How long an operation is tried again after the connection broke, unless the caller says otherwise."""
FIRST_CONTACT_MS = 5000
"""How long a server given by address may take to answer, at each try."""
SOCKET_TIMEOUT_SECONDS = 60.0
"""How long a server may think about one operation before it counts as away."""
MAX_DELAY_SECONDS = 10.0
"""Longest pause between two tries."""
QUIET_SECONDS = 3.0
"""Outages shorter than this are not told."""
AUTHENTICATION_FAILED = 18
TRANSIENT_CODES = frozenset({43, 89, 91, 189, 9001, 10107, 11600, 11602, 13435, 13436, 14031})
"""CursorNotFound, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown, SocketException,
NotWritablePrimary, InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
NotPrimaryOrSecondary, OutOfDiskSpace."""
DUPLICATE_KEY = 11000
FULL_DISK = "No space left on device"
"""What a server says, under the code of an unknown error, when it cannot make a new file; somebody may make
room while patience lasts. Most often it ends instead."""

logger = logging.getLogger("sabatier.store")

_R = TypeVar("_R")
Raw = dict[str, Any]
"""A document as MongoDB returns it."""


@dataclass
class _Outage:
    """One operation's wait for a server that is away."""

    place: str
    patience_seconds: float
    since: float = field(default_factory=time.time)
    _started: float = field(default_factory=time.monotonic)
    _delay: float = 0.05
    _is_told: bool = False

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """How much longer the operation is tried."""
        return max(0.0, self.patience_seconds - self.seconds)

    def wait(self, reason: str) -> None:
        """Pause before the next try.

        Raises
        ------
        StoreError
            If it has lasted too long.
        """
        if self.seconds_left == 0.0:
            message = f"lost {self.place} for {self.seconds:.0f} s: {reason}"
            raise StoreError(message)
        if self.seconds > QUIET_SECONDS and not self._is_told:
            self._is_told = True
            at = time.strftime("%H:%M:%S", time.localtime(self.since))
            logger.warning(
                "%s is away since %s, trying again for %s (%s)",
                self.place,
                at,
                _duration(self.patience_seconds),
                reason.splitlines()[0],
            )
        time.sleep(min(self._delay, self.seconds_left))
        self._delay = min(2 * self._delay, MAX_DELAY_SECONDS)

    def end(self) -> None:
        """Tell that it is over, if it was told at all."""
        if self._is_told:
            logger.warning("%s is back after %s", self.place, _duration(self.seconds))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class Connection:
    """A MongoDB database that survives the death of its server.

    Parameters
    ----------
    database
        Name of the database.
    server
        A server by its address, or the embedded one.
    patience_seconds
        How long an operation is tried again while the server is away.
    """

    def __init__(
        self,
        database: str,
        server: ServerAddress | EmbeddedServer,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._name = database
        self._patience = patience_seconds
        if isinstance(server, EmbeddedServer):
            self._embedded: EmbeddedServer | None = server
            self._address = ServerAddress(server.acquire(patience_seconds))
        else:
            self._embedded = None
            self._address = server
        self._lock = threading.RLock()
        self._client: MongoClient[Raw] | None = None
        self._pid = os.getpid()
        self._inherited: list[MongoClient[Raw]] = []
        self._closed = False

    def __str__(self) -> str:
        """Where the database is, without credentials."""
        return f"{self._embedded or self._address}, database {self._name!r}"

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

        options: dict[str, Any] = {
            "serverSelectionTimeoutMS": FIRST_CONTACT_MS,
            # Without it an operation on a server that is stopped or cut off would wait for ever.
            "socketTimeoutMS": int(1000 * max(1.0, min(SOCKET_TIMEOUT_SECONDS, self._patience))),
            # `call` retries, on servers without replicas too; there pymongo's retry is an error of its own.
            "retryReads": False,
            "retryWrites": False,
            "appname": "sabatier",
            **self._address.client_options(),
        }
        if self._embedded is not None:
            # A dead server is started again; waiting does not help.
            options |= {"directConnection": True, "serverSelectionTimeoutMS": 1000}
        try:
            with warnings.catch_warnings():
                # pymongo warns of options that it does not understand and leaves them out, tls=... too.
                warnings.simplefilter("error", UserWarning)
                return MongoClient(self._address.uri, tz_aware=True, w="majority", journal=True, **options)
        except (PyMongoError, ValueError, UserWarning, OSError) as error:
            message = f"cannot use MongoDB address {self._address}: {self._text(error)}"
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
            message = f"cannot reach {self}: {self._text(error)}"
            raise StoreError(message) from None

    def call(self, operation: Callable[[], _R]) -> _R:
        """Run an idempotent operation; run it again if the connection breaks.

        Raises
        ------
        StoreError
            If the server stays away for longer than the connection's patience, or refuses the operation.
        """
        from pymongo.errors import PyMongoError

        outage: _Outage | None = None
        while True:
            try:
                result = operation()
            except PyMongoError as error:
                reason = self._text(error)
                if not is_transient(error) or self._closed:
                    message = f"{self} refuses: {reason}"
                    raise StoreError(message) from None
            else:
                if outage is not None:
                    outage.end()
                return result
            outage = outage or _Outage(str(self), self._patience)
            outage.wait(self._recover(outage.seconds_left) or reason)

    def _recover(self, patience_seconds: float) -> str | None:
        """See to it that the embedded server runs; its address changes if it was started elsewhere.

        Returns
        -------
        str or None
            Why it does not run, if so: a full disk may have room again, a slow host may catch up.
        """
        if self._embedded is None:
            return None
        with self._lock:
            try:
                uri = self._embedded.acquire(patience_seconds)
            except StoreError as error:
                return str(error)
            if uri != self._address.uri and self._client is not None:
                self._client.close()
                self._client = None
            self._address = ServerAddress(uri)
        return None

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

    def _text(self, error: Exception) -> str:
        """Text of an error, cut to what a person reads, without the credentials of the address."""
        text = re.split(r" \(configured timeouts|, Timeout:|, full error:", str(error), maxsplit=1)[0]
        text = self._address.scrub(text)
        if getattr(error, "code", None) == AUTHENTICATION_FAILED:
            text += (
                f" Check user and password (store.username and store.password_file, or {USERNAME_VARIABLE} "
                f"and {PASSWORD_VARIABLE}) and, in the address, authSource: the user's database."
            )
        elif "CERTIFICATE_VERIFY_FAILED" in text:
            text += " (store.tls_ca_file names the certificate of the authority that signed the server's)"
        return text


def is_transient(error: Exception) -> bool:
    """Whether the same operation may succeed if it is tried again."""
    from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure

    if isinstance(error, BulkWriteError):
        details: Raw = dict(error.details)
        problems = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        # Two upserts of one id at the same time: the second attempt finds the first one's document.
        return all(
            p.get("code") in TRANSIENT_CODES | {DUPLICATE_KEY} or FULL_DISK in str(p.get("errmsg"))
            for p in problems
        )
    if isinstance(error, OperationFailure) and not isinstance(error, ConnectionFailure):
        is_full = FULL_DISK in str(error)
        return is_full or isinstance(error, DuplicateKeyError) or error.code in TRANSIENT_CODES
    return isinstance(error, ConnectionFailure)


def connect(settings: StoreSettings, home: Path, patience_seconds: float = PATIENCE_SECONDS) -> Connection:
    """Connect to the campaign's database, starting the embedded server if no address is given.

    Raises
    ------
    ConfigError
        If the address or the login cannot be used.
    StoreError
        If the server cannot be started or reached; the message holds no credentials.
    """
    address = server_address(settings)
    if address is None:
        folder = Path(settings.folder) if settings.folder is not None else None
        return Connection(settings.database, EmbeddedServer(Path(home), folder), patience_seconds)
    connection = Connection(settings.database, address, patience_seconds)
    try:
        connection.check()
    except BaseException:
        connection.close()
        raise
    return connection
