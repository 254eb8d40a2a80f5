"""Campaigns that share a MongoDB server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.store.mongod import find_mongod
from tests.tasks.campaigns import TINY, results, sabatier, starts
from tests.waiting import wait_for


@pytest.fixture
def uri(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that no campaign started, in the environment of every command."""
    folder = tmp_path_factory.mktemp("db")
    socket = folder / "s.sock"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(find_mongod()), "--dbpath", str(folder), "--nounixsocket", "--bind_ip", str(socket)],
            stdout=log,
            stderr=log,
        )
    wait_for(socket.exists, "mongod")
    address = f"mongodb://{quote(str(socket), safe='')}"
    monkeypatch.setenv("SABATIER_MONGODB_URI", address)
    yield address
    server.terminate()
    server.wait()


def test_a_calculation_is_never_run_twice_across_campaigns(uri: str, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(TINY.replace("name: tiny", "name: first"))
    (tmp_path / "second.yaml").write_text(
        TINY.replace("name: tiny", "name: second").replace("calculations: 8", "calculations: 10")
    )
    for name in ("first", "second"):
        done = sabatier("run", f"{name}.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first, second = starts(tmp_path / "runs" / "first"), starts(tmp_path / "runs" / "second")
    assert first
    assert not set(first) & set(second)
    status = json.loads(sabatier("status", "second", "--json", cwd=tmp_path).stdout)
    assert status["adsorption_energies"] >= 8
    assert not (tmp_path / "runs" / "first" / "mongo").exists(), "no embedded server was started"
    assert len(results(tmp_path / "runs" / "second")) == len(second)
    assert uri in os.environ["SABATIER_MONGODB_URI"]


def test_a_name_that_another_home_uses_is_refused(uri: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("rounds: 2", "rounds: 0").replace("seed_size: 4", "seed_size: 1")
    )
    assert sabatier("run", "tiny.yaml", cwd=tmp_path).returncode == 0
    refused = sabatier("run", "tiny.yaml", "--home", "elsewhere", cwd=tmp_path)
    assert refused.returncode == 2
    assert "another name" in refused.stderr
    assert uri not in refused.stderr


def test_a_server_that_does_not_answer_is_an_error_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "SABATIER_MONGODB_URI", "mongodb://me:secret@127.0.0.1:9/?serverSelectionTimeoutMS=500"
    )
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = sabatier("run", "tiny.yaml", cwd=tmp_path, timeout=200)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
