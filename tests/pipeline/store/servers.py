"""Real MongoDB servers on a port, with users and TLS, for the tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.store.mongod import find_mongod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = "zelda"
PASSWORD = "s3cr3t:/@%-p4ss"
OPENSSL = shutil.which("openssl")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, *options: str, client_options: dict[str, object] | None = None) -> Iterator[int]:
    """Run a mongod with users on a port of this host; give the port."""
    from pymongo import MongoClient

    data = folder / "server-data"
    data.mkdir()
    port = free_port()
    # fmt: off
    command = [
        str(find_mongod()), "--dbpath", str(data), "--bind_ip", "127.0.0.1", "--port", str(port), "--auth",
        "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(folder / "server.log"),
        *options,
    ]
    # fmt: on
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _wait(port)
        # The first user may be made without logging in, from the same host.
        with MongoClient("127.0.0.1", port, **(client_options or {})) as client:
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=["readWriteAnyDatabase"])
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    message = f"no server on port {port}"
    raise TimeoutError(message)


def certificates(folder: Path) -> tuple[Path, Path]:
    """Make an authority and a server certificate it has signed; give the paths of ``ca`` and ``server``."""

    def openssl(*arguments: str) -> None:
        subprocess.run([str(OPENSSL), *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test CA")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    # fmt: off
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.crt", "-days", "2", "-extfile", "names")
    # fmt: on
    both = folder / "server.pem"
    both.write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    return folder / "ca.pem", both
