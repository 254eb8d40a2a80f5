"""ΔE of H and CO on the (111) faces of seven metals against published values.

Surfaces, sites, slabs, starting structures and verdicts are the pipeline's own, the lattice constant is that
of the recipe. Every calculation is a job directory under ``--home``, laid out as in a campaign, and is
shared by the rows that need it. What is finished is not done again: a run that was interrupted, or that
asks for more metals, goes on where the last one stopped, an interrupted relaxation at its last frame. Rows
that have not been computed are listed as such; the figures are over those that have. Sources of the
values: see :data:`SOURCES`. Units: eV, Å, CPU-seconds.

Usage: ``python -m benchmarks.literature --home DIR [--recipe NAME] [--size NAME] [--metals Cu,Pd]
[--adsorbates H,CO] [--cores N] [--plan | --report] [--json]``; ``--plan`` prints what is left and its
estimated cost, ``--report`` the table as it stands. The last line is one JSON object with ``mad_ev``,
``bias_ev`` and ``rank_correlation`` (Spearman). Exits with 1 when nothing could be computed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config.campaign import BulkSelection, CampaignSettings
from config.loader import load_recipe
from dft.jobs import CalculationKind, read_claim, read_result, write_job
from pipeline.candidates import Planner
from pipeline.harvest import Judge
from pipeline.home import CampaignHome
from pipeline.materialise import Materialiser
from pipeline.structures.bulks import load_bulks
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.surfaces import enumerate_surfaces

if TYPE_CHECKING:
    from dft.jobs import JobResult
    from pipeline.domain import Bulk, Calculation, Site, Surface

BULKS = {
    "Cu": "mp-30", "Ag": "mp-124", "Au": "mp-81", "Pd": "mp-2", "Pt": "mp-126", "Ni": "mp-23", "Al": "mp-134",
}  # fmt: skip
"""Metal -> entry of the built-in library."""
SITES = {
    "H": dict.fromkeys(BULKS, "fcc"),
    "CO": {**dict.fromkeys(BULKS, "top"), "Ni": "fcc", "Pd": "fcc"},
}
"""Site that each row is computed on: where experiments find the adsorbate at low coverage (for Al, the site
of the other sp-like metals). RPBE puts CO on Cu and Pt into the hollow by some hundredths of an eV."""
SIZES: Mapping[str, Mapping[str, float]] = {
    "tiny": {"min_height_a": 4.0, "min_lateral_a": 2.0, "vacuum_a": 8.0, "free_depth_a": 0.0},
    "small": {"min_height_a": 4.0, "min_lateral_a": 4.5, "vacuum_a": 9.0, "free_depth_a": 0.0},
    "full": {"min_height_a": 6.0, "min_lateral_a": 4.5, "vacuum_a": 12.0, "free_depth_a": 3.0},
}
"""``tiny``: 1x1, three layers held fixed, to try the plumbing. ``small``: 2x2 (1/4 ML, as in the
publications), three layers held fixed. ``full``: 2x2, four layers, two free."""
RESTS_S = 2.0
"""Between looks at what runs."""
SAME_PROCESS_S = 1.0


@dataclass(frozen=True)
class Source:
    """Where values come from; ``values`` by adsorbate and metal, eV."""

    citation: str
    doi: str
    what: str
    """Functional, cell and coverage, site."""
    values: Mapping[str, Mapping[str, float]] = field(repr=False)


SOURCES: Mapping[str, Source] = {
    "norskov2005": Source(
        "J. K. Nørskov et al., J. Electrochem. Soc. 152, J23 (2005), Table I",
        "10.1149/1.1856988",
        "RPBE (DACAPO), fcc(111), 3 layers, 1/4 ML, most stable site; no value for Al",
        {"H": {"Cu": -0.05, "Ag": 0.27, "Au": 0.21, "Pd": -0.38, "Pt": -0.33, "Ni": -0.51}},
    ),
    "mamun2019": Source(
        "O. Mamun et al., Sci. Data 6, 76 (2019), Catalysis-Hub",
        "10.1038/s41597-019-0080-z",
        "BEEF-vdW (Quantum ESPRESSO), fcc(111), 2x2, 3 layers, 1/4 ML, lowest site (top on Pt, else fcc)",
        {"H": {"Au": 0.32, "Pd": -0.29, "Pt": -0.31}},
    ),
    "falsig2008": Source(
        "H. Falsig et al., Angew. Chem. Int. Ed. 47, 4835 (2008), as CatMAP tabulates it (tests/config/"
        "CO_oxidation/energies.txt; Medford et al., Catal. Lett. 145, 794 (2015)) less 2.74 eV of its CO(g)",
        "10.1002/anie.200801479",
        "RPBE (DACAPO), fcc(111); coverage and site are not in the table; read at second hand",
        {"CO": {"Cu": -0.16, "Ag": 0.25, "Au": 0.30, "Pd": -1.19, "Pt": -1.04, "Ni": -1.11}},
    ),
    "experiment": Source(
        "J. Wellendorff et al., Surf. Sci. 640, 36 (2015), as S. M. Sharada et al., Phys. Rev. B 100, 035439 "
        "(2019), Table I, gives it less the PBE zero-point energy; half of H2 -> 2 H*",
        "10.1016/j.susc.2015.03.023",
        "single-crystal calorimetry and desorption, fcc(111), about 1/4 ML; no functional",
        {
            "H": {"Pd": -0.465, "Pt": -0.375, "Ni": -0.52},
            "CO": {"Cu": -0.59, "Pd": -1.49, "Pt": -1.29, "Ni": -1.29},
        },
    ),
}
"""Left out for want of a value that could be checked: anything for Al, and RPBE values of Hammer, Hansen and
Nørskov, Phys. Rev. B 59, 7413 (1999), and of Gajdoš et al., J. Phys.: Condens. Matter 16, 1141 (2004)."""


class Files:
    """What :class:`Materialiser` and :class:`Judge` ask of a store, from memory and the job directories."""

    def __init__(self, home: CampaignHome) -> None:
        self.home = home
        self.planned: dict[str, Calculation] = {}
        self.bulks: dict[str, Bulk] = {}
        self.surfaces: dict[str, Surface] = {}
        self.all_sites: dict[str, Site] = {}

    def bulk(self, _campaign: str, identifier: str) -> Bulk:
        """As ``Store.bulk``."""
        return self.bulks[identifier]

    def surface(self, _campaign: str, identifier: str) -> Surface:
        """As ``Store.surface``."""
        return self.surfaces[identifier]

    def site(self, _campaign: str, identifier: str) -> Site:
        """As ``Store.site``."""
        return self.all_sites[identifier]

    def sites(self, _campaign: str, surface_id: str) -> list[Site]:
        """As ``Store.sites``."""
        return [site for site in self.all_sites.values() if site.surface_id == surface_id]

    def result(self, identifier: str) -> JobResult | None:
        """Result of the newest attempt; None while there is none."""
        attempt = self.home.last_attempt(identifier)
        return read_result(self.home.job_dir(identifier, attempt)) if attempt else None

    def calculations(
        self, ids: Iterable[str], kinds: Iterable[CalculationKind] = tuple(CalculationKind)
    ) -> list[Calculation]:
        """As ``Store.calculations``."""
        chosen = [self.planned[i] for i in ids if self.planned[i].kind in set(kinds)]
        return [self.as_it_stands(calculation) for calculation in chosen]

    def as_it_stands(self, calculation: Calculation) -> Calculation:
        """Add attempt and energy to a planned calculation."""
        result = self.result(calculation.id)
        attempt = self.home.last_attempt(calculation.id)
        return replace(calculation, attempt=attempt, energy=result.energy if result else None)

    def save_observation(self, _observation: Any) -> None:
        """The table is all that this benchmark keeps."""


@dataclass(frozen=True)
class Row:
    """One adsorption energy that is wanted."""

    metal: str
    adsorbate: str
    site: Site
    calculations: tuple[Calculation, ...]
    """All that it takes, prerequisites first, the adslab last."""


class Benchmark:
    """The rows of one recipe and size, and how far they have come."""

    def __init__(self, home: Path, recipe: str, size: str, metals: list[str], adsorbates: list[str]) -> None:
        self.home = CampaignHome(home)
        self.files = Files(self.home)
        self.settings = CampaignSettings(
            name=f"literature-{recipe}-{size}",
            bulks=BulkSelection(ids=tuple(BULKS[metal] for metal in metals)),
            surfaces={"miller_indices": ((1, 1, 1),), **SIZES[size]},
            adsorbates={name: {} for name in adsorbates},
            recipe=load_recipe(recipe),
        )
        self.materialiser = Materialiser(self.files, self.settings)
        self.rows = [row for bulk in load_bulks(self.settings.bulks, Path()) for row in self._rows(bulk)]
        self.planned = self.files.planned

    def _rows(self, bulk: Bulk) -> Iterator[Row]:
        (surface,) = enumerate_surfaces(bulk, self.settings.surfaces)
        sites = enumerate_sites(surface)
        self.files.bulks[bulk.id] = bulk
        self.files.surfaces[surface.id] = surface
        self.files.all_sites.update({site.id: site for site in sites})
        hcp, fcc = (site for site in sites if site.kind == "hollow")  # hcp comes first
        named = {"hcp": hcp, "fcc": fcc} | {site.kind: site for site in sites if site.kind != "hollow"}
        planner = Planner(self.settings)
        for candidate in planner.candidates(sites):
            wanted = named[SITES[candidate.adsorbate][bulk.formula]]
            if candidate.site.id == wanted.id:
                calculations = tuple(planner.calculations(candidate, surface, bulk))
                self.files.planned.update({c.id: c for c in calculations})
                yield Row(bulk.formula, candidate.adsorbate, wanted, calculations)

    def left(self) -> list[Calculation]:
        """Calculations without a result, prerequisites first."""
        return [c for c in self.planned.values() if self.files.result(c.id) is None]

    def estimate(self, calculation: Calculation) -> float:
        """Expected CPU-seconds of a calculation."""
        from pipeline.estimate import expected_cpu_seconds

        return expected_cpu_seconds(calculation, self.settings, self.files.bulks, self.files.surfaces)

    def compute(self, cores: int) -> None:
        """Compute what is left, so many jobs at once, until nothing more can start."""
        running: dict[str, subprocess.Popen[bytes] | None] = {}
        while True:
            running = {i: process for i, process in running.items() if self._is_running(i, process)}
            ready = [c for c in self.left() if c.id not in running and self._is_ready(c)]
            for calculation in ready[: cores - len(running)]:
                running[calculation.id] = self._start(calculation)
            if not running:
                return
            time.sleep(RESTS_S)

    def _is_ready(self, calculation: Calculation) -> bool:
        required = [self.files.result(i) for i in calculation.requires]
        return all(result is not None and result.energy is not None for result in required)

    def _is_running(self, identifier: str, process: subprocess.Popen[bytes] | None) -> bool:
        if process is not None:
            return process.poll() is None
        return _lives(self.home.job_dir(identifier, self.home.last_attempt(identifier)))

    def _start(self, calculation: Calculation) -> subprocess.Popen[bytes] | None:
        """Start the next attempt, which goes on from the last; None if that one still runs somewhere."""
        last = self.home.last_attempt(calculation.id)
        if last and _lives(self.home.job_dir(calculation.id, last)):
            return None
        spec = self.materialiser.job_spec(calculation, last + 1)
        spec = spec.model_copy(update={"cores": 1, "restart_from": f"attempt-{last}" if last else None})
        folder = self.home.job_dir(calculation.id, last + 1)
        write_job(folder, spec)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (folder / "job.out").open("ab") as out:
            command = [sys.executable, "-m", "dft.worker", str(folder)]
            root = Path(__file__).resolve().parent.parent
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=root)

    def outcome(self, row: Row) -> dict[str, Any]:
        """Where a row stands: its energy and verdict, or what is missing."""
        base = {"metal": row.metal, "adsorbate": row.adsorbate, "site": row.site.label}
        results = {c.id: self.files.result(c.id) for c in row.calculations}
        if failed := [r for r in results.values() if r is not None and r.energy is None]:
            return {**base, "state": f"failed: {failed[0].code}"}
        if None in results.values():
            done = sum(result is not None for result in results.values())
            return {**base, "state": f"not computed, {done} of {len(results)} calculations there"}
        adslab = self.files.as_it_stands(row.calculations[-1])
        judge = Judge(self.files, self.materialiser, self.home, {})
        verdict = judge.judge(adslab)
        end = self.files.all_sites[verdict.site_id].label if verdict.site_id else None
        return {
            **base,
            "state": verdict.code.value if verdict.code else "valid",
            "end_site": end,
            "delta_e_ev": judge.delta_e(adslab),
            "cpu_seconds": results[row.calculations[-1].id].cpu_seconds,
        }


def _lives(folder: Path) -> bool:
    """Whether the worker that took an attempt still runs on this machine."""
    claim = read_claim(folder) or {}
    try:
        process = psutil.Process(claim.get("pid", -1))
        return abs(process.create_time() - claim["create_time"]) < SAME_PROCESS_S
    except (psutil.Error, ValueError, KeyError):
        return False


def figures(outcomes: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Deviations by adsorbate and source, over the rows whose energy is that of a sound adslab."""
    from scipy.stats import spearmanr

    found: dict[str, dict[str, dict[str, Any]]] = {}
    pairs = itertools.product(sorted({o["adsorbate"] for o in outcomes}), SOURCES.items())
    for adsorbate, (name, source) in pairs:
        values = source.values.get(adsorbate, {})
        sound = [o for o in outcomes if o["adsorbate"] == adsorbate and o.get("end_site")]
        both = [(o["delta_e_ev"], values[o["metal"]]) for o in sound if o["metal"] in values]
        if not both:
            continue
        own, published = np.array(both).T
        # Two points always agree or disagree wholly.
        rank = float(spearmanr(own, published).statistic) if len(both) > 2 else None
        found.setdefault(adsorbate, {})[name] = {
            "n": len(both),
            "mad_ev": float(np.abs(own - published).mean()),
            "bias_ev": float((own - published).mean()),
            "rank_correlation": rank,
        }
    return found


def print_table(outcomes: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    print(f"{'':5s}{'':4s}{'site':28s}{'ΔE':>7s}" + "".join(f"{name:>13s}" for name in SOURCES) + "  state")
    for o in outcomes:
        energy = f"{o['delta_e_ev']:7.2f}" if "delta_e_ev" in o else " " * 7
        cells = [source.values.get(o["adsorbate"], {}).get(o["metal"]) for source in SOURCES.values()]
        published = "".join(" " * 13 if value is None else f"{value:13.2f}" for value in cells)
        site = o.get("end_site") or o["site"]
        print(f"{o['metal']:5s}{o['adsorbate']:4s}{site:28s}{energy}{published}  {o['state']}")
    for adsorbate, by_source in summary.items():
        for name, f in by_source.items():
            rank = "" if f["rank_correlation"] is None else f", rank correlation {f['rank_correlation']:.2f}"
            print(
                f"{adsorbate:3s} against {name:12s}{f['n']:2d} metals: mean absolute deviation "
                f"{f['mad_ev']:.2f} eV, mean deviation {f['bias_ev']:+.2f} eV{rank}"
            )
    for name, source in SOURCES.items():
        print(f"{name:12s} {source.citation}, doi:{source.doi}: {source.what}")


def print_plan(benchmark: Benchmark, cores: int) -> dict[str, Any]:
    """What is left and its estimated cost."""
    costs = {c.label: benchmark.estimate(c) for c in benchmark.left()}
    for label, seconds in costs.items():
        print(f"{label:44s}{seconds / 3600:8.2f} CPU-hours")
    hours = sum(costs.values()) / 3600
    print(f"{len(costs)} of {len(benchmark.planned)} calculations left: {hours:.1f} CPU-hours (estimated),")
    print(f"{hours / cores:.1f} hours on {cores} cores")
    return {"calculations_left": len(costs), "cpu_hours_left_estimated": hours}


def parse() -> SimpleNamespace:
    parser = argparse.ArgumentParser(description="H and CO on (111) faces against published values")
    parser.add_argument("--home", type=Path, required=True, help="folder of the job directories")
    parser.add_argument("--recipe", default="screening")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--metals", default=",".join(BULKS))
    parser.add_argument("--adsorbates", default=",".join(SITES))
    parser.add_argument("--cores", type=int, default=1, help="jobs at once, one core each")
    parser.add_argument("--plan", action="store_true", help="print what is left and its estimated cost")
    parser.add_argument("--report", action="store_true", help="print the table as it stands")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    options = parser.parse_args()
    for chosen, allowed in ((options.metals, BULKS), (options.adsorbates, SITES)):
        if unknown := set(chosen.split(",")) - set(allowed):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(allowed)}")
    return SimpleNamespace(**vars(options))


def main() -> int:
    options = parse()
    metals, adsorbates = options.metals.split(","), options.adsorbates.split(",")
    benchmark = Benchmark(options.home, options.recipe, options.size, metals, adsorbates)
    head = {"benchmark": "literature", "recipe": options.recipe, "size": options.size}
    if options.plan:
        print(json.dumps({**head, **print_plan(benchmark, options.cores)}))
        return 0
    if not options.report:
        benchmark.compute(options.cores)
    outcomes = [benchmark.outcome(row) for row in benchmark.rows]
    summary = figures(outcomes)
    if not options.json:
        print_table(outcomes, summary)
    print(json.dumps({**head, "figures": summary, "rows": outcomes}))
    return 0 if any("delta_e_ev" in o for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
