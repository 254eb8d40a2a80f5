"""How many hits the surrogate and its acquisition find with how many calculations, on published energies.

Campaigns are replayed offline (:mod:`surrogate.replay`): energies are hidden, a seed is drawn at random, each
round a strategy is asked for a batch. Strategies:

- ``random``: any site.
- ``gaspy``: the procedure of Tran and Ulissi (:mod:`benchmarks.baselines`): extra trees on their fingerprint,
  a draw weighted by a Gaussian of 0.1 eV around the target.
- ``sabatier``: the default surrogate; sites by their probability of being a hit.
- ``sabatier-surfaces``: the same among the sites that may decide the fate of their surface.
- ``sabatier-explores``: as ``sabatier-surfaces``; a tenth of each batch goes to what the surrogate knows
  least of; only when asked for.
- a model's name: that model with ``sabatier``'s acquisition.

    python benchmarks/replay.py --data DIR [--sets gaspy_co,...] [--strategies ...] [--seeds N]
        [--labels 1000,1500,2500,4500] [--seed-size N] [--batch N] [--json]

Data: see :mod:`benchmarks.reference_data`; a set that DIR lacks is left out. The last line is JSON: by data
set and strategy the hits and surfaces hit at each number of labels (mean and standard deviation over the
seeds), ``hits_vs_random``, ``hits_vs_gaspy``, CPU-seconds per round, and how the predictions of the sites
chosen turned out (:mod:`surrogate.drift`; all rounds of all seeds). Exits with 2 when no data are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.baselines import PlainTrees
from benchmarks.published_rows import READERS
from benchmarks.reference_data import demand, listed, numbers
from config.adsorbates import shipped
from surrogate.acquisition import hit_probability
from surrogate.drift import drift
from surrogate.models import MODELS, AdsorptionSurrogate
from surrogate.replay import AtRandom, Forecast, Learned, Pool, Replayed, Strategy, replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.reference_data import Labelled

DEFAULT = ("random", "gaspy", "sabatier", "sabatier-surfaces")
STRATEGIES = (*DEFAULT, "sabatier-explores")
WINDOW_EV = 0.10
EXPLORATION = 0.10
"""Share of each batch that ``sabatier-explores`` explores with."""


def pool_of(data: Labelled) -> Pool:
    """Pool of a data set, with the published target of its adsorbate."""
    return Pool(
        environments=data.environments,
        delta_e=data.delta_e,
        bulks=data.of_bulks(np.arange(len(data))),
        surfaces=data.surfaces,
        target=float(shipped()[data.adsorbate]["target_ev"]),
        window=WINDOW_EV,
    )


def strategy_of(name: str, adsorbate: str) -> Strategy:
    """Make a strategy by its name."""
    if name == "random":
        return AtRandom()
    if name == "gaspy":
        return Learned(partial(PlainTrees, adsorbate), acquisition="gaussian")
    if name in MODELS:
        return Learned(partial(AdsorptionSurrogate, adsorbate, name))  # type: ignore[arg-type]
    goal = "sites" if name == "sabatier" else "surfaces"
    exploration = EXPLORATION if name == "sabatier-explores" else 0.0
    return Learned(partial(AdsorptionSurrogate, adsorbate), goal=goal, exploration=exploration)


def measure(pool: Pool, adsorbate: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Replay every strategy with every seed."""
    found = {}
    for name in options.strategies:
        strategy = strategy_of(name, adsorbate)
        runs = [
            replay(
                pool, strategy, n_seed=options.seed_size, batch=options.batch, looks=options.labels, seed=seed
            )
            for seed in range(options.seeds)
        ]
        found[name] = summary(runs)
        if isinstance(strategy, Learned):
            found[name]["chosen"] = of_chosen(pool, strategy.forecasts)
        if not options.json:
            print(row(name, found[name]), flush=True)
    for figures in found.values():
        for other in ("random", "gaspy"):
            if other in found:
                figures[f"hits_vs_{other}"] = ratios(figures["hits"], found[other]["hits"])
    return found


def of_chosen(pool: Pool, forecasts: list[Forecast]) -> dict[str, float]:
    """How the predictions of the sites chosen turned out; energies in eV."""
    if not forecasts:  # every look is at the seed
        return {"n": 0}
    figures = drift(
        np.concatenate([pool.delta_e[f.chosen] for f in forecasts]),
        np.concatenate([f.mean for f in forecasts]),
        np.concatenate([f.std for f in forecasts]),
    )
    assert figures is not None
    likely = [hit_probability(f.mean, f.std, pool.target, pool.window, f.freedom).sum() for f in forecasts]
    return {
        "n": figures.n,
        "mae_ev": figures.mae_ev,
        "bias_ev": figures.bias_ev,
        "coverage_90": figures.coverage_90,
        "hits_promised": float(sum(likely)),
        "hits_found": int(sum(pool.is_hit[f.chosen].sum() for f in forecasts)),
    }


def summary(runs: list[Replayed]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by number of labels."""

    def spread(values: list[tuple[int, ...]]) -> dict[str, dict[str, float]]:
        table = np.array(values, dtype=float)
        return {
            str(n): {"mean": float(table[:, i].mean()), "std": float(table[:, i].std())}
            for i, n in enumerate(runs[0].labels)
        }

    return {
        "hits": spread([run.hits for run in runs]),
        "surfaces_hit": spread([run.surfaces_hit for run in runs]),
        "cpu_seconds_per_round": float(np.mean([run.seconds_per_round for run in runs])),
    }


def ratios(
    ours: Mapping[str, Mapping[str, float]], theirs: Mapping[str, Mapping[str, float]]
) -> dict[str, float | None]:
    """Mean hits over another strategy's, by number of labels."""
    return {n: ours[n]["mean"] / theirs[n]["mean"] if theirs[n]["mean"] else None for n in ours}


def row(name: str, figures: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        f"{n}: {figures['hits'][n]['mean']:6.1f} ± {figures['hits'][n]['std']:4.1f}"
        f" ({figures['surfaces_hit'][n]['mean']:5.1f})"
        for n in figures["hits"]
    ]
    return f"  {name:20s}" + "  ".join(cells) + f"  {figures['cpu_seconds_per_round']:6.2f} s/round"


def main() -> int:
    parser = argparse.ArgumentParser(description="Hits found per calculation, on published energies")
    parser.add_argument("--data", type=Path, required=True, help="folder with the reference data, or a file")
    parser.add_argument(
        "--sets", type=listed, default=[], help=f"of {', '.join(READERS)}; all that are there"
    )
    parser.add_argument("--strategies", type=listed, default=list(DEFAULT))
    parser.add_argument(
        "--labels",
        type=numbers,
        default=numbers("1000,1500,2500,4500"),
        help="numbers of labels to count hits at",
    )
    parser.add_argument("--seeds", type=int, default=5, help="campaigns per strategy")
    parser.add_argument("--seed-size", type=int, default=100, help="sites drawn at random to begin with")
    parser.add_argument("--batch", type=int, default=100, help="sites per round")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    unknown = set(options.strategies) - {*STRATEGIES, *MODELS}
    if unknown:
        parser.error(
            f"unknown strategy {', '.join(sorted(unknown))}; known: {', '.join((*STRATEGIES, *MODELS))}"
        )
    results = {}
    for name, data in demand(options.data, options.sets).items():
        pool = pool_of(data)
        if not options.json:
            n_surfaces = pool.surfaces_hit(np.arange(len(pool)))
            print(f"{name}: {len(pool)} sites, {int(pool.is_hit.sum())} hits, {n_surfaces} hit surfaces")
            print("  hits (surfaces hit) after so many labels:")
        results[name] = measure(pool, data.adsorbate, options)
        if not options.json:
            print_ratios(results[name])
    print(json.dumps({"benchmark": "replay", "seeds": options.seeds, "results": results}))
    return 0


def print_ratios(found: dict[str, dict[str, Any]]) -> None:
    """Print how many times the hits of the two yardsticks each strategy found."""
    for name, figures in found.items():
        for other in ("random", "gaspy"):
            if name not in {"random", other} and f"hits_vs_{other}" in figures:
                cells = "  ".join(
                    f"{n}: {'-' if ratio is None else format(ratio, '.2f')}"
                    for n, ratio in figures[f"hits_vs_{other}"].items()
                )
                print(f"  {name + ' / ' + other:28s}{cells}")


if __name__ == "__main__":
    sys.exit(main())
