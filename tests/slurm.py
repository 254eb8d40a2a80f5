"""A real Slurm of four nodes for the tests that need one (``.ci/slurm-cluster``)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

STARTER = Path(__file__).parents[1] / ".ci" / "slurm-cluster"
TOOLS = ("slurmctld", "slurmd", "sbatch", "munged")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Cluster:
    """A Slurm on this machine's loopback with the nodes n1 to n4, of 2 cores each."""

    path: Path

    def do(self, command: str, *arguments: str) -> None:
        """Call the starter: ``kill-node n2``, ``restart-controller`` ..."""
        subprocess.run([STARTER, command, self.path, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster for the session; ``SLURM_CONF`` points at it."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SEARCHED) is None]
    if missing:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)}); .ci/setup-slurm installs it")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    before = os.environ.get("SLURM_CONF")
    try:
        cluster.do("start")
        os.environ["SLURM_CONF"] = str(cluster.path / "slurm.conf")
        yield cluster
    finally:
        cluster.do("stop")
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before
