"""What it brings to choose only among the sites that may decide the fate of their surface.

Replays campaigns offline on GASpy's CO energies: 40 random sites are known, then 12 rounds of 20 are chosen
by hit probability, once among all sites and once among contenders (on each surface the site predicted
lowest, if predicted below what is known there; see ``surrogate.acquisition.contenders``). Surfaces with
fewer than three sites are left out. A surface is a hit if its lowest energy over *all* its sites lies in
the window.

    python benchmarks/contenders.py --data DIR [--seeds N] [--json]

The data's coordination is that of the relaxed geometry, which flatters both alike. The last line is JSON:
``hits_among_contenders``, ``hits_among_all``, ``hit_ratio``, each a mean over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.accuracy import _second_shell, _shell
from surrogate.acquisition import choose, contenders
from surrogate.models import AdsorptionSurrogate
from surrogate.sites import SiteEnvironment, environment_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET_EV, WINDOW_EV = -0.67, 0.10
N_START, N_ROUNDS, BATCH = 40, 12, 20
MIN_SITES = 3


class Pool:
    """Sites with their surfaces and hidden energies."""

    def __init__(self, path: Path) -> None:
        surfaces = defaultdict(list)
        with gzip.open(path, "rt") as handle:
            for row in csv.DictReader(handle):
                if abs(float(row["energy_eV"])) < 5:
                    shift = round(float(row["shift"]), 2)
                    surfaces[row["mpid"], row["h"], row["k"], row["l"], shift, row["top"]].append(row)
        kept = [rows for _, rows in sorted(surfaces.items()) if len(rows) >= MIN_SITES]
        self.surface = np.repeat(np.arange(len(kept)), [len(rows) for rows in kept])
        rows = [row for group in kept for row in group]
        self.energy = np.array([float(row["energy_eV"]) for row in rows])
        self.environments = [SiteEnvironment(_shell(r["coordination"]), _second_shell(r)) for r in rows]
        self.labels = environment_labels(self.environments)
        self.lowest = self.lowest_of(np.arange(len(rows)))

    def lowest_of(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Lowest energy among some sites on each surface; infinity where there is none."""
        lowest = np.full(self.surface.max() + 1, np.inf)
        np.minimum.at(lowest, self.surface[indices], self.energy[indices])
        return lowest


def replay(pool: Pool, seed: int, *, among_contenders: bool) -> int:
    """Run one campaign; return how many true hit surfaces it has found."""
    rng = np.random.default_rng(seed)
    known = rng.permutation(len(pool.energy))[:N_START]
    for _ in range(N_ROUNDS):
        environments = [pool.environments[i] for i in known]
        surrogate = AdsorptionSurrogate("CO", seed=0).fit(environments, pool.energy[known])
        mean, std = surrogate.predict(pool.environments)
        is_known = np.isin(np.arange(len(mean)), known)
        is_excluded = is_known.copy()
        if among_contenders:
            unknown = np.flatnonzero(~is_known)
            surface = pool.surface[unknown]
            computed = pool.lowest_of(known)[surface]
            may_win = contenders(mean[unknown], surface, computed, target=TARGET_EV, window=WINDOW_EV)
            is_excluded[unknown] = ~may_win
        chosen = choose(
            "hit_probability", mean, std, target=TARGET_EV, window=WINDOW_EV, n=BATCH, rng=rng,
            is_excluded=is_excluded, labels=(pool.surface, pool.labels),
        )  # fmt: skip
        known = np.concatenate([known, chosen])
    found = np.abs(pool.lowest_of(known) - TARGET_EV) <= WINDOW_EV
    return int((found & (np.abs(pool.lowest - TARGET_EV) <= WINDOW_EV)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gaspy_co_sites.csv.gz")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    path = options.data / "gaspy_co_sites.csv.gz"
    if not path.exists():
        sys.exit(f"{path} is missing: this benchmark needs GASpy's reference data")
    pool = Pool(path)
    hits: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(options.seeds):
        for among_contenders in (False, True):
            hits[among_contenders].append(replay(pool, seed, among_contenders=among_contenders))
        if not options.json:
            print(f"seed {seed}: {hits[False][-1]} hits among all sites, {hits[True][-1]} among contenders")
    means = {k: float(np.mean(v)) for k, v in hits.items()}
    report = {
        "hits_among_contenders": means[True],
        "hits_among_all": means[False],
        "hit_ratio": means[True] / means[False],
        "true_hits": int((np.abs(pool.lowest - TARGET_EV) <= WINDOW_EV).sum()),
        "surfaces": len(pool.lowest),
        "sites": len(pool.energy),
        "seeds": options.seeds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
