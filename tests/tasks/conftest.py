"""A folder with a tiny campaign in it, and the same campaign run to its end once per session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.campaigns import TINY, completed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with ``tiny.yaml``."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the tiny campaign has been run."""
    return completed(tmp_path_factory.mktemp("finished"), "tiny.yaml", TINY)
