"""ΔE of H and CO on the (111) faces of seven metals against published values.

CO is compared with Falsig et al. (2008) first, H with Nørskov et al. (2005); why, and what else there is:
see ``benchmarks/literature_values.py``.

The rows are the given adslabs of a campaign (``pipeline/given.py``): its home, store, ledger, back-end,
verdicts and job directories are those of any campaign, and ``sabatier status --home DIR`` tells how far it
is. What is finished is not done again: a run that was interrupted, or that asks for more metals, goes on
where the last one stopped. Rows that have not been computed are listed as such; the figures are over those
that have. Units: eV, Å, CPU-seconds.

Usage: ``python -m benchmarks.literature --home DIR [--recipe NAME] [--size NAME] [--metals Cu,Pd]
[--adsorbates H,CO] [--cores N] [--plan | --report] [--json]``; ``--plan`` prints what is left and its
estimated cost, ``--report`` the table as it stands, without computing. The last line is one JSON object with
``mad_ev``, ``bias_ev`` and ``rank_correlation`` (Spearman). Exits with 1 when nothing could be computed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.literature_values import SOURCES, TARGETS, sets_apart
from config.campaign import BulkSelection, CampaignSettings
from config.errors import SabatierError
from config.loader import load_recipe
from dft.codes import FailureCode
from dft.jobs import RESULT_FILE, read_claim
from pipeline import batch
from pipeline.attempts import declare_lost, unused_energy
from pipeline.campaign import Campaign
from pipeline.candidates import Planner
from pipeline.domain import BROKEN, TERMINAL
from pipeline.drivers import heartbeat
from pipeline.ends import Drained, Held
from pipeline.estimate import expected_cpu_seconds
from pipeline.given import close_given, plan_given
from pipeline.harvest import Judge
from pipeline.home import CampaignHome
from pipeline.store import open_store
from pipeline.store.records import Selection
from pipeline.structures.bulks import load_bulks
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.surfaces import enumerate_surfaces
from tasks.cli.driving import Drain, Notices, register, signals_to

if TYPE_CHECKING:
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
NO_LIMIT = 1.0e6
"""CPU-hours of the table; minutes of a job, which nobody waits for."""
SAME_PROCESS_S = 1.0
"""Two processes of one number that started within it are one."""


@dataclass(frozen=True)
class Row:
    """One adsorption energy that is wanted."""

    metal: str
    adsorbate: str
    site: Site
    calculations: tuple[Calculation, ...]
    """All that it takes, prerequisites first, the adslab last."""

    @property
    def adslab(self) -> str:
        """Id of the calculation that answers it."""
        return self.calculations[-1].id


@dataclass(frozen=True)
class Table:
    """The rows of one recipe and size, with the crystals, faces and sites that they are of."""

    settings: CampaignSettings
    """Alike whichever rows are wanted, so that a home may be asked for more."""
    rows: tuple[Row, ...]
    bulks: Mapping[str, Bulk]
    surfaces: Mapping[str, Surface]
    sites: Mapping[str, Site]

    @property
    def calculations(self) -> dict[str, Calculation]:
        """Every calculation by id, prerequisites first."""
        return {c.id: c for row in self.rows for c in row.calculations}


def make_table(recipe: str, size: str, metals: list[str], adsorbates: list[str], cores: int) -> Table:
    settings = CampaignSettings(
        name=f"literature-{recipe}-{size}",
        bulks=BulkSelection(ids=tuple(BULKS.values())),
        surfaces={"miller_indices": ((1, 1, 1),), **SIZES[size]},
        adsorbates={name: {} for name in SITES},
        recipe=load_recipe(recipe),
        budget={"calculations": len(BULKS) * len(SITES), "rounds": 0, "cpu_hours": NO_LIMIT},
        execution={"backend": "local", "cores": cores, "timeout_minutes": NO_LIMIT},
    )
    bulks = load_bulks(BulkSelection(ids=tuple(BULKS[metal] for metal in metals)), Path())
    surfaces = {bulk.id: enumerate_surfaces(bulk, settings.surfaces)[0] for bulk in bulks}
    sites = {bulk.id: enumerate_sites(surfaces[bulk.id]) for bulk in bulks}
    rows = [row for bulk in bulks for row in _rows(settings, bulk, surfaces[bulk.id], sites[bulk.id])]
    return Table(
        settings,
        tuple(row for row in rows if row.adsorbate in adsorbates),
        {bulk.id: bulk for bulk in bulks},
        {surface.id: surface for surface in surfaces.values()},
        {site.id: site for found in sites.values() for site in found},
    )


def _rows(settings: CampaignSettings, bulk: Bulk, surface: Surface, sites: list[Site]) -> Iterator[Row]:
    hcp, fcc = (site for site in sites if site.kind == "hollow")  # hcp comes first
    named = {"hcp": hcp, "fcc": fcc} | {site.kind: site for site in sites if site.kind != "hollow"}
    planner = Planner(settings)
    for candidate in planner.candidates(sites):
        wanted = named[SITES[candidate.adsorbate][bulk.formula]]
        if candidate.site.id == wanted.id:
            calculations = planner.calculations(candidate, surface, bulk)
            yield Row(bulk.formula, candidate.adsorbate, wanted, tuple(calculations))


@dataclass(frozen=True)
class TableCampaign(Campaign):
    """A campaign that computes the rows of a table and chooses nothing itself."""

    table: Table = field(kw_only=True)

    def chosen_ids(self) -> list[str]:
        """Adslabs of the rows that are asked for now."""
        return [row.adslab for row in self.table.rows]


@contextmanager
def opened(table: Table, path: Path) -> Iterator[TableCampaign]:
    """Open the table's home and store, everything that it takes planned there."""
    home = CampaignHome(path.absolute())
    home.adopt(table.settings)
    with open_store(table.settings.store, home.path) as store:
        campaign = TableCampaign(table.settings, home, store, table=table)
        register(campaign)
        plan_given(
            campaign,
            bulks=list(table.bulks.values()),
            surfaces=list(table.surfaces.values()),
            sites=list(table.sites.values()),
            calculations=table.calculations.values(),
            selections=[Selection(row.adslab, row.site.id, row.adsorbate) for row in table.rows],
        )
        yield campaign
        close_given(campaign)


def compute(campaign: TableCampaign) -> None:
    """Bring all rows to their end; a first Ctrl-C waits for what runs and starts nothing more."""
    close_dead(campaign)
    drain, notices = Drain(), Notices()
    watch = batch.Watch(on_notice=notices, is_draining=lambda: drain.requested)
    with signals_to(drain), heartbeat(campaign.store, campaign.name, "benchmark"):
        try:
            batch.compute(campaign, watch, "the table", 1)
        except (Drained, Held) as end:
            notices(str(end))


def close_dead(campaign: TableCampaign) -> None:
    """Close attempts of workers that no back-end knows and that are gone; the next attempt goes on from them.

    Homes begun before this benchmark was a campaign may hold such; a back-end looks after its own.
    """
    for identifier, calculation in campaign.table.calculations.items():
        last = campaign.home.last_attempt(identifier)
        folder = campaign.home.job_dir(identifier, last)
        claim = read_claim(folder) or {}
        is_strange = claim.get("role") == "worker" and not claim.get("job_id")
        if is_strange and not (folder / RESULT_FILE).exists() and not _lives(claim):
            lost = replace(calculation, attempt=last)
            declare_lost(folder, lost, FailureCode.WORKER_LOST, "the worker vanished without a result")


def _lives(claim: Mapping[str, Any]) -> bool:
    """Whether the worker that made a claim still runs on this machine."""
    try:
        process = psutil.Process(claim["pid"])
        return abs(process.create_time() - claim["create_time"]) < SAME_PROCESS_S
    except (psutil.Error, KeyError):
        return False


def take_in(campaign: TableCampaign) -> None:
    """Take results into the store that only the job directories hold; nothing is computed.

    So a home without a store is reported, such as one whose jobs have been copied.
    """
    jobs = campaign.home.jobs
    ids = [i for i, c in campaign.table.calculations.items() if unused_energy(jobs / i, c) is not None]
    ledger = batch.Driver.of(campaign, batch.Watch()).ledger
    before = None
    while (counts := ledger.counts()) != before:
        before = counts
        ledger.step(ids)


def outcome(campaign: TableCampaign, row: Row) -> dict[str, Any]:
    """Where a row stands: its energy and verdict, or what is missing."""
    base = {"metal": row.metal, "adsorbate": row.adsorbate, "site": row.site.label}
    found = campaign.store.calculations(ids=[c.id for c in row.calculations])
    adslab = next(c for c in found if c.id == row.adslab)
    if adslab.energy is None:
        if failed := [c for c in found if c.state in BROKEN and c.code is not FailureCode.DEPENDENCY_FAILED]:
            return {**base, "state": f"failed: {failed[0].code}"}
        done = sum(c.state in TERMINAL for c in found)
        return {**base, "state": f"not computed, {done} of {len(found)} calculations there"}
    observed = campaign.store.observations(calculation_ids=[row.adslab])
    judge = Judge(campaign.store, campaign.materialiser, campaign.home, {})
    return {
        **base,
        "state": adslab.code.value if adslab.code else "valid",
        "end_site": campaign.table.sites[observed[0].site_id].label if observed else None,
        "delta_e_ev": judge.delta_e(adslab),
        "ensemble_std_ev": observed[0].ensemble_std_ev if observed else None,
        "warning": observed[0].warning if observed else "",
        "cpu_seconds": adslab.cpu_seconds,
    }


def figures(outcomes: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Deviations by adsorbate and source, over the rows whose energy is that of a sound adslab."""
    from scipy.stats import spearmanr

    found: dict[str, dict[str, dict[str, Any]]] = {}
    pairs = itertools.product(sorted({o["adsorbate"] for o in outcomes}), SOURCES)
    for adsorbate, name in sorted(pairs, key=lambda pair: (pair[0], pair[1] != TARGETS[pair[0]][0])):
        values = SOURCES[name].values.get(adsorbate, {})
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
            "target_mad_ev": TARGETS[adsorbate][1] if name == TARGETS[adsorbate][0] else None,
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
            target = f" (wanted: {f['target_mad_ev']:.2f})" if f["target_mad_ev"] else ""
            print(
                f"{adsorbate:3s} against {name:12s}{f['n']:2d} metals: mean absolute deviation "
                f"{f['mad_ev']:.2f} eV{target}, mean deviation {f['bias_ev']:+.2f} eV{rank}"
            )
        for pair, apart in sets_apart()[adsorbate].items():
            print(
                f"{adsorbate:3s} {pair} are {apart['mean_ev']:.2f} eV apart themselves, at most "
                f"{apart['max_ev']:.2f}, over {apart['n']} metals"
            )
    for name, source in SOURCES.items():
        print(f"{name:12s} {source.citation}, doi:{source.doi}: {source.what}")


def print_plan(table: Table, path: Path, cores: int) -> dict[str, Any]:
    """What is left and its estimated cost."""
    jobs = CampaignHome(path).jobs
    left = [c for i, c in table.calculations.items() if unused_energy(jobs / i, c) is None]
    seconds = [expected_cpu_seconds(c, table.settings, table.bulks, table.surfaces) for c in left]
    for calculation, each in zip(left, seconds, strict=True):
        print(f"{calculation.label:44s}{each / 3600:8.2f} CPU-hours")
    hours = sum(seconds) / 3600
    print(f"{len(left)} of {len(table.calculations)} calculations left: {hours:.1f} CPU-hours (estimated),")
    print(f"{hours / cores:.1f} hours on {cores} cores")
    return {"calculations_left": len(left), "cpu_hours_left_estimated": hours}


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
    table = make_table(options.recipe, options.size, metals, adsorbates, options.cores)
    head = {"benchmark": "literature", "recipe": options.recipe, "size": options.size}
    if options.plan:
        print(json.dumps({**head, **print_plan(table, options.home, options.cores)}))
        return 0
    with opened(table, options.home) as campaign:
        (take_in if options.report else compute)(campaign)
        outcomes = [outcome(campaign, row) for row in table.rows]
    summary = figures(outcomes)
    if not options.json:
        print_table(outcomes, summary)
    document = {**head, "figures": summary, "sets_apart": sets_apart(), "rows": outcomes}
    print(json.dumps(document))
    return 0 if any("delta_e_ev" in o for o in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SabatierError as error:
        sys.exit(f"literature: {error}")
