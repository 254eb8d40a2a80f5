"""What the geometry of the unrelaxed site adds to the surrogate's accuracy on bulks that it has not seen.

For CO and H of GASpy (:mod:`benchmarks.reference_data`) surfaces are rebuilt from the built-in library as far
as it holds their crystals (:mod:`benchmarks.rebuilt_sites`). The rows whose site is found are predicted
twice, with its geometry and without it: five-fold cross-validation and learning curves, both grouped by
bulk. Energies in eV.

    python benchmarks/geometry.py --data DIR --keep DIR [--sets gaspy_co,gaspy_h] [--curve 200,1000]
        [--repeats N] [--json]

The last line is JSON: by data set ``n``, ``n_found``, and with and without ``mae_ev``, ``rmse_ev``,
``coverage_90``, ``curve``. Exits with 2 when no data are there, or too few sites are found.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy import DEFAULT, learning_curve, validated
from benchmarks.published_rows import READERS
from benchmarks.reference_data import demand, listed, numbers

if TYPE_CHECKING:
    from benchmarks.reference_data import Labelled

N_BULKS = 5
"""Fewer cannot be cross-validated in five folds."""
REBUILT = [name for name, reader in READERS.items() if reader.face is not None]


def found(data: Labelled) -> Labelled:
    """Rows whose geometry is known."""
    return data.part(np.flatnonzero([e.geometry is not None for e in data.environments]))


def without_geometry(data: Labelled) -> Labelled:
    """Forget the geometry of every row."""
    return replace(data, environments=[replace(e, geometry=None) for e in data.environments])


def measure(data: Labelled, curve: list[int], repeats: int) -> dict[str, Any]:
    """Figures with and without geometry on the rows that have one."""
    known = found(data)
    figures: dict[str, Any] = {"n": len(data), "n_found": len(known), "n_bulks": len(set(known.bulks))}
    for name, rows in (("with", known), ("without", without_geometry(known))):
        figures[name] = {
            **validated(rows, DEFAULT),
            "curve": learning_curve(rows, DEFAULT, curve, repeats),
        }
    return figures


def print_table(name: str, figures: dict[str, Any]) -> None:
    """Print the figures of one data set."""
    print(f"{name}: {figures['n_found']} of {figures['n']} sites found, on {figures['n_bulks']} bulks")
    for key in ("with", "without"):
        one = figures[key]
        points = ", ".join(f"{n}: {point['mae_ev']:.4f}" for n, point in one["curve"].items())
        print(
            f"  {key:8s} MAE {one['mae_ev']:.4f}, RMSE {one['rmse_ev']:.4f}, "
            f"90 % holds {one['coverage_90']:.3f}; labels and MAE: {points or '-'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="What the geometry of a site adds to accuracy")
    parser.add_argument("--data", type=Path, required=True, help="folder with the reference data")
    parser.add_argument("--keep", type=Path, required=True, help="folder to keep rebuilt geometries in")
    parser.add_argument("--sets", type=listed, default=REBUILT, help=f"of {', '.join(REBUILT)}")
    parser.add_argument("--curve", type=numbers, default=numbers("200,1000"))
    parser.add_argument("--repeats", type=int, default=2, help="learning curves to average")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(REBUILT):
        parser.error(f"cannot rebuild {', '.join(sorted(unknown))}; known: {', '.join(REBUILT)}")
    results = {}
    for name, data in demand(options.data, options.sets, options.keep).items():
        if len(set(found(data).bulks)) < N_BULKS:
            print(f"cannot run: sites of {name} are found on fewer than {N_BULKS} bulks", file=sys.stderr)
            return 2
        results[name] = measure(data, options.curve, options.repeats)
        if not options.json:
            print_table(name, results[name])
    print(json.dumps({"benchmark": "geometry", "grouped_by": "bulk", "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
