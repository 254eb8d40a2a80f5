"""Back-ends on real parts: processes of this machine, and a real Slurm, packed in three ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.execution import LocalExecution, SlurmExecution
from dft.execution.local import LocalBackend
from dft.execution.scheduler import SchedulerBackend
from tests.dft.execution.kit import Jobs, Place, request
from tests.dft.payloads import MODULE
from tests.slurm import Cluster

PLACES = ["local", *(pytest.param(pack, marks=pytest.mark.slurm) for pack in ("single", "array", "bundle"))]


def on_slurm(**changes: Any) -> SchedulerBackend:
    settings: dict[str, Any] = {"walltime_minutes": 5, "memory_gb": 0.3}
    if changes.get("pack") == "bundle":
        settings["bundle_width"] = 2
    return SchedulerBackend(SlurmExecution(backend="slurm", **settings | changes), payload=MODULE)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Make job directories; whatever still runs in them at the end is killed."""
    made = Jobs(tmp_path)
    yield made
    backend = LocalBackend(LocalExecution())
    for job_dir in made.made:
        while job_id := backend.find(job_dir):
            backend.cancel([job_id])


@dataclass(frozen=True)
class LongRun:
    """A job that runs while other tests do."""

    job_dir: Path
    job_id: str


@pytest.fixture(scope="session")
def long_runs(
    slurm_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], LongRun]:
    """Submit, once, jobs that end when their minute is up, and endless ones on n2 and n3."""
    runs = {}
    made = Jobs(tmp_path_factory.mktemp("long"))
    for pack in ("single", "array", "bundle"):
        backend = on_slurm(
            pack=pack, walltime_minutes=1, warning_seconds=30, options={"nodelist": "n1"}, memory_gb=0.1
        )
        behaviours = ("obedient", "with_ranks") if pack == "bundle" else ("obedient",)
        job_dirs = [made(behaviour) for behaviour in behaviours]
        group = [request(job_dir) for job_dir in job_dirs]
        if pack == "array":
            group.append(request(made("quick")))
        for behaviour, job_dir, job_id in zip(behaviours, job_dirs, backend.submit(group), strict=False):
            runs[pack, behaviour] = LongRun(job_dir, job_id)
    for node in ("n2", "n3"):
        job_dir = made("endless")
        backend = on_slurm(options={"nodelist": node}, walltime_minutes=120)  # longer than the tests take
        job_id = backend.submit([request(job_dir)])[0]
        runs["endless", node] = LongRun(job_dir, job_id)
    return runs


def _place(request: pytest.FixtureRequest, jobs: Jobs) -> Iterator[Place]:
    name: str = request.param
    if name == "local":
        yield Place(name, lambda: LocalBackend(LocalExecution(), payload=MODULE), jobs)
        return
    request.getfixturevalue("long_runs")
    yield Place(name, lambda: on_slurm(pack=name), jobs)
    _cancel_all(jobs)


place = pytest.fixture(params=PLACES, name="place")(_place)
"""Each back-end and way of packing, with a payload in place of the worker."""
unpacked = pytest.fixture(params=PLACES[:2], name="unpacked")(_place)
"""Each back-end, for what packing can make no difference to."""


def _cancel_all(jobs: Jobs) -> None:
    backend = on_slurm()
    for job_dir in jobs.made:
        if job_id := backend.find(job_dir):
            backend.cancel([job_id.partition("+")[0]])


@pytest.fixture
def slurm(slurm_cluster: Cluster, long_runs: object, jobs: Jobs) -> Iterator[Cluster]:
    """The cluster, without this test's jobs when it ends."""
    yield slurm_cluster
    _cancel_all(jobs)
