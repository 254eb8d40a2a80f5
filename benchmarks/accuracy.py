"""How accurately the surrogate predicts ΔE on bulks that it has not seen, how calibrated, how fast.

For every data set (:mod:`benchmarks.reference_data`) and model: five-fold cross-validation grouped by bulk
(by composition, where crystals were rebuilt), learning curves on a fifth of the bulks left out, and the
time and memory of predicting so many sites with their standard deviations. ``plain_trees`` is the yardstick,
extra trees on the GASpy fingerprint (:mod:`benchmarks.baselines`). Energies in eV, CPU time in seconds.

    python benchmarks/accuracy.py --data DIR [--sets gaspy_co,...] [--models default,plain_trees,...]
        [--curve 20,...,8000] [--repeats N] [--predictions N] [--json]

The last line is JSON: by data set and model ``mae_ev``, ``rmse_ev``, ``coverage_90``, ... Exits with 2 when
no data are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.baselines import PlainTrees
from benchmarks.published_rows import READERS
from benchmarks.reference_data import demand, listed, numbers
from surrogate.metrics import cross_validate, summarise
from surrogate.models import MODELS, AdsorptionSurrogate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.reference_data import Labelled
    from surrogate.sites import Shell, SiteEnvironment

PLAIN, DEFAULT = "plain_trees", "default"
TEST_SHARE = 0.2
CHUNK = 100_000
HEADS = {
    "mae_ev": "MAE", "rmse_ev": "RMSE", "median_absolute_error_ev": "median", "nll": "NLL",
    "coverage_50": "50 %", "coverage_68": "68 %", "coverage_90": "90 %", "coverage_95": "95 %",
    "miscalibration_area": "miscal.", "sharpness_ev": "sharp.",
}  # fmt: skip
"""Figures of the table."""


def untrained(model: str, adsorbate: str, seed: int = 0) -> AdsorptionSurrogate:
    """Make the model of a name."""
    if model == PLAIN:
        return PlainTrees(adsorbate, seed)  # type: ignore[return-value]  # it has what is used of it
    if model == DEFAULT:
        return AdsorptionSurrogate(adsorbate, seed=seed)
    return AdsorptionSurrogate(adsorbate, model, seed=seed)  # type: ignore[arg-type]


def validated(data: Labelled, model: str) -> dict[str, Any]:
    """Grouped cross-validation."""
    validation = cross_validate(
        lambda: untrained(model, data.adsorbate), data.environments, data.delta_e, list(data.bulks)
    )
    return validation.summary() if validation else {}


def learning_curve(data: Labelled, model: str, sizes: list[int], repeats: int) -> dict[str, dict[str, Any]]:
    """Mean figures on unseen bulks after training on so many random sites of the other bulks.

    In place of sizes that there are not, the last point, ``all``, is trained on all sites of the other bulks.
    """
    points: dict[int | str, dict[str, Any]] = {size: _point(data, model, size, repeats) for size in sizes}
    if not all(points.values()):
        points["all"] = _point(data, model, None, repeats)
    return {str(size): point for size, point in points.items() if point}


def _point(data: Labelled, model: str, size: int | None, repeats: int) -> dict[str, Any]:
    """Figures after training on so many sites, None for all; empty if a repeat has fewer, or none."""
    results = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        bulks = rng.permutation(np.unique(data.bulks))
        is_test = np.isin(data.bulks, bulks[: max(1, int(TEST_SHARE * len(bulks)))])
        train = rng.permutation(np.flatnonzero(~is_test))
        if len(train) < (size or 1):
            return {}
        started = time.process_time()
        surrogate = fitted(data, model, train[:size], seed)
        seconds = time.process_time() - started
        environments, truth = data.take(np.flatnonzero(is_test))
        figures = summarise(truth, *surrogate.predict(environments), surrogate.calibration_.freedom)
        n_train = len(train[:size])
        results.append({**figures, "training_cpu_seconds": seconds, "n_train": n_train})
    return {key: float(np.mean([r[key] for r in results])) for key in results[0]}


def fitted(data: Labelled, model: str, rows: np.ndarray, seed: int = 0) -> AdsorptionSurrogate:
    """Train a model on some rows."""
    environments, energies = data.take(rows)
    return untrained(model, data.adsorbate, seed).fit(environments, energies, data.bulks[rows].tolist())


def many_predictions(data: Labelled, model: str, n: int) -> dict[str, float]:
    """Train on everything, predict ``n`` sites; in a process of its own, for its peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_predict_many, data, model, n).result()


def _predict_many(data: Labelled, model: str, n: int) -> dict[str, float]:
    surrogate = fitted(data, model, np.arange(len(data)))
    cpu = wall = 0.0
    for sites in _invented(data, n):
        started, started_cpu = time.perf_counter(), time.process_time()
        surrogate.predict(sites)
        wall, cpu = wall + time.perf_counter() - started, cpu + time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"n": n, "seconds": wall, "cpu_seconds": cpu, "peak_mib": peak}


def _invented(data: Labelled, n: int) -> Iterator[list[SiteEnvironment]]:
    """Sites as in the data with their elements exchanged, hardly any two alike: what is shared costs less."""
    rng = np.random.default_rng(0)
    symbols = sorted({s for e in data.environments for s, _ in (*e.first_shell, *e.second_shell)})
    rows = itertools.cycle(range(len(data)))
    for start in range(0, n, CHUNK):
        chunk = []
        for _ in range(min(CHUNK, n - start)):
            site = data.environments[next(rows)]
            chunk.append(_exchanged(site, dict(zip(symbols, rng.permutation(symbols), strict=True))))
        yield chunk


def _exchanged(site: SiteEnvironment, names: dict[str, str]) -> SiteEnvironment:
    def shell(atoms: Shell) -> Shell:
        return tuple(sorted((names.get(symbol, symbol), count) for symbol, count in atoms))

    bulk = None
    if site.bulk is not None:
        bonds = [(*sorted((names.get(a, a), names.get(b, b))), length) for a, b, length in site.bulk.bonds]
        bulk = replace(site.bulk, composition=shell(site.bulk.composition), bonds=tuple(sorted(bonds)))  # type: ignore[arg-type]
    return replace(
        site,
        first_shell=shell(site.first_shell),
        second_shell=shell(site.second_shell),
        neighbours=tuple(sorted((names.get(symbol, symbol), shell(s)) for symbol, s in site.neighbours)),
        bulk=bulk,
    )


def measure(data: Labelled, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one model on one data set."""
    started = time.process_time()
    figures = validated(data, model)
    figures["cross_validation_cpu_seconds"] = time.process_time() - started
    figures["n"], figures["n_bulks"] = len(data), len(set(data.bulks))
    figures["curve"] = learning_curve(data, model, options.curve, options.repeats)
    if options.predictions:
        figures["predictions"] = many_predictions(data, model, options.predictions)
    return figures


def print_table(model: str, figures: dict[str, Any]) -> None:
    """Print the figures of one model."""
    print("  " + f"{model:22s}" + _cells(figures))
    for size, point in figures["curve"].items():
        labels = f"all, some {point['n_train']:.0f}" if size == "all" else f"{size} labels"
        print("  " + f"{labels:>20s}  " + _cells(point) + f"{point['training_cpu_seconds']:9.1f} s")
    if "predictions" in figures:
        p = figures["predictions"]
        print(f"    {p['n']:.0f} predictions: {p['seconds']:.0f} s, {p['peak_mib']:.0f} MiB at most")


def _cells(figures: dict[str, Any]) -> str:
    return "".join(f"{figures[key]:9.3f}" if figures.get(key) is not None else " " * 9 for key in HEADS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy of the surrogate, grouped by bulk")
    parser.add_argument("--data", type=Path, required=True, help="folder with the reference data, or a file")
    parser.add_argument(
        "--sets", type=listed, default=[], help=f"all that are there, of {', '.join(READERS)}"
    )
    parser.add_argument("--models", type=listed, default=[DEFAULT, PLAIN])
    parser.add_argument("--curve", type=numbers, default=numbers("20,50,100,200,500,1000,2000,4000,8000"))
    parser.add_argument("--repeats", type=int, default=3, help="learning curves to average")
    parser.add_argument("--predictions", type=int, default=1_700_000, help="0 to leave them out")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    known = (DEFAULT, PLAIN, *MODELS)
    if unknown := set(options.models) - set(known):
        parser.error(f"unknown model {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    results: dict[str, dict[str, Any]] = {}
    for name, data in demand(options.data, options.sets).items():
        results[name] = {}
        if not options.json:
            heads = "".join(f"{head:>9s}" for head in HEADS.values())
            print(f"{name}: {len(data)} sites on {len(set(data.bulks))} bulks\n{'':24s}{heads}")
        for model in options.models:
            results[name][model] = measure(data, model, options)
            if not options.json:
                print_table(model, results[name][model])
    print(json.dumps({"benchmark": "accuracy", "grouped_by": "bulk", "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
