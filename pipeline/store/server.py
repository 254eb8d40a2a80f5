"""The embedded server: a MongoDB of the campaign's own, started when it is needed.

All of it lives in ``<home>/mongo``, or in ``store.folder`` where the home is on a network file system:
``data``, ``mongod.log``, the socket, ``host.json`` and two lock files. Any process that opens the store
starts the server if it does not run; the last one that closes it shuts it down. A server left over by a
client that was killed is used by the next client. Two locks, both released by the kernel when their
holder dies:

``users.lock``
    held shared by every client for as long as it uses the server.
``start.lock``
    held exclusively while a client starts or stops the server, so that these never overlap.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import socket as sockets
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from config.errors import StoreError
from pipeline.store import placement
from pipeline.store.mongod import (
    START_TIMEOUT_SECONDS,
    STOP_TIMEOUT_SECONDS,
    daemon_pid,
    start_daemon,
    stop_daemon,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SOCKET_BYTES = 107
"""Longest path of a Unix socket on Linux (``sockaddr_un`` holds 108 bytes with the final zero)."""
SOCKET_NAME = "mongod.sock"
PING_TIMEOUT_MS = 5000


class EmbeddedServer:
    """A client's hold on the MongoDB server of one campaign home.

    Parameters
    ----------
    home
        The campaign's home.
    folder
        Where the server's files lie; ``<home>/mongo`` when left out.
    """

    def __init__(self, home: Path, folder: Path | None = None) -> None:
        self.home = home.resolve()
        self._folder = folder.resolve() if folder is not None else self.home / "mongo"
        self._data = self._folder / "data"
        self._log = self._folder / "mongod.log"
        self._users: int | None = None

    def __str__(self) -> str:
        """Which server it is."""
        return f"embedded MongoDB of {self.home}"

    def acquire(self, patience_seconds: float = math.inf) -> str:
        """Become a user of the server, starting it if need be; return its ``mongodb://`` address.

        May be called again, to start a server that died while in use.

        Parameters
        ----------
        patience_seconds
            How long to wait for a server that starts, stops or hangs; never longer than
            :data:`~pipeline.store.mongod.START_TIMEOUT_SECONDS`.

        Raises
        ------
        StoreError
            If the files cannot be kept there, there is no mongod, or it does not start.
        """
        deadline = time.monotonic() + min(START_TIMEOUT_SECONDS, patience_seconds)
        try:
            self._prepare_folder()
            with self._starting(deadline):
                if self._users is not None:
                    return self._start(deadline)
                users = _lock(self._folder / "users.lock", fcntl.LOCK_SH)
                try:
                    address = self._start(deadline)
                except BaseException:
                    os.close(users)
                    raise
                self._users = users
                return address
        except OSError as error:
            message = f"cannot keep a MongoDB in {self._folder}: {error.strerror}"
            raise StoreError(message) from error

    def _prepare_folder(self) -> None:
        placement.refuse_network_file_system(self._folder)
        placement.settle(self.home, self._folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._data.mkdir(mode=0o700, exist_ok=True)

    def release(self) -> None:
        """Stop using the server; the last user shuts it down. Does nothing the second time."""
        if self._users is None:
            return
        # Closed, never unlocked: a forked child shares the lock and may still use the server.
        os.close(self._users)
        self._users = None
        # A home that was deleted meanwhile has nothing to shut down.
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        with contextlib.suppress(OSError, StoreError), self._starting(deadline):
            try:
                alone = _lock(self._folder / "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            pid = daemon_pid(self._data)
            # A server too slow to stop is no loss: the next client waits for its end.
            if pid is not None and stop_daemon(pid, STOP_TIMEOUT_SECONDS):
                self._forget_socket()
            os.close(alone)

    def _forget_socket(self) -> None:
        recorded = self._recorded_socket()
        (self._folder / "socket").unlink(missing_ok=True)
        if recorded is not None and recorded.parent != self._folder:
            recorded.parent.rmdir()

    @contextlib.contextmanager
    def _starting(self, deadline: float) -> Iterator[None]:
        descriptor = self._start_lock(deadline)
        try:
            yield
        finally:
            os.close(descriptor)

    def _start_lock(self, deadline: float) -> int:
        """Wait for the lock until the deadline: whoever holds it may be asleep.

        Raises
        ------
        StoreError
            If it does not become free.
        """
        while True:
            try:
                return _lock(self._folder / "start.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another process is busy starting or stopping the MongoDB of {self.home}"
                    raise StoreError(message) from None
                time.sleep(0.02)

    def _start(self, deadline: float) -> str:
        """Return the address of the running server; start it if there is none."""
        socket = self._running_socket() or self._await_daemon(deadline)
        if socket is None:
            placement.refuse_foreign_server(self.home, self._folder)
            socket = self._socket_path()
            try:
                self._launch(socket)
            except BaseException:
                # Nobody could reach what is left of a start that failed or was interrupted.
                pid = daemon_pid(self._data)
                if pid is not None:
                    stop_daemon(pid, STOP_TIMEOUT_SECONDS)
                raise
        return _address(socket)

    def _launch(self, socket: Path) -> None:
        """Start a server and see it answer.

        Raises
        ------
        StoreError
            If it does not start, or starts without answering.
        """
        placement.record_host(self._folder)
        start_daemon(self._data, self._log, socket)
        (self._folder / "socket").write_text(str(socket), encoding="utf-8")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._running_socket() is None:
            if not socket.exists() or time.monotonic() > deadline:
                message = (
                    f"the MongoDB of {self.home} started but does not answer on {socket}; log {self._log}"
                )
                raise StoreError(message)
            time.sleep(0.05)

    def _running_socket(self) -> Path | None:
        """Socket of a server that answers for this home, or None."""
        for socket in self._known_sockets():
            if _accepts(socket) and _serves(socket, self._data):
                return socket
        return None

    def _known_sockets(self) -> list[Path]:
        in_home = self._folder / SOCKET_NAME
        recorded = self._recorded_socket()
        return [in_home] if recorded in (None, in_home) else [in_home, recorded]

    def _recorded_socket(self) -> Path | None:
        """Socket that the server was started with.

        The fallback folder depends on the environment, so another client may have chosen another one
        than this process would.
        """
        record = self._folder / "socket"
        return Path(record.read_text(encoding="utf-8")) if record.exists() else None

    def _await_daemon(self, deadline: float) -> Path | None:
        """Wait for a server that runs without answering; None if there is none (any more).

        Its client may have been killed during the start, somebody may be shutting it down, or its
        socket was deleted: then nobody can reach it again and it is stopped.
        """
        patience = time.monotonic() + 5.0
        while (pid := daemon_pid(self._data)) is not None:
            socket = self._running_socket()
            if socket is not None:
                return socket
            if time.monotonic() > patience and not any(s.exists() for s in self._known_sockets()):
                stop_daemon(pid, STOP_TIMEOUT_SECONDS)
            elif time.monotonic() > deadline:
                message = (
                    f"the MongoDB of {self.home} (process {pid}) runs but does not answer; "
                    f"end it with 'kill {pid}' and try again; log {self._log}"
                )
                raise StoreError(message)
            time.sleep(0.05)
        return None

    def _socket_path(self) -> Path:
        """Path for a new socket: in the home if it fits, else in a private folder with a short name."""
        socket = self._folder / SOCKET_NAME
        if _fits(socket):
            return socket
        name = f"sabatier-{os.getuid()}-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}"
        for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
            if base and Path(base).is_dir() and _fits(Path(base) / name / SOCKET_NAME):
                return _private_folder(Path(base) / name) / SOCKET_NAME
        message = f"no folder for MongoDB's socket has a path short enough ({MAX_SOCKET_BYTES} bytes)"
        raise StoreError(message)


def _lock(path: Path, operation: int) -> int:
    """Open and flock a file; the lock lasts until the descriptor and its copies are closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _fits(socket: Path) -> bool:
    # mongod takes a comma for a separator of addresses, brackets and colons for parts of one.
    return len(os.fsencode(socket)) <= MAX_SOCKET_BYTES and not set(str(socket)) & set(",[]:")


def _private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter; refuse one that somebody else prepared.

    Raises
    ------
    StoreError
        If the name is taken by anything but a folder of this user's own with mode 0700.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        message = f"{folder} is needed for MongoDB's socket but is not a private folder of yours; remove it"
        raise StoreError(message)
    return folder


def _address(socket: Path) -> str:
    return f"mongodb://{quote(str(socket), safe='')}"


def _accepts(socket: Path) -> bool:
    """Whether anything listens on the socket: quicker than pymongo, which tries until its timeout."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(PING_TIMEOUT_MS / 1000)
        try:
            probe.connect(str(socket))
        except OSError:
            return False
    return True


def _serves(socket: Path, data: Path) -> bool:
    """Whether the server at the socket is ready and runs on ``data``.

    The check matters for a copied home: its record still names the socket of the original's server.
    """
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[dict[str, Any]] = MongoClient(
        _address(socket),
        directConnection=True,
        serverSelectionTimeoutMS=PING_TIMEOUT_MS,
        socketTimeoutMS=PING_TIMEOUT_MS,
    )
    with client:
        try:
            options = client.admin.command("getCmdLineOpts")
            return Path(options["parsed"]["storage"]["dbPath"]).samefile(data)
        except (PyMongoError, OSError, KeyError):
            return False
