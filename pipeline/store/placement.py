"""Where the embedded server's files may lie: on a local disk, and always in the same place.

A MongoDB on a network file system loses data, as its locks and memory maps hold on one host only.
Several hosts that share a home therefore need a server of their own; here they are told so instead of
each starting a database, empty or not, beside the other's.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from config.errors import StoreError
from dft.execution.processes import boot_id
from dft.jobs import write_atomically

# fmt: off
NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "acfs", "afs", "auristorfs", "beegfs", "ceph", "cephfs", "cifs", "coda", "davfs", "dvs", "fhgfs",
    "gfs", "gfs2", "glusterfs", "gpfs", "ibrix", "juicefs", "lustre", "mmfs", "ncpfs", "nfs", "nfs3", "nfs4",
    "ocfs2", "orangefs", "panfs", "pvfs2", "quobyte", "smb", "smb2", "smb3", "smbfs", "stornext", "vboxsf",
    "vmhgfs", "wekafs",
    # Known as ``fuse.NAME`` only:
    "davfs2", "gcsfuse", "rclone", "s3fs", "sshfs", "vmhgfs-fuse",
})
# fmt: on
"""Types as ``/proc/self/mountinfo`` calls them; ``fuse.`` before one of these counts as the same."""
MOUNTS = Path("/proc/self/mountinfo")
RECORD = "mongo.json"
"""File in the home that tells where the database is when it is not in the home itself."""
HOST_FILE = "host.json"
"""File beside the database that tells on which host its server was started last."""
_WAYS_OUT = "name a server (store.uri), or a folder on a local disk of one host (store.folder)"


def refuse_network_file_system(folder: Path) -> None:
    """Insist on a local file system.

    Raises
    ------
    StoreError
        If the folder is, or would be, on a network file system.
    """
    kind, mount = file_system(folder)
    if kind.removeprefix("fuse.") in NETWORK_FILE_SYSTEMS:
        message = (
            f"the embedded MongoDB cannot keep its files in {folder}, on the network file system {kind} "
            f"mounted at {mount}: {_WAYS_OUT}"
        )
        raise StoreError(message)


def file_system(path: Path) -> tuple[str, Path]:
    """Type and mount point of the file system that a path, which need not exist yet, is on."""
    resolved = path.resolve()
    found = ("unknown", Path("/"))
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        left, _, right = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left.split(" ")[4]))
        # Of two mounts at one place the later covers the earlier.
        if resolved.is_relative_to(mount) and len(mount.parts) >= len(found[1].parts):
            found = (right.split(" ")[0], mount)
    return found


def settle(home: Path, folder: Path) -> None:
    """Make ``folder`` the place of the home's database, or refuse if the database is elsewhere.

    Raises
    ------
    StoreError
        If the home's database is in another folder or on another host, or the folder is another's.
    """
    in_home = home / "mongo"
    record = _read(home / RECORD)
    if record is not None:
        _compare(home, folder, record)
    if folder == in_home:
        return
    if record is None:
        if (in_home / "data").is_dir():
            message = f"{in_home} holds the campaign's database already: mv {in_home} {folder}"
            raise StoreError(message)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "data").is_dir():
            message = f"store.folder {folder} holds other files; name a new or an empty folder"
            raise StoreError(message)
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(home / RECORD, json.dumps({"folder": str(folder), **_here()}) + "\n")


def _compare(home: Path, folder: Path, record: dict[str, Any]) -> None:
    if not _may_be_here(record):
        message = (
            f"the embedded MongoDB of {home} is on host {record['host']}, in {record['folder']}, and this is "
            f"{os.uname().nodename}; several hosts need a server: store.uri (if you moved the database here, "
            f"delete {home / RECORD})"
        )
        raise StoreError(message)
    if Path(record["folder"]) != folder:
        message = (
            f"the database of {home} is in {record['folder']}: set store.folder to it (if you moved the "
            f"database to {folder}, delete {home / RECORD})"
        )
        raise StoreError(message)


def refuse_foreign_server(home: Path, folder: Path) -> None:
    """Refuse to start a server beside one that may run on another host.

    Called when no server can be seen here. One that ended cleanly, or ran on this machine, is gone; of
    another machine's nothing is known. Only file systems that
    :func:`refuse_network_file_system` does not know by name come so far.

    Raises
    ------
    StoreError
        If the server was started on another host and has not ended cleanly.
    """
    lock = folder / "data" / "mongod.lock"
    host = _read(folder / HOST_FILE)
    if host is None or _may_be_here(host) or not lock.exists() or lock.stat().st_size == 0:
        return
    message = (
        f"the embedded MongoDB of {home} runs on host {host['host']}, or did when that host went down, and "
        f"this is {os.uname().nodename}; several hosts need a server: store.uri (if it certainly runs no "
        f"more, delete {folder / HOST_FILE})"
    )
    raise StoreError(message)


def record_host(folder: Path) -> None:
    """Note that a server was started on this host."""
    write_atomically(folder / HOST_FILE, json.dumps(_here()) + "\n")


def _here() -> dict[str, str]:
    return {"host": os.uname().nodename, "boot": boot_id()}


def _may_be_here(record: dict[str, Any]) -> bool:
    """Whether a record is of this host; containers share the boot, a restarted host has its old name."""
    here = _here()
    return any(record[key] == value for key, value in here.items())


def _read(path: Path) -> dict[str, Any] | None:
    """Read a record; None if there is none.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"folder": "", **record, "host": record["host"], "boot": record["boot"]}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        message = f"{path} is damaged; delete it if the database is on this host"
        raise StoreError(message) from error
