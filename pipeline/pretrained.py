"""What a pretrained potential says of some sites before, and beside, any calculation of the campaign.

With ``surrogate.pretrained`` a shortlist of sites gets a ΔE of every adsorbate from the potential
(:mod:`dft.pretrained`): ``surrogate.pretrained_sites`` of them, one environment of each crystal first, then a
second one, and so on. Slabs are as they are cut at the reference lattice, unrelaxed.

The energies are kept in the campaign's home, a JSON document a line, and never computed again. Lines are
written when a surface is done: a driver may be killed at any time, and a line that it left unfinished is no
line. Several drivers at once do it twice and come to the same. Units: eV.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import defaultdict
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import ExecutionError
from dft import pretrained
from pipeline.ends import Drained
from pipeline.enumeration import SITES
from pipeline.structures.adsorbates import place
from pipeline.structures.slabs import build_slab

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from pipeline.batch import Watch
    from pipeline.campaign import Campaign
    from pipeline.domain import Candidate
    from surrogate.transfer import Source

NICE = 5
"""What the processes add to their niceness: whoever works on this machine comes first."""
NOTICE_SECONDS = 20.0
"""Time between two notices of how far it is."""
MAX_PROCESSES = 4
"""Enough for a shortlist, and few enough for a login node."""


def compute(campaign: Campaign, watch: Watch, load: Callable[[], Calculator] = pretrained.load) -> None:
    """Compute what is missing of the shortlist, in other processes.

    Parameters
    ----------
    watch
        Told how far it is; its drain ends this after the surfaces that are under way.
    load
        Loads the potential in each process.

    Raises
    ------
    MissingExtraError
        If something is missing and the potential is not installed.
    Drained
        If the driver was asked to stop.
    ExecutionError
        If one of the processes was killed.
    """
    wanted = missing(campaign)
    if not wanted:
        return
    who = pretrained.label() if load is pretrained.load else load.__name__
    by_surface: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in wanted:
        by_surface[candidate.site.surface_id].append(candidate)
    watch.on_notice(f"{who}: ΔE of {len(wanted)} sites on {len(by_surface)} surfaces")
    tasks = [_task(campaign, surface, candidates) for surface, candidates in by_surface.items()]
    told, done = time.monotonic(), 0
    try:
        with _appending(_energies_file(campaign)) as append:
            for rows in _answers(tasks, load):
                append([{**row, "potential": who} for row in rows])
                done += len(rows)
                if watch.is_draining():
                    break
                if time.monotonic() - told > NOTICE_SECONDS:
                    told = time.monotonic()
                    watch.on_notice(f"{who}: {done} of {len(wanted)} sites")
    except BrokenExecutor as error:
        if not watch.is_draining():
            message = f"{who}: a process was killed, for want of memory perhaps; the next run goes on"
            raise ExecutionError(message) from error
    if done < len(wanted):
        message = f"{who}: {done} of {len(wanted)} sites are done; the next run goes on with the others"
        raise Drained(message)


def is_complete(campaign: Campaign) -> bool:
    """Tell whether every site of the shortlist was looked at; it is, where no potential is asked for."""
    if campaign.settings.surrogate.pretrained is None:
        return True
    return campaign.store.stage(campaign.name, SITES) is not None and not missing(campaign)


def sources(campaign: Campaign) -> dict[str, list[Source]]:
    """What the potential says, for each adsorbate of which it says something; each version by itself."""
    from surrogate.transfer import Source

    if campaign.settings.surrogate.pretrained is None:
        return {}
    known = read_energies(_energies_file(campaign))
    found: dict[str, list[Source]] = {}
    for name in campaign.settings.adsorbates:
        key = campaign.settings.species(name).key
        rows = defaultdict(list)
        for site in campaign.sites:
            delta_e, potential = known.get((site.id, key), (None, ""))
            if delta_e is not None:
                rows[potential].append((campaign.environments[site.id], delta_e, site.bulk_id))
        for potential, told in rows.items():
            environments, energies, bulks = zip(*told, strict=True)
            source = Source(potential, environments, np.array(energies), bulks)
            found.setdefault(name, []).append(source)
    return found


def missing(campaign: Campaign) -> list[Candidate]:
    """Candidates of the shortlist that were not looked at."""
    known = read_energies(_energies_file(campaign))
    keys = {name: campaign.settings.species(name).key for name in campaign.settings.adsorbates}
    return [c for c in campaign.shortlist if (c.site.id, keys[c.adsorbate]) not in known]


def shortlist(campaign: Campaign) -> list[Candidate]:
    """Candidates that the potential is asked about; with a larger number, the same ones and more."""
    settings = campaign.settings
    order = np.random.default_rng(settings.seed).permutation(len(campaign.sites))
    environments = [campaign.environments[campaign.sites[i].id].canonical() for i in order]
    bulks = [campaign.sites[i].bulk_id for i in order]
    # Environments that a crystal has not had yet come first, then one site of every crystal in turn.
    new_first = np.argsort(_occurrences(zip(bulks, environments, strict=True)), kind="stable")
    in_turn = new_first[np.argsort(_occurrences(bulks[i] for i in new_first), kind="stable")]
    wanted = {campaign.sites[order[i]].id for i in in_turn[: settings.surrogate.pretrained_sites]}
    return [c for c in campaign.candidates if c.site.id in wanted]


def _occurrences(labels: Iterable[Hashable]) -> list[int]:
    """How often each label occurs before its place."""
    seen: dict[Hashable, int] = defaultdict(int)
    counts = []
    for label in labels:
        counts.append(seen[label])
        seen[label] += 1
    return counts


# The file


def _energies_file(campaign: Campaign) -> Path:
    return campaign.home.path / "pretrained.jsonl"


def read_energies(path: Path) -> dict[tuple[str, str], tuple[float | None, str]]:
    """ΔE, eV, and the potential, by site id and adsorbate key; None where the potential gives none."""
    if not path.is_file():
        return {}
    found: dict[tuple[str, str], tuple[float | None, str]] = {}
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            said = row["delta_e_ev"], row["potential"]
            found.setdefault((row["site"], row["adsorbate"]), said)
        except (ValueError, KeyError, TypeError):
            continue  # unfinished
    return found


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Open the file to append rows, on a line of their own even if a killed driver left half of one."""
    # Unbuffered: what one driver appends is one write, and lines of two drivers do not mix.
    with path.open("a+b", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")

        def append(rows: list[dict[str, Any]]) -> None:
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))

        yield append


# In the other processes


def _answers(tasks: list[dict[str, Any]], load: Callable[[], Calculator]) -> Iterator[list[dict[str, Any]]]:
    """Rows of each surface, from processes that have loaded the potential."""
    n = min(MAX_PROCESSES, len(os.sched_getaffinity(0)), len(tasks))
    with ProcessPoolExecutor(n, get_context("spawn"), _prepare, (load,)) as pool:
        try:
            yield from pool.map(_surface, tasks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare(load: Callable[[], Calculator]) -> None:
    """Load the potential; leave Ctrl-C to the driver, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    driver = parent_process()
    if driver is not None:

        def follow() -> None:
            driver.join()
            os._exit(1)  # the pool's own loop would wait for ever

        threading.Thread(target=follow, daemon=True).start()
    _loaded.update(calculator=load(), gases={})


_loaded: dict[str, Any] = {}
"""The potential of this process, and the energies of the gases with it."""


def _task(campaign: Campaign, surface_id: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Build the slab and adslabs of one surface, as plain values for another process."""
    surface = campaign.surface(surface_id)
    slab = build_slab(surface, 1.0, campaign.settings.surfaces)
    sites = []
    for candidate in candidates:
        species = campaign.settings.species(candidate.adsorbate)
        adslab = place(slab, surface, candidate.site, species, 1.0)
        sites.append((candidate.site.id, species.key, adslab, dict(species.reference)))
    return {"slab": slab, "sites": sites}


def _surface(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """ΔE of the sites of one surface."""
    calculator, slab = _loaded["calculator"], task["slab"]
    slab_energy: float | None = None
    rows = []
    for site, adsorbate, adslab, reference in task["sites"]:
        delta_e = None
        if not pretrained.unknown_elements(calculator, adslab.get_chemical_symbols()):
            if slab_energy is None:
                slab_energy = pretrained.energy(slab, calculator)
            delta_e = _delta_e(adslab, calculator, slab_energy, reference)
        rows.append({"site": site, "adsorbate": adsorbate, "delta_e_ev": delta_e})
    return rows


def _delta_e(
    adslab: Atoms, calculator: Calculator, slab_energy: float, reference: Mapping[str, float]
) -> float | None:
    gases = _loaded["gases"]
    for molecule in reference:
        if molecule not in gases:
            gases[molecule] = pretrained.gas_energy(molecule, calculator)
    counted_from = pretrained.reference_energy(reference, gases)
    return pretrained.adsorption_energy(adslab, calculator, slab_energy, counted_from)
