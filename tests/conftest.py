"""Fixtures for the whole suite: one real MongoDB per test session, one database per test."""

from __future__ import annotations

import itertools
import os

# Before numpy is imported anywhere: tests run side by side, and their jobs inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# A developer's own server must never be written to by tests.
os.environ.pop("SABATIER_MONGODB_URI", None)

from typing import TYPE_CHECKING

import pytest

from tests.slurm import slurm_cluster  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

    from pipeline.store.repository import Store

_numbers = itertools.count(1)


TOGETHER = (
    "tests/dft/execution/",
    "tests/tasks/test_slurm.py",
    "tests/pipeline/store/test_address.py",
    "tests/tasks/test_store_cli.py::test_a_password_is_nowhere_to_be_found",
)
"""Tests that share a Slurm or a server, of which each process would start another, and those that look at all
processes of the machine for one secret."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Deal out tests one by one, and those of :data:`TOGETHER` to one process, the longest groups first."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((path for path in TOGETHER if nodeid.startswith(path)), nodeid)

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def mongo_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Home whose embedded server runs for the whole session."""
    from pipeline.store.server import EmbeddedServer

    home = tmp_path_factory.mktemp("mongo")
    server = EmbeddedServer(home)
    server.acquire()
    yield home
    server.release()


@pytest.fixture
def store(mongo_home: Path) -> Iterator[Store]:
    """Open an empty store on a database of its own."""
    from config.campaign import StoreSettings
    from pipeline.store import open_store

    name = f"test_{next(_numbers)}"
    with open_store(StoreSettings(database=name), mongo_home) as opened:
        yield opened
        opened.connection.database.client.drop_database(name)
