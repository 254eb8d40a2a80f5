"""What energies from elsewhere are worth to a campaign: errors and hits with a source and without.

Cases on published energies (:mod:`benchmarks.reference_data`): H from another functional and code (Mamun's
BEEF-vdW for GASpy's RPBE), and the same shuffled, which must do no harm; an old campaign made up of GASpy's
CO on other bulks, at another level, and the same turned round, which must do none either; and the other
adsorbate on GASpy's surfaces: of bulks outside the test fold only; of all bulks, as a campaign that computes
both may know it; and of all bulks, but no more energies than labels, as such a campaign has them. A fifth of
the target's bulks is the test fold; labels are drawn at random from the others. Energies in eV, CPU time in
seconds.

    python benchmarks/warm_start.py --data DIR [--cases mamun_to_gaspy_h,...] [--labels 0,20,...,500]
        [--repeats N] [--model NAME] [--json]

``worth`` is how many labels without the source give the same error, by interpolation over their logarithm.
The last line is JSON: by case and number of labels ``mae_ev``, ``rmse_ev``, ``coverage_90``, ``hits`` (among
the :data:`SHORTLIST` test sites most likely to be hits) with and ``without_`` the source, and what was
learned of it. Exits with 2 when data are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.reference_data import demand, listed, numbers
from config.adsorbates import HIT_WINDOW_EV, shipped
from surrogate.metrics import coverage, mean_absolute_error, root_mean_squared_error
from surrogate.models import MODELS, AdsorptionSurrogate
from surrogate.transfer import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.reference_data import Labelled

TEST_SHARE = 0.2
SHORTLIST = 50
OLD_SHARE = 0.4
"""Bulks of such a campaign; labels are of none of them."""
OLD_ENERGIES = 1000
"""Energies of an old campaign that is made up of GASpy's."""
FIGURES = ("mae_ev", "rmse_ev", "coverage_90", "hits", "cpu_seconds")


@dataclass(frozen=True)
class Case:
    """A target, and where its source comes from."""

    source: str
    target: str
    test_bulks_are_known: bool = True
    """Whether the source may hold bulks of the test fold."""
    change: Literal["none", "shuffled", "reversed", "relevelled"] = "none"
    """What is done to the source's energies: :func:`changed`."""
    at_most: int | None = None
    """Energies that the source has at most."""
    is_as_small: bool = False
    """Whether the source has no more energies than there are labels, as when both grow together."""

    def make(
        self, sets: Mapping[str, Labelled], unknown: NDArray[np.str_], seed: int, labels: int
    ) -> Source | None:
        """Make the source for one test fold; None where it would be empty.

        Parameters
        ----------
        unknown
            Bulks that it may not hold, unless all are known.
        """
        data, target = sets[self.source], sets[self.target]
        is_left = self.test_bulks_are_known | ~np.isin(data.bulks, unknown)
        rows = np.flatnonzero(is_left)
        rows = np.random.default_rng(seed).permutation(rows)[: labels if self.is_as_small else self.at_most]
        if not len(rows):
            return None
        environments, energies = data.take(rows)
        energies = changed(energies, self.change, np.random.default_rng(seed))
        kind: Literal["same", "other"] = "same" if data.adsorbate == target.adsorbate else "other"
        return Source(self.source, environments, energies, data.bulks[rows].tolist(), kind)


def changed(energies: NDArray[np.float64], change: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Change energies: at random, turned round about their mean, or as another functional might have them.

    The last is made up: nine tenths of each and 0.25 eV, give or take 0.05 eV.
    """
    if change == "shuffled":
        energies = rng.permutation(energies)
    if change == "reversed":
        energies = 2.0 * energies.mean() - energies
    if change == "relevelled":
        energies = 0.25 + 0.9 * energies + 0.05 * rng.normal(size=len(energies))
    return energies


CASES: Mapping[str, Case] = {
    "mamun_to_gaspy_h": Case("mamun_h", "gaspy_h"),
    "shuffled_mamun_to_gaspy_h": Case("mamun_h", "gaspy_h", change="shuffled"),
    "relevelled_co": Case("gaspy_co", "gaspy_co", False, "relevelled", OLD_ENERGIES),
    "reversed_co": Case("gaspy_co", "gaspy_co", False, "reversed", OLD_ENERGIES),
    "gaspy_h_to_co": Case("gaspy_h", "gaspy_co", test_bulks_are_known=False),
    "gaspy_h_to_co_known_bulks": Case("gaspy_h", "gaspy_co"),
    "gaspy_h_to_co_as_many": Case("gaspy_h", "gaspy_co", is_as_small=True),
    "gaspy_co_to_h": Case("gaspy_co", "gaspy_h", test_bulks_are_known=False),
    "gaspy_co_to_h_known_bulks": Case("gaspy_co", "gaspy_h"),
    "gaspy_co_to_h_as_many": Case("gaspy_co", "gaspy_h", is_as_small=True),
}


def measure(
    case: Case, sets: Mapping[str, Labelled], labels: Sequence[int], repeats: int, model: str
) -> dict[str, dict[str, Any]]:
    """Mean figures by number of labels, with the source and without."""
    found: dict[int, list[dict[str, Any]]] = {n: [] for n in labels}
    target = sets[case.target]
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        bulks = rng.permutation(np.unique(target.bulks))
        test_bulks = bulks[: max(1, int(TEST_SHARE * len(bulks)))]
        is_test = np.isin(target.bulks, test_bulks)
        is_old = np.zeros(len(target), dtype=bool)
        if case.source == case.target:
            is_old = np.isin(target.bulks, bulks[len(test_bulks) :][: int(OLD_SHARE * len(bulks))])
        order = rng.permutation(np.flatnonzero(~is_test & ~is_old))
        # One source for all numbers of labels, unless it grows with them: what is trained on it is kept.
        unknown = np.unique(target.bulks[~is_old]) if is_old.any() else test_bulks
        sources = {n: case.make(sets, unknown, seed, n) for n in (labels if case.is_as_small else [0])}
        for n in labels:
            source = sources.get(n, sources.get(0))
            if n <= len(order) and source is not None:
                found[n].append(_compared(target, order[:n], np.flatnonzero(is_test), source, model))
    means: dict[str, dict[str, Any]] = {
        str(n): {key: float(np.mean([r[key] for r in results])) for key in results[0]}
        for n, results in found.items()
        if results
    }
    for figures in means.values():
        figures["worth"] = worth(figures["mae_ev"], means)
    return means


def _compared(
    target: Labelled, train: NDArray[np.int64], test: NDArray[np.int64], source: Source, model: str
) -> dict[str, float]:
    environments, energies = target.take(train)
    sites, truth = target.take(test)
    compared: dict[str, float] = {}
    for prefix, sources in (("", (source,)), ("without_", ())):
        started = time.process_time()
        surrogate = AdsorptionSurrogate(target.adsorbate, model)  # type: ignore[arg-type]
        surrogate.fit(environments, energies, target.bulks[train].tolist(), sources)
        mean, std = surrogate.predict(sites)
        seconds = time.process_time() - started
        figures = (
            mean_absolute_error(truth, mean),
            root_mean_squared_error(truth, mean),
            coverage(truth, mean, std, 0.90, surrogate.calibration_.freedom),
            _hits(surrogate, mean, std, truth),
            seconds,
        )
        compared |= {prefix + name: float(value) for name, value in zip(FIGURES, figures, strict=True)}
        if sources:
            told = surrogate.record()["parameters"]["sources"][0]
            compared |= {name: told[name] for name in ("level_ev", "level_std_ev", "slope", "weight")}
    return compared


def _hits(
    surrogate: AdsorptionSurrogate,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> int:
    """Hits among the sites that are most likely to be."""
    wanted = shipped()[surrogate.adsorbate]["target_ev"]
    chance = surrogate.calibration_.hit_probability(mean, std, wanted, HIT_WINDOW_EV)
    chosen = np.argsort(-chance, kind="stable")[:SHORTLIST]
    return int((np.abs(truth[chosen] - wanted) <= HIT_WINDOW_EV).sum())


def worth(mae_ev: float, means: Mapping[str, Mapping[str, float]]) -> float | None:
    """Labels that give this error without the source; None where it lies outside of what was measured."""
    labels = np.array([float(n) for n in means])
    errors = np.array([figures["without_mae_ev"] for figures in means.values()])
    for i in range(1, len(labels)):
        if errors[i] <= mae_ev <= errors[i - 1]:
            share = (errors[i - 1] - mae_ev) / max(errors[i - 1] - errors[i], 1e-12)
            low, high = np.log1p(labels[i - 1]), np.log1p(labels[i])
            return float(np.expm1(low + share * (high - low)))
    return None


def print_table(name: str, curve: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one case."""
    print(
        f"{name}\n  labels   MAE without   90 % without    hits without  worth    level ±      slope weight"
    )
    for n, f in curve.items():
        equal = "-" if f["worth"] is None else f"{f['worth']:.0f}"
        print(
            f"  {n:>6s}  {f['mae_ev']:.3f}  {f['without_mae_ev']:.3f}   {f['coverage_90']:.2f}    "
            f"{f['without_coverage_90']:.2f}   {f['hits']:5.1f}   {f['without_hits']:5.1f}   {equal:>5s}  "
            f"{f['level_ev']:+.3f} {f['level_std_ev']:.3f}  {f['slope']:.2f}   {f['weight']:.2f}"
        )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="what energies from elsewhere are worth to a campaign")
    parser.add_argument("--data", type=Path, required=True, help="folder with the reference data")
    parser.add_argument("--cases", type=listed, default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--labels", type=numbers, default=numbers("0,10,20,50,100,200,500"))
    parser.add_argument("--repeats", type=int, default=3, help="test folds to average")
    parser.add_argument("--model", choices=list(MODELS), default="ensemble")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    chosen = {name: CASES[name] for name in options.cases}
    sets = demand(options.data, sorted({n for case in chosen.values() for n in (case.source, case.target)}))
    results = {}
    for name, case in chosen.items():
        results[name] = measure(case, sets, options.labels, options.repeats, options.model)
        if not options.json:
            print_table(name, results[name])
    print(json.dumps({"benchmark": "warm_start", "model": options.model, "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
