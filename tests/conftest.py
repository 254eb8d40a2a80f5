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

    from pipeline.store.repository import Store

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a Slurm in one process: each process would start another."""
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group(f"slurm {item.path.parent.name}"))


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
