"""The price of choosing while calculations are under way: hits found with q pending, and with batches of q.

Replays campaigns offline on GASpy's CO energies. A number of random sites are known; then further ones are
chosen by hit probability among contenders, as ``mode: async`` and ``mode: batch`` do it:

- ``batch``: q at a time, the surrogate trained when all q are known;
- ``async``: q under way at any time, each taking a random (lognormal) time; whenever one is known the
  surrogate is trained and chooses another one, with those under way counted as pending;
- ``blind``: as ``async``, but those under way are only left out, not counted;
- ``believer``: as ``async``, and the surrogate is trained once more with the predicted means of those under
  way as if they were known (kriging believer, Ginsbourger et al. 2010, doi:10.1007/978-3-642-10701-6_6).

    python benchmarks/pending.py --data DIR [--seeds N] [--ways batch async ...] [--json]

The last line is JSON: ``hits`` by way and q, means over the seeds, ``hits_async_over_batch`` by q and over
all q, ``wall_async_over_batch`` by q (of the simulated durations, without overheads), and how long it took.
"""

from __future__ import annotations

import argparse
import heapq
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from typing import TYPE_CHECKING

from benchmarks.reference_data import demand
from benchmarks.replay import pool_of
from surrogate.acquisition import Candidates, choose
from surrogate.models import AdsorptionSurrogate
from surrogate.sites import environment_labels
from surrogate.surfaces import contenders

if TYPE_CHECKING:
    from surrogate.replay import Pool

WIDTHS = (1, 5, 20, 50)
N_START, N_CHOSEN = 20, 100
DURATION_SIGMA = 0.7
"""Of the logarithm of a calculation's duration: two thirds lie within a factor of two of the median."""
N_SURFACES, MIN_SITES = 300, 3
MODEL = "gaussian_process"
"""The same throughout: what differs is how it is asked."""
Indices = list[int]


def some_surfaces(pool: Pool, n: int) -> Pool:
    """Restrict a pool to some of its surfaces with at least three sites, always the same."""
    crowded = np.flatnonzero(np.bincount(pool.surfaces) >= MIN_SITES)
    kept = np.random.default_rng(0).permutation(crowded)[:n]
    rows = np.flatnonzero(np.isin(pool.surfaces, kept))
    return replace(
        pool,
        environments=[pool.environments[i] for i in rows],
        delta_e=pool.delta_e[rows],
        bulks=pool.bulks[rows],
        surfaces=np.unique(pool.surfaces[rows], return_inverse=True)[1],
    )


def pick(pool: Pool, known: Indices, pending: Indices, n: int, way: str, rng: np.random.Generator) -> Indices:
    """Train on what is known and choose n more."""
    surrogate = AdsorptionSurrogate("CO", MODEL)
    surrogate.fit([pool.environments[i] for i in known], pool.delta_e[known])
    mean, std = surrogate.predict(pool.environments)
    if way == "believer" and pending:
        believed = [pool.environments[i] for i in known + pending]
        surrogate.fit(believed, np.concatenate([pool.delta_e[known], mean[pending]]))
        mean, std = surrogate.predict(pool.environments)
    is_taken = np.isin(np.arange(len(mean)), known + pending)
    is_pending = np.isin(np.arange(len(mean)), pending if way != "blind" else [])
    computed = pool.lowest(np.array(known))
    counted = np.flatnonzero(is_pending)
    np.minimum.at(computed, pool.surfaces[counted], mean[counted])
    free = np.flatnonzero(~is_taken)
    is_excluded = is_taken.copy()
    is_excluded[free] = ~contenders(
        mean[free], pool.surfaces[free], computed[pool.surfaces[free]], target=pool.target, window=pool.window
    )
    labels = (pool.surfaces, environment_labels(pool.environments))
    chosen: list[int] = []
    for excluded in (is_excluded, is_taken):  # contenders first, then any
        excluded[chosen] = True
        candidates = Candidates(mean, std, pool.target, pool.window, excluded, labels, is_pending)
        chosen += choose("hit_probability", candidates, n=n - len(chosen), rng=rng).tolist()
    return chosen


def replay(pool: Pool, seed: int, width: int, way: str) -> tuple[int, float]:
    """Run one campaign; return how many true hit surfaces it found and how long it took, in median runs."""
    rng = np.random.default_rng(seed)
    durations = np.random.default_rng(seed + 10**6).lognormal(0.0, DURATION_SIGMA, len(pool.delta_e))
    known: Indices = rng.permutation(len(pool.delta_e))[:N_START].tolist()
    under_way: list[tuple[float, int]] = []
    clock, left = 0.0, N_CHOSEN
    while left or under_way:
        room = min(left, width - len(under_way))
        if room and (way != "batch" or not under_way):
            pending = [i for _, i in under_way]
            for i in pick(pool, known, pending, room, way, rng):
                heapq.heappush(under_way, (clock + durations[i], i))
            left -= room
        clock, done = heapq.heappop(under_way)
        known.append(done)
    return pool.surfaces_hit(np.array(known)), clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="gaspy_co_sites.csv.gz, or its folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--ways", nargs="+", default=["batch", "async"])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    begun = time.monotonic()
    data, *_ = demand(options.data, ["gaspy_co"]).values()
    pool = some_surfaces(pool_of(data), N_SURFACES)
    hits: dict[str, dict[int, float]] = {way: {} for way in options.ways}
    walls: dict[str, dict[int, float]] = {way: {} for way in options.ways}
    for width in options.widths:
        for way in options.ways:
            runs = [replay(pool, seed, width, way) for seed in range(options.seeds)]
            hits[way][width] = float(np.mean([n for n, _ in runs]))
            walls[way][width] = float(np.mean([clock for _, clock in runs]))
            if not options.json:
                each = [n for n, _ in runs]
                print(
                    f"q {width:3} {way:9} hits {hits[way][width]:6.2f} {each}  wall {walls[way][width]:.1f}"
                )
    report = {
        "hits": hits,
        "true_hits": pool.surfaces_hit(np.arange(len(pool))),
        "surfaces": int(pool.surfaces.max()) + 1,
        "sites": len(pool.delta_e),
        "seeds": options.seeds,
        "seconds": time.monotonic() - begun,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if {"batch", "async"} <= set(options.ways):
        report["hits_async_over_batch"] = {w: hits["async"][w] / hits["batch"][w] for w in options.widths}
        report["hit_ratio"] = sum(hits["async"].values()) / sum(hits["batch"].values())
        report["wall_async_over_batch"] = {w: walls["async"][w] / walls["batch"][w] for w in options.widths}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
