"""How many calculations it saves a campaign to begin with an idea of ΔE: replays from zero labels.

The pool is the hydrogen of GASpy's whole structures (:mod:`benchmarks.structures`; RPBE), or with ``--sets``
one of :mod:`benchmarks.reference_data`, where there is no structure for a potential to look at. Every replay
begins with nothing computed and asks for a batch at a time:

- ``constant``: the surrogate with the prior of the adsorbate alone; the first batch is a spread.
- ``elements``: it also has the published ΔE of pure metals (:mod:`surrogate.published`).
- ``pretrained``: it also has the pretrained potential's ΔE of ``--shortlist`` sites (extra ``mlip``).
- a name with ``+metals``: the first batch begins with a site on each pure metal, as that of a campaign does.
- a name with ``+spread``: what the surrogate would choose of the first batch is a spread all the same.

    python benchmarks/cold_start.py --data DIR [--cache FILE] [--shortlist N] [--strategies constant,...]
        [--labels 0,10,20,50,100] [--batch 10] [--first 10] [--seeds 5] [--sets gaspy_h,gaspy_co]

Every seed draws its pool: a share of the bulks, with all their sites. ``rank`` is Spearman's correlation of
predicted and true ΔE over the sites not yet computed, ``hits`` how many of those computed lie within 0.10 eV
of the target, ``labels_to_hits`` how many labels it took to find so many. Numbers of labels
at which no batch ends, or that leave no site of a pool, are left out. ``--cache`` keeps the potential's
energies. The last line is JSON. Exits with 2 when data are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.published_rows import READERS
from benchmarks.reference_data import demand, listed, numbers
from benchmarks.replay import pool_of
from benchmarks.structures import FILE, labelled, pretrained_energies, read_structures
from config.errors import MissingExtraError
from surrogate.acquisition import Candidates, choose
from surrogate.models import AdsorptionSurrogate
from surrogate.published import published
from surrogate.seeding import choose_seed
from surrogate.sites import environment_labels
from surrogate.transfer import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.reference_data import Labelled
    from surrogate.replay import Pool

STRATEGIES = ("constant", "elements", "pretrained")
MILESTONES = (5, 10, 20)
POOL_SHARE = 0.8


@dataclass(frozen=True)
class World:
    """A pool and what may be known of it beforehand."""

    data: Labelled
    pool: Pool
    guesses: NDArray[np.float64] | None
    """ΔE of the potential, NaN where it gives none; None without the extra."""

    def part(self, seed: int) -> World:
        """Draw the pool of one seed."""
        bulks = np.random.default_rng([seed, 2]).permutation(np.unique(self.data.bulks))
        rows = np.flatnonzero(np.isin(self.data.bulks, bulks[: round(POOL_SHARE * len(bulks))]))
        data = self.data.part(rows)
        return World(data, pool_of(data), None if self.guesses is None else self.guesses[rows])

    def is_pure(self) -> NDArray[np.bool_]:
        """Sites that see one element only, of shape (n_sites,)."""
        elements = [{s for shell in e.canonical() for s, _ in shell} for e in self.data.environments]
        return np.array([len(found) == 1 for found in elements])

    def asked(self, n: int, seed: int) -> list[Source]:
        """What the potential says of so many sites."""
        assert self.guesses is not None
        order = np.random.default_rng([seed, 1]).permutation(len(self.data))
        rows = order[np.isfinite(self.guesses[order])][:n]
        environments, _ = self.data.take(rows)
        return [Source("pretrained", environments, self.guesses[rows], self.data.bulks[rows].tolist())]


def replayed(world: World, strategy: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One campaign from nothing."""
    rng = np.random.default_rng(seed)
    name, *manners = strategy.split("+")
    pool, known, batch = world.pool, np.zeros(0, dtype=np.int64), options.batch
    asked = world.asked(options.shortlist, seed) if name == "pretrained" else []
    alike = (pool.surfaces, environment_labels(pool.environments))
    looks = [n for n in options.labels if n < len(pool)]
    told: dict[str, dict[str, float]] = {}
    while True:
        surrogate = AdsorptionSurrogate(world.data.adsorbate)
        environments, energies = world.data.take(known)
        bulks = world.data.bulks[known].tolist()
        table = [] if name == "constant" else published(world.data.adsorbate, len(known))
        surrogate.fit(environments, energies, bulks, [*table, *asked])
        mean, std = surrogate.predict(pool.environments)
        left = np.setdiff1d(np.arange(len(pool)), known)
        if len(known) in looks:
            told[str(len(known))] = {
                "rank": _rank(mean[left], pool.delta_e[left]),
                "mae_ev": float(np.abs(mean[left] - pool.delta_e[left]).mean()),
                "coverage_90": float((np.abs(mean[left] - pool.delta_e[left]) < 1.645 * std[left]).mean()),
                "hits": float(pool.is_hit[known].sum()),
            }
        if len(known) >= max(looks, default=0):
            break
        size = min(batch if len(known) else options.first, max(looks) - len(known))
        spread = first_batch(world, name, manners, size, rng) if not len(known) else known[:0]
        is_known = np.zeros(len(pool), dtype=bool)
        is_known[known] = is_known[spread] = True
        candidates = Candidates(
            mean, std, pool.target, pool.window, is_known, alike, freedom=surrogate.calibration_.freedom
        )
        likely = choose("hit_probability", candidates, n=size - len(spread), rng=rng)
        known = np.concatenate([known, spread, likely])
    found = np.cumsum(pool.is_hit[known])
    told["labels_to_hits"] = {
        str(k): float(np.searchsorted(found, k) + 1) if found.max(initial=0) >= k else float("nan")
        for k in MILESTONES
    }
    return told


def first_batch(
    world: World, name: str, manners: list[str], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """What of the first batch is not left to the surrogate."""
    is_metal = world.is_pure() & ("metals" in manners)
    metals = {world.data.environments[i].first_shell[0][0] for i in np.flatnonzero(is_metal)}
    is_spread = "spread" in manners or name == "constant"
    return choose_seed(world.pool.environments, is_metal, size if is_spread else min(size, len(metals)), rng)


def _rank(mean: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Spearman's correlation; 0 where all predictions are equal."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(mean) < 1e-9 else float(spearmanr(mean, truth).statistic)


def averaged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds; a milestone that a run did not reach leaves none."""
    return {
        part: {
            key: {
                "mean": float(np.mean([run[part][key] for run in runs])),
                "std": float(np.std([run[part][key] for run in runs])),
            }
            for key in runs[0][part]
        }
        for part in runs[0]
        if all(part in run for run in runs)  # pools differ in size
    }


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        f"{n:>4s}: {of['rank']['mean']:5.2f} {of['hits']['mean']:5.1f} ± {of['hits']['std']:3.1f}"
        for n, of in found.items()
        if n != "labels_to_hits"
    ]
    steps = "  ".join(f"{k}: {v['mean']:5.1f}" for k, v in found["labels_to_hits"].items())
    return f"  {name:20s}" + "  ".join(cells) + f"   labels to hits {steps}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Campaigns from zero labels")
    parser.add_argument("--data", type=Path, required=True, help="folder with the reference data")
    parser.add_argument("--sets", type=listed, default=[], help=f"instead: {', '.join(READERS)}")
    parser.add_argument("--strategies", type=listed, default=list(STRATEGIES))
    parser.add_argument(
        "--labels", type=numbers, default=numbers("0,10,20,50,100"), help="numbers of labels to look at"
    )
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--first", type=int, default=10, help="size of the first batch")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shortlist", type=int, default=300, help="sites that the potential looks at")
    parser.add_argument("--cache", type=Path, help="where the potential's energies are kept between runs")
    options = parser.parse_args()
    unknown = {name.partition("+")[0] for name in options.strategies} - set(STRATEGIES)
    if unknown:
        parser.error(f"unknown strategy {', '.join(sorted(unknown))}; known: {', '.join(STRATEGIES)}")
    results = {}
    for data, guesses in _worlds(options):
        world = World(data, pool_of(data), guesses)
        print(f"{data.name}: {len(data)} sites, {int(world.pool.is_hit.sum())} hits")
        print("  after so many labels: rank correlation, hits")
        results[data.name] = {}
        for name in options.strategies:
            if guesses is None and name.startswith("pretrained"):
                continue
            runs = [replayed(world.part(seed), name, options, seed) for seed in range(options.seeds)]
            results[data.name][name] = averaged(runs)
            print(row(name, results[data.name][name]), flush=True)
    print(json.dumps({"benchmark": "cold_start", "seeds": options.seeds, "results": results}))
    return 0


def _worlds(options: argparse.Namespace) -> list[tuple[Labelled, NDArray[np.float64] | None]]:
    """Read the pools, each with what the potential says of it."""
    if options.sets:
        return [(data, None) for data in demand(options.data, options.sets).values()]
    if not (options.data / FILE).is_file():
        print(f"cannot run: {options.data} lacks {FILE}", file=sys.stderr)
        sys.exit(2)
    structures = read_structures(options.data)
    data = labelled(structures)
    try:
        found = pretrained_energies(structures, options.cache)
    except MissingExtraError as error:
        print(f"without the pretrained potential: {error}")
        return [(data, None)]
    for where in ("seated", "relaxed"):
        given = np.isfinite(found[where])
        off = data.delta_e[given] - found[where][given]
        print(
            f"potential, hydrogen {where}: {given.sum()} sites, rank "
            f"{_rank(found[where][given], data.delta_e[given]):.2f}, mean absolute error after one offset "
            f"({np.median(off):+.2f} eV) {np.abs(off - np.median(off)).mean():.3f} eV"
        )
    print(f"  {found['cpu_seconds_per_site']:.2f} CPU-s a site")
    return [(data, found["seated"])]


if __name__ == "__main__":
    sys.exit(main())
