"""A database that is away for a while: nothing lost, nothing doubled, and the user is told once."""

from __future__ import annotations

import logging
import os
import signal
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.campaign import StoreSettings
from config.errors import StoreError
from pipeline.domain import CalculationState
from pipeline.store import connection as connections
from pipeline.store import mongod, open_store
from pipeline.store import server as servers
from pipeline.store.server import EmbeddedServer

from . import examples
from .test_server import home, kill_server, pid_of

if TYPE_CHECKING:
    from pipeline.store.repository import Store

__all__ = ["home"]
S = CalculationState


def write(store: Store, first: int, step: int, stop: threading.Event, written: list[int]) -> None:
    """Plan and move calculations until told to stop; note those that the store has acknowledged."""
    number = first
    while not stop.is_set():
        assert store.plan([examples.a_calculation(number)]) <= 1
        moved = store.transition(f"calc-{number:04d}", S.PLANNED, S.SUBMITTING, job_id=str(number))
        assert moved is not None
        assert moved.job_id == str(number)
        written.append(number)
        number += step


def test_writers_ride_out_a_server_that_is_stopped_and_killed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP for longer than an operation may take, SIGKILL, and SIGKILL while stopped."""
    monkeypatch.setattr(connections, "SOCKET_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(servers, "PING_TIMEOUT_MS", 300)
    written: list[int] = []
    stop = threading.Event()
    with open_store(StoreSettings(), home, patience_seconds=60) as store:
        threads = [threading.Thread(target=write, args=(store, n, 3, stop, written)) for n in range(3)]
        for thread in threads:
            thread.start()
        for disruption in ("stop", "kill", "stop and kill", "stop"):
            enough = len(written) + 10
            while len(written) < enough:
                time.sleep(0.01)
            pid = pid_of(home)
            if "stop" in disruption:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(2.5)
            os.kill(pid, signal.SIGKILL if "kill" in disruption else signal.SIGCONT)
        enough = len(written) + 10
        while len(written) < enough:
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert len(written) >= 50
    with open_store(StoreSettings(), home) as store:
        found = {c.id: c for c in store.calculations(states=[S.SUBMITTING])}
        for number in written:
            assert found[f"calc-{number:04d}"].job_id == str(number)
            # Nothing doubled: a move that was tried twice was made once.
            moves = [m.state for m in store.history(f"calc-{number:04d}")]
            assert moves == [S.PLANNED, S.SUBMITTING]


def test_a_server_by_address_that_is_stopped_is_waited_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SOCKET_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(connections, "FIRST_CONTACT_MS", 500)
    server = EmbeddedServer(home)
    with open_store(StoreSettings(uri=server.acquire()), tmp_path) as store:
        pid = pid_of(home)
        os.kill(pid, signal.SIGSTOP)
        waker = threading.Timer(2.5, os.kill, (pid, signal.SIGCONT))
        waker.start()
        assert store.plan([examples.a_calculation()]) <= 1
        waker.join()
        assert store.calculation("calc-0001") == examples.a_calculation()
    server.release()


def test_an_outage_is_told_once_and_its_end_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(connections, "FIRST_CONTACT_MS", 200)
    server = EmbeddedServer(home)
    with open_store(StoreSettings(uri=server.acquire()), tmp_path, patience_seconds=1800) as store:
        kill_server(home)
        reviver = threading.Timer(2.5, server.acquire)
        reviver.start()
        with caplog.at_level(logging.INFO, "sabatier.store"):
            assert store.campaigns() == []
        reviver.join()
    first, last = (r.getMessage() for r in caplog.records if r.name == "sabatier.store")
    assert "database 'sabatier' is away since " in first
    assert "trying again for 30 min" in first
    assert "is back after" in last
    assert "\n" not in first + last
    server.release()


def test_a_short_interruption_is_not_worth_a_word(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "QUIET_SECONDS", 30.0)  # a busy machine takes its time to start a server
    with open_store(StoreSettings(), home) as store:
        kill_server(home)
        assert store.campaigns() == []
    assert caplog.records == []


FULL_DISK = """#!/bin/sh
if [ -e {flag} ]; then echo "No space left on device" >&2; exit 100; fi
exec {mongod} "$@"
"""


def full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let mongod refuse to start, as on a full disk, while a file is there; give the file."""
    flag, program = home / "full", home / "bin" / "mongod"
    program.parent.mkdir()
    program.write_text(FULL_DISK.format(flag=flag, mongod=mongod.find_mongod()))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return flag


def test_a_server_that_cannot_start_now_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = full_disk(home, monkeypatch)
    with open_store(StoreSettings(), home, patience_seconds=60) as store:
        store.plan([examples.a_calculation()])
        flag.touch()
        kill_server(home)
        room = threading.Timer(1.5, flag.unlink)
        room.start()
        assert store.calculation("calc-0001") == examples.a_calculation()
        room.join()


def test_a_server_that_does_not_come_back_is_reported_with_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = full_disk(home, monkeypatch)
    with open_store(StoreSettings(), home, patience_seconds=1.0) as store:
        flag.touch()
        kill_server(home)
        with pytest.raises(StoreError, match=r"lost embedded MongoDB of .* for \d s: .*No space left"):
            store.campaigns()


def test_a_person_does_not_wait_for_a_process_that_sleeps_in_the_middle_of_a_start(home: Path) -> None:
    server = EmbeddedServer(home)
    server.acquire()
    with server._starting(time.monotonic() + 1.0):
        started = time.monotonic()
        with pytest.raises(StoreError, match="another process is busy starting or stopping"):
            open_store(StoreSettings(), home, patience_seconds=0.3)
        assert time.monotonic() - started < 3
    server.release()
