"""What keeping the books costs: submitting, reconciling, and remembering many calculations.

On a real Slurm cluster of its own (``.ci/slurm-cluster``) whose jobs are held, so that nothing computes and
the figures are the driver's:

* submit: one pass of the ledger over 1,000 planned calculations, job directories, store and ``sbatch``
  included, as job arrays; the alternative is one ``sbatch`` each.
* reconcile: one pass over 5,000 calculations in the queue; the alternative is one ``squeue`` per job, which
  is measured on some and extrapolated.
* remember: resident memory that 100,000 finished calculations add to a driver, in a process of its own; the
  alternative is to hold the store's documents as they are.

    python benchmarks/ledger_overhead.py [--submit 1000] [--reconcile 5000] [--remember 100000] [--json]

The last line is JSON: ``submit_array_seconds``, ``submit_single_seconds``, ``submit_ratio``,
``submit_scheduler_share``, ``reconcile_seconds``, ``reconcile_poll_seconds``, ``reconcile_ratio``,
``remember_mib``, ``remember_ratio``, ``reread_seconds`` and so on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from config.loader import load_campaign
from dft.execution.scheduler import SchedulerBackend
from dft.jobs import CalculationKind
from pipeline.book import REREAD_SECONDS, Book
from pipeline.campaign import Campaign, open_campaign
from pipeline.capacity import Capacity
from pipeline.domain import Calculation, CalculationState
from pipeline.harvest import Judge
from pipeline.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dft.execution.base import JobRequest

CLUSTER = Path(__file__).parents[1] / ".ci" / "slurm-cluster"
CAMPAIGN = """
name: overhead
bulks: {ids: [mp-30]}
adsorbates: {H: {}}
recipe: emt
execution: {backend: slurm, max_jobs: 100000, pack: array, pack_size: 50, options: {hold: true}}
"""
N_ASKED = 50
"""Jobs that are asked for one by one."""
MIB = 2**20


class TimedBackend(SchedulerBackend):
    """Adds up the time that is spent in the scheduler's commands."""

    seconds = 0.0

    def submit(self, group: Sequence[JobRequest]) -> list[str]:
        """Submit, and note how long it took."""
        started = time.perf_counter()
        ids = super().submit(group)
        self.seconds += time.perf_counter() - started
        return ids


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[None]:
    """Start a cluster, and let Slurm's commands find it."""
    said = subprocess.run([str(CLUSTER), "start", str(folder)], check=True, capture_output=True, text=True)
    os.environ["SLURM_CONF"] = said.stdout.strip().rpartition("SLURM_CONF=")[2]
    try:
        yield
    finally:
        subprocess.run([str(CLUSTER), "stop", str(folder)], check=False, stdout=subprocess.DEVNULL)


def calculations(
    prefix: str, n: int, state: CalculationState = CalculationState.PLANNED
) -> list[Calculation]:
    """Make calculations that require nothing and whose structure takes no time to build."""
    return [
        Calculation(
            id=f"calc-{prefix}{i:08d}", kind=CalculationKind.GAS, label="gas H2", gas="H2", state=state
        )
        for i in range(n)
    ]


def ledger_of(campaign: Campaign, **execution: Any) -> tuple[Ledger, TimedBackend]:
    """Make a ledger with changed execution settings."""
    settings = campaign.settings.model_copy(
        update={"execution": campaign.settings.execution.model_copy(update=execution)}
    )
    assert settings.execution.backend == "slurm"
    backend = TimedBackend(settings.execution)
    judge = Judge(campaign.store, campaign.materialiser, campaign.home, {})
    capacity = Capacity(settings.execution.max_jobs)
    return (
        Ledger(campaign.store, backend, campaign.home, settings, campaign.materialiser, judge, capacity),
        backend,
    )


def submit_all(campaign: Campaign, prefix: str, n: int, **execution: Any) -> tuple[Ledger, float, float]:
    """Let a ledger submit calculations in one pass; return it, the time it took, and sbatch's share."""
    planned = calculations(prefix, n)
    campaign.store.plan(planned)
    ledger, backend = ledger_of(campaign, **execution)
    started = time.perf_counter()
    ledger.step([c.id for c in planned])
    took = time.perf_counter() - started
    submitted = ledger.counts()[CalculationState.SUBMITTED]
    if submitted != n:
        sys.exit(f"only {submitted} of {n} calculations were submitted")
    return ledger, took, backend.seconds / took


def submit_figures(campaign: Campaign, n: int) -> dict[str, Any]:
    """As arrays, and one by one, after a first submission that loads what is loaded late."""
    submit_all(campaign, "w", 2)
    _, array, share = submit_all(campaign, "a", n)
    _, single, single_share = submit_all(campaign, "s", n, pack="single")
    return {
        "submit_calculations": n,
        "submit_array_seconds": array,
        "submit_single_seconds": single,
        "submit_ratio": single / array,
        "submit_scheduler_share": share,
        "submit_single_scheduler_share": single_share,
        "submit_ledger_ms_each": 1000 * array * (1 - share) / n,
    }


def reconcile_figures(campaign: Campaign, n: int) -> dict[str, Any]:
    """One pass over what is in the queue, against one question per job."""
    ledger, _, _ = submit_all(campaign, "r", n, pack_size=1000)
    ids = list(ledger.calculations)
    started = time.perf_counter()
    ledger.step(ids)
    took = time.perf_counter() - started
    if ledger.counts()[CalculationState.SUBMITTED] != n:
        sys.exit(f"reconciling changed calculations that wait: {dict(ledger.counts())}")
    jobs = [str(c.job_id) for c in ledger.calculations.values()]
    started = time.perf_counter()
    ledger.backend.poll(jobs)
    poll = time.perf_counter() - started
    started = time.perf_counter()
    for job in jobs[:N_ASKED]:
        subprocess.run(["squeue", "--noheader", f"--jobs={job}"], check=True, stdout=subprocess.DEVNULL)
    each = (time.perf_counter() - started) / N_ASKED
    return {
        "reconcile_calculations": n,
        "reconcile_seconds": took,
        "reconcile_poll_seconds": poll,
        "reconcile_one_by_one_seconds": each * n,
        "reconcile_ratio": each * n / poll,
    }


def remember_figures(campaign: Campaign, home: Path, n: int) -> dict[str, Any]:
    """Memory and time that finished calculations cost a driver, against their documents."""
    campaign.store.plan(calculations("m", n, CalculationState.VALID))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(1, context) as other:
        own = one.submit(memory_of_book, home, n).result()
        naive = other.submit(memory_of_documents, home).result()
    return {
        "remember_calculations": n,
        "remember_mib": own["mib"],
        "remember_documents_mib": naive,
        "remember_ratio": naive / own["mib"],
        "driver_mib": own["driver_mib"],
        "first_read_seconds": own["first"],
        "reread_seconds": own["again"],
    }


def memory_of_book(home: Path, n: int) -> dict[str, float]:
    """Read all calculations as a driver does; MiB that it adds, MiB altogether, seconds."""
    ids = [c.id for c in calculations("m", n)]
    with open_campaign(load_campaign(str(home.parent / "overhead.yaml")), home) as campaign:
        campaign.store.calculations(ids=ids[:1])
        before = psutil.Process().memory_info().rss
        book = Book(campaign.store)
        started = time.perf_counter()
        book.refresh(ids)
        first = time.perf_counter() - started
        after = psutil.Process().memory_info().rss
        time.sleep(REREAD_SECONDS)
        started = time.perf_counter()
        book.refresh(ids)
        again = time.perf_counter() - started
    return {"mib": (after - before) / MIB, "driver_mib": after / MIB, "first": first, "again": again}


def memory_of_documents(home: Path) -> float:
    """MiB that the store's documents take as they are."""
    with open_campaign(load_campaign(str(home.parent / "overhead.yaml")), home) as campaign:
        from pipeline.store import documents

        collection = campaign.store._collection(documents.CalculationDocument)
        collection.find_one({})
        before = psutil.Process().memory_info().rss
        held = list(collection.find({"_id": {"$regex": "^calc-m"}}))
        after = psutil.Process().memory_info().rss
        assert held
    return float(after - before) / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submit", type=int, default=1000)
    parser.add_argument("--reconcile", type=int, default=5000)
    parser.add_argument("--remember", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        (folder / "overhead.yaml").write_text(CAMPAIGN)
        home = folder / "home"
        settings = load_campaign(str(folder / "overhead.yaml"))
        with slurm_cluster(folder / "slurm"), open_campaign(settings, home) as campaign:
            report = submit_figures(campaign, options.submit)
            report |= reconcile_figures(campaign, options.reconcile)
            report |= remember_figures(campaign, home, options.remember)
    if not options.json:
        for key, value in report.items():
            print(f"{key:30} {value:.3f}" if isinstance(value, float) else f"{key:30} {value}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
