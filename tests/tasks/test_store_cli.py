"""``sabatier store``: back-ups that come back, and a server whose password stays secret."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.home import CampaignHome
from tests.pipeline.store.servers import PASSWORD, USER, server
from tests.tasks.campaigns import TINY, command, environment, sabatier

SECRET = PASSWORD.encode()


def same_documents(one: Path, other: Path) -> bool:
    lines = [gzip.decompress(p.read_bytes()).splitlines() for p in (one, other)]
    return lines[0][1:] == lines[1][1:]


@pytest.fixture
def dumped(finished: Path, tmp_path: Path) -> Path:
    """Give a dump of the finished campaign."""
    done = sabatier("store", "dump", "--output", str(tmp_path / "tiny.gz"), cwd=finished)
    assert done.returncode == 0, done.stderr
    return tmp_path / "tiny.gz"


def test_info_tells_where_and_how_much(finished: Path) -> None:
    done = sabatier("store", "info", "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["campaigns"] == ["tiny"]
    assert document["server"].startswith("MongoDB ")
    assert document["size_bytes"] > 0
    assert document["documents"]["rounds"] == 3
    assert document["drivers"] == []
    shown = sabatier("store", "info", cwd=finished).stdout
    assert "embedded MongoDB of" in shown
    assert "no driver is at work" in shown


def test_a_campaign_comes_back_from_its_dump(finished: Path, dumped: Path, tmp_path: Path) -> None:
    """Into an empty folder: status and ranking are as before, and so is its own dump."""
    done = sabatier("store", "load", "tiny.gz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sabatier("store", "dump", "-o", "again.gz", cwd=tmp_path).returncode == 0
    assert same_documents(dumped, tmp_path / "again.gz")
    before, after = (
        [
            (s["surface_id"], s["site_id"], s["delta_e_ev"], s["rank"])
            for r in json.loads(sabatier("rank", "--json", cwd=folder).stdout)["rankings"]
            for s in r["surfaces"]
        ]
        for folder in (finished, tmp_path)
    )
    assert before == after
    before, after = (
        json.loads(sabatier("status", "--json", cwd=folder).stdout) for folder in (finished, tmp_path)
    )
    for key in ("adsorption_energies", "kinds", "states", "complete", "sites"):
        assert before[key] == after[key]


def test_a_dump_goes_through_a_pipe(finished: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("store", "dump", "-o", "-"), cwd=finished, env=environment(), stdout=subprocess.PIPE
    ) as first:
        done = subprocess.run(
            command("store", "load", "-", "--home", "elsewhere"),
            cwd=tmp_path,
            env=environment(),
            stdin=first.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    assert first.returncode == 0
    assert done.returncode == 0, done.stderr
    assert CampaignHome(tmp_path / "elsewhere").load_settings().name == "tiny"


def test_nothing_is_overwritten_unasked(finished: Path, dumped: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished / "runs" / "tiny", home)
    refused = sabatier("store", "load", str(dumped), "--home", str(home), cwd=tmp_path)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    unasked = sabatier("store", "load", str(dumped), "--home", str(home), "--replace", cwd=tmp_path)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    done = sabatier("store", "load", str(dumped), "--home", str(home), "--replace", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "were there already" in done.stderr


def test_a_broken_file_is_refused_in_one_line(dumped: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(dumped.read_bytes()[:-100])
    (tmp_path / "text.gz").write_text("hello")
    for name, why in (("cut.gz", "not a whole dump"), ("text.gz", "dump"), ("missing.gz", "no file")):
        refused = sabatier("store", "load", name, "--home", "home", cwd=tmp_path)
        assert refused.returncode in (1, 2)
        assert why in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert not (tmp_path / "home").exists()


def test_a_dump_for_another_home_is_refused(dumped: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TINY.replace("name: tiny", "name: other"))
    refused = sabatier("store", "load", str(dumped), "other.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "holds campaign 'tiny', not 'other'" in refused.stderr


def test_a_dump_that_cannot_be_written_leaves_nothing(finished: Path, tmp_path: Path) -> None:
    refused = sabatier("store", "dump", "-o", str(tmp_path / "missing" / "x.gz"), cwd=finished)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def processes_that_show(secret: bytes, but: set[int]) -> list[str]:
    """Command lines, and environments other than of given processes, that hold a secret."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if secret in (process / "cmdline").read_bytes():
                found.append(f"{process}/cmdline")
            if int(process.name) in but or secret not in (process / "environ").read_bytes():
                continue
            time.sleep(0.5)  # a process between fork and exec shows its parent's
            if secret in (process / "environ").read_bytes():
                found.append(f"{process}/environ {(process / 'cmdline').read_bytes()!r}")
    return found


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_password_is_nowhere_to_be_found(tmp_path: Path, way: str) -> None:
    """A campaign on a server with users: its home, logs, jobs, processes and database."""
    with server(tmp_path) as port:
        store = f"{{uri: 'mongodb://127.0.0.1:{port}', username: {USER}"
        store += ", password_file: secret}" if way == "file" else "}"
        small = re.sub("budget: .*", "budget: {calculations: 2, rounds: 1, cpu_hours: 10}", TINY)
        small = re.sub("seed_size: .*", "seed_size: 2", small).replace("mp-30, mp-2, mp-1018029", "mp-30")
        (tmp_path / "tiny.yaml").write_text(f"{small}\nstore: {store}\n")
        variables = environment()
        if way == "file":
            (tmp_path / "secret").write_text(PASSWORD)
            (tmp_path / "secret").chmod(0o600)
        else:
            variables["SABATIER_MONGODB_PASSWORD"] = PASSWORD
        with (tmp_path / "driver.out").open("w") as out:
            driver = subprocess.Popen(
                command("run", "tiny.yaml"), cwd=tmp_path, env=variables, stdout=out, stderr=out
            )
        shown: list[str] = []
        jobs_seen = 0
        while driver.poll() is None:
            jobs_seen = max(jobs_seen, len(list((tmp_path / "runs").glob("tiny/jobs/*/*/claim"))))
            shown += processes_that_show(SECRET, but={driver.pid, os.getpid()})
            time.sleep(0.05)
        assert driver.returncode == 0, (tmp_path / "driver.out").read_text()
        assert jobs_seen > 0
        assert shown == []
        dump = subprocess.run(
            command("store", "dump", "-o", "tiny.gz"),
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            check=True,
        )
        assert SECRET not in dump.stderr + gzip.decompress((tmp_path / "tiny.gz").read_bytes())
        (tmp_path / "secret").unlink(missing_ok=True)
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        assert len(files) > 30
        assert [p for p in files if SECRET in p.read_bytes()] == []
