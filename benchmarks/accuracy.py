"""How accurately the surrogate predicts CO and H on bulks that it has not seen.

Reads the GASpy reference sets (``gaspy_co_sites.csv.gz``, ``gaspy_h_sites.csv.gz``; VASP, RPBE), which are
not part of this project, and prints grouped cross-validation and learning curves of both models. Energies
in eV. The last line is one JSON object. Exits with 2 when the data are not there.

Usage: ``python -m benchmarks.accuracy --data DIR [--json] [--curve 20,100,500,2000]``
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from surrogate.metrics import cross_validate, summarise
from surrogate.models import MODELS, AdsorptionSurrogate
from surrogate.sites import SiteEnvironment

if TYPE_CHECKING:
    from surrogate.models import ModelName

FILES = {"CO": "gaspy_co_sites.csv.gz", "H": "gaspy_h_sites.csv.gz"}
OUTLIER_EV = 5.0
TEST_SHARE = 0.2
CURVE_REPEATS = 3


class Labelled:
    """Site environments with their ΔE and bulk."""

    def __init__(self, environments: list[SiteEnvironment], delta_e: np.ndarray, bulks: np.ndarray) -> None:
        self.environments = environments
        self.delta_e = delta_e
        self.bulks = bulks

    def take(self, rows: np.ndarray) -> tuple[list[SiteEnvironment], np.ndarray]:
        """Environments and ΔE of some rows."""
        return [self.environments[i] for i in rows], self.delta_e[rows]


def _shell(symbols: str) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(symbol for symbol in symbols.split("-") if symbol).items()))


def _second_shell(row: dict[str, str]) -> tuple[tuple[str, int], ...]:
    if "outer8" in row:
        return _shell(row["outer8"])
    # `Cu:Al-Al|Al:Cu-Cu` lists the neighbours of each first-shell atom.
    return _shell("-".join(part.partition(":")[2] for part in row["neighborcoord"].split("|")))


def load(path: Path) -> Labelled:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["coordination"]]
    rows = [row for row in rows if abs(float(row["energy_eV"])) < OUTLIER_EV]
    return Labelled(
        [SiteEnvironment(_shell(row["coordination"]), _second_shell(row)) for row in rows],
        np.array([float(row["energy_eV"]) for row in rows]),
        np.array([row["mpid"] for row in rows]),
    )


def learning_curve(
    data: Labelled, adsorbate: str, model: ModelName, sizes: list[int]
) -> dict[str, dict[str, float]]:
    """Mean figures on unseen bulks after training on so many random sites of the other bulks."""
    curve: dict[str, dict[str, float]] = {}
    for size in sizes:
        results = []
        for seed in range(CURVE_REPEATS):
            rng = np.random.default_rng(seed)
            bulks = rng.permutation(np.unique(data.bulks))
            is_test = np.isin(data.bulks, bulks[: int(TEST_SHARE * len(bulks))])
            train = rng.permutation(np.flatnonzero(~is_test))[:size]
            surrogate = AdsorptionSurrogate(adsorbate, model, seed=seed).fit(*data.take(train))
            environments, truth = data.take(np.flatnonzero(is_test))
            results.append(summarise(truth, *surrogate.predict(environments)))
        curve[str(size)] = {
            key: float(np.mean([result[key] for result in results]))
            for key in ("mae_ev", "rmse_ev", "coverage_68", "coverage_95", "nll")
        }
    return curve


def measure(data: Labelled, adsorbate: str, model: ModelName, sizes: list[int]) -> dict[str, object]:
    started = time.process_time()
    validation = cross_validate(
        lambda: AdsorptionSurrogate(adsorbate, model), data.environments, data.delta_e, list(data.bulks)
    )
    seconds = time.process_time() - started
    figures = validation.summary() if validation else {}
    return {
        **figures,
        "n": len(data.delta_e),
        "n_bulks": len(set(data.bulks)),
        "cpu_seconds": seconds,
        "curve": learning_curve(data, adsorbate, model, sizes),
    }


def print_table(results: dict[str, dict[str, dict[str, object]]]) -> None:
    heads = ("mae_ev", "rmse_ev", "coverage_50", "coverage_68", "coverage_90", "coverage_95", "nll")
    print(f"{'':24s}" + "".join(f"{head:>13s}" for head in heads))
    for adsorbate, by_model in results.items():
        for model, figures in by_model.items():
            print(f"{adsorbate + ' ' + model:24s}" + "".join(f"{figures[head]:13.3f}" for head in heads))
            curve = figures["curve"]
            assert isinstance(curve, dict)
            for size, point in curve.items():
                cells = "".join(f"{point[head]:13.3f}" if head in point else " " * 13 for head in heads)
                print(f"{'  ' + size + ' labels':24s}{cells}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy of the surrogate, grouped by bulk")
    parser.add_argument("--data", type=Path, required=True, help="folder with the GASpy reference sets")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--curve", default="20,100,500,2000", help="numbers of labels of the learning curve")
    options = parser.parse_args()
    missing = [name for name in FILES.values() if not (options.data / name).is_file()]
    if missing:
        print(f"accuracy: cannot run, {options.data} lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    sizes = [int(size) for size in options.curve.split(",") if size]
    results: dict[str, dict[str, dict[str, object]]] = {}
    for adsorbate, name in FILES.items():
        data = load(options.data / name)
        results[adsorbate] = {model: measure(data, adsorbate, model, sizes) for model in MODELS}  # type: ignore[arg-type]
    if not options.json:
        print_table(results)
    print(json.dumps({"benchmark": "accuracy", "grouped_by": "bulk", "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
