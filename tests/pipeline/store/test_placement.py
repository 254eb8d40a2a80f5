"""The embedded database lies on a local disk, in one place, and one host uses it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from config.campaign import StoreSettings
from config.errors import StoreError
from pipeline.store import open_store, placement

from . import examples
from .test_server import home, kill_server, pid_of

__all__ = ["home"]


def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *mounts: tuple[str, Path]) -> None:
    """Let the table of mounts say something else; mounting NFS takes a server and root."""
    lines = ["22 27 0:21 / /proc rw - proc proc rw", "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"]
    for kind, path in mounts:
        escaped = str(path).replace("\\", r"\134").replace(" ", r"\040")
        lines.append(
            f"30 27 0:40 / {escaped} rw,relatime shared:2 master:1 - {kind} server:/export rw,vers=4"
        )
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(placement, "MOUNTS", table)


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "fuse.sshfs", "fuse.glusterfs", "9p"],
)
def test_a_network_file_system_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted(tmp_path, monkeypatch, (kind, tmp_path / "a b"))
    with pytest.raises(StoreError, match=rf"network file system {kind} .*store\.uri.*store\.folder"):
        open_store(StoreSettings(), tmp_path / "a b" / "runs" / "one")
    assert not (tmp_path / "a b").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "btrfs", "overlay", "fuse.mergerfs", "fuseblk"])
def test_a_local_file_system_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted(tmp_path, monkeypatch, (kind, tmp_path / "disk"))
    placement.refuse_network_file_system(tmp_path / "disk" / "home")


def test_the_longest_and_last_mount_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nfs, disk = tmp_path / "nfs", tmp_path / "nfs" / "disk"
    twice = tmp_path / "m"
    mounted(tmp_path, monkeypatch, ("nfs4", nfs), ("ext4", disk), ("autofs", twice), ("lustre", twice))
    assert placement.file_system(disk / "x") == ("ext4", disk)
    assert placement.file_system(tmp_path / "nfs" / "disk-2") == ("nfs4", nfs)
    assert placement.file_system(twice)[0] == "lustre"
    link = tmp_path / "link"
    link.symlink_to(nfs)
    assert placement.file_system(link / "home")[0] == "nfs4"


def test_this_systems_own_mounts_can_be_read() -> None:
    assert placement.file_system(Path("/proc/self"))[0] == "proc"


def test_a_folder_on_a_local_disk_serves_a_home_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = tmp_path / "nfs" / "home", tmp_path / "scratch" / "db"
    mounted(tmp_path, monkeypatch, ("nfs4", tmp_path / "nfs"))
    settings = StoreSettings(folder=str(folder))
    with open_store(settings, home) as store:
        store.plan([examples.a_calculation()])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "data").is_dir()
    assert [p.name for p in home.iterdir()] == [placement.RECORD]
    with open_store(settings, home) as store:
        assert store.calculation("calc-0001") is not None
    another = StoreSettings(folder=str(tmp_path / "another"))
    with pytest.raises(StoreError, match=rf"database of .*home is in {folder}: set store\.folder"):
        open_store(another, home)
    with pytest.raises(StoreError, match=r"network file system"):
        open_store(StoreSettings(), home)


def rewrite(record: Path, **changes: str) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


def test_another_host_does_not_start_an_empty_database_beside(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "db"
    settings = StoreSettings(folder=str(folder))
    open_store(settings, home).close()
    rewrite(home / placement.RECORD, host="login1", boot="another")
    with pytest.raises(StoreError, match=r"is on host login1, in .*several hosts need a server: store\.uri"):
        open_store(settings, home)
    # A container on the same machine has another name; a machine that was restarted, another boot.
    own = placement._here()
    rewrite(home / placement.RECORD, host="container-7", boot=own["boot"])
    open_store(settings, home).close()
    rewrite(home / placement.RECORD, host=own["host"], boot="another")
    open_store(settings, home).close()


def test_a_server_that_may_run_on_another_host_is_not_joined_by_a_second(home: Path) -> None:
    store = open_store(StoreSettings(), home)
    store.plan([examples.a_calculation()])
    kill_server(home)
    host_file = home / "mongo" / placement.HOST_FILE
    rewrite(host_file, host="login1", boot="another")
    with pytest.raises(StoreError, match=r"runs on host login1.*several hosts need a server: store\.uri"):
        open_store(StoreSettings(), home)
    assert pid_of(home) is None
    host_file.unlink()
    with open_store(StoreSettings(), home) as other:
        assert other.calculation("calc-0001") is not None
    store.close()


def test_a_server_that_ended_cleanly_elsewhere_is_no_hindrance(home: Path) -> None:
    open_store(StoreSettings(), home).close()
    rewrite(home / "mongo" / placement.HOST_FILE, host="login1", boot="another")
    open_store(StoreSettings(), home).close()


def test_a_database_in_the_home_is_not_left_behind(home: Path, tmp_path: Path) -> None:
    open_store(StoreSettings(), home).close()
    folder = tmp_path / "db"
    with pytest.raises(StoreError, match=rf"mv {home}/mongo {folder}"):
        open_store(StoreSettings(folder=str(folder)), home)
    (home / "mongo").rename(folder)
    open_store(StoreSettings(folder=str(folder)), home).close()


def test_a_folder_with_other_files_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir(mode=0o755)
    (tmp_path / "db" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="holds other files"):
        open_store(StoreSettings(folder=str(tmp_path / "db")), home)
    assert stat.S_IMODE((tmp_path / "db").stat().st_mode) == 0o755


def test_a_damaged_record_is_named(home: Path) -> None:
    (home / placement.RECORD).write_text("{")
    with pytest.raises(StoreError, match=rf"{placement.RECORD} is damaged"):
        open_store(StoreSettings(), home)
