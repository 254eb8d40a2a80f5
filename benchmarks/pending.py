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
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from typing import TYPE_CHECKING

from benchmarks.contenders import TARGET_EV, WINDOW_EV, Pool
from surrogate.acquisition import choose, contenders
from surrogate.models import AdsorptionSurrogate

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTHS = (1, 5, 20, 50)
N_START, N_CHOSEN = 20, 100
DURATION_SIGMA = 0.7
"""Of the logarithm of a calculation's duration: two thirds lie within a factor of two of the median."""
N_SURFACES = 300
Indices = list[int]


def some_surfaces(pool: Pool, n: int) -> Pool:
    """Restrict a pool to some of its surfaces, always the same."""
    kept = np.random.default_rng(0).permutation(pool.surface.max() + 1)[:n]
    mask = np.isin(pool.surface, kept)
    pool.surface = np.unique(pool.surface[mask], return_inverse=True)[1]
    pool.energy, pool.labels = pool.energy[mask], pool.labels[mask]
    pool.environments = [pool.environments[i] for i in np.flatnonzero(mask)]
    pool.lowest = pool.lowest_of(np.arange(len(pool.energy)))
    return pool


def pick(pool: Pool, known: Indices, pending: Indices, n: int, way: str, rng: np.random.Generator) -> Indices:
    """Train on what is known and choose n more."""
    surrogate = AdsorptionSurrogate("CO", seed=0)
    surrogate.fit([pool.environments[i] for i in known], pool.energy[known])
    mean, std = surrogate.predict(pool.environments)
    if way == "believer" and pending:
        believed = [pool.environments[i] for i in known + pending]
        surrogate.fit(believed, np.concatenate([pool.energy[known], mean[pending]]))
        mean, std = surrogate.predict(pool.environments)
    is_taken = np.isin(np.arange(len(mean)), known + pending)
    is_pending = np.isin(np.arange(len(mean)), pending if way != "blind" else [])
    computed = pool.lowest_of(np.array(known))
    counted = np.flatnonzero(is_pending)
    np.minimum.at(computed, pool.surface[counted], mean[counted])
    free = np.flatnonzero(~is_taken)
    is_excluded = is_taken.copy()
    is_excluded[free] = ~contenders(
        mean[free], pool.surface[free], computed[pool.surface[free]], target=TARGET_EV, window=WINDOW_EV
    )
    labels = (pool.surface, pool.labels)
    chosen: list[int] = []
    for excluded in (is_excluded, is_taken):  # contenders first, then any
        excluded[chosen] = True
        chosen += choose(
            "hit_probability", mean, std, target=TARGET_EV, window=WINDOW_EV, n=n - len(chosen), rng=rng,
            is_excluded=excluded, labels=labels, is_pending=is_pending,
        ).tolist()  # fmt: skip
    return chosen


def replay(pool: Pool, seed: int, width: int, way: str) -> tuple[int, float]:
    """Run one campaign; return how many true hit surfaces it found and how long it took, in median runs."""
    rng = np.random.default_rng(seed)
    durations = np.random.default_rng(seed + 10**6).lognormal(0.0, DURATION_SIGMA, len(pool.energy))
    known: Indices = rng.permutation(len(pool.energy))[:N_START].tolist()
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
    return found(pool, known), clock


def found(pool: Pool, known: Indices) -> int:
    """True hit surfaces of which a site in the window is known, and none below."""
    is_hit: NDArray[np.bool_] = np.abs(pool.lowest - TARGET_EV) <= WINDOW_EV
    return int((is_hit & (np.abs(pool.lowest_of(np.array(known)) - TARGET_EV) <= WINDOW_EV)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gaspy_co_sites.csv.gz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--ways", nargs="+", default=["batch", "async"])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    path = options.data / "gaspy_co_sites.csv.gz"
    if not path.exists():
        sys.exit(f"{path} is missing: this benchmark needs GASpy's reference data")
    begun = time.monotonic()
    pool = some_surfaces(Pool(path), N_SURFACES)
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
        "true_hits": int((np.abs(pool.lowest - TARGET_EV) <= WINDOW_EV).sum()),
        "surfaces": len(pool.lowest),
        "sites": len(pool.energy),
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
