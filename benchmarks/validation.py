"""What the checks of :mod:`dft.validation` say of 515 relaxed H adslabs of GASpy.

Reads ``gaspy_h_structures.extxyz.gz`` (VASP, RPBE; Tran and Ulissi, Nature Catalysis 1 (2018) 696,
doi:10.1038/s41929-018-0142-1), which is not part of this project. It holds final structures only, so
that not every check can be made:

- ``DESORBED``, ``ABSORBED`` and ``ENERGY_OUT_OF_RANGE`` need no more than that, and are made as for one of
  Sabatier's own calculations.
- ``RECONSTRUCTED``: the bare slabs are not there. GASpy recorded how far an atom moved from the *unrelaxed*
  slab, which is more than from the relaxed one; that is held against the same limit.
- ``MIGRATED``: the starting sites are not there. What can be told is where the H ended: the atoms it is bound
  to and the nearest site of the slab's contact map, which are held against GASpy's coordination strings
  (Voronoi neighbours).
- ``DISSOCIATED`` cannot happen to one atom; the other way about, an H within 1 Å of another one, of the
  crystal or of the next cell, has become H2.

Prints a table, every odd structure, and as the last line one JSON object. Exits with 2 when the data are not
there. Units: Å, eV.

Usage: ``python -m benchmarks.validation --data DIR [--json]``
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dft.geometry import binding_ratio, cover_ratio, neighbours
from dft.validation import COVERED, MAX_ABS_DELTA_E_EV, SLAB_DISPLACEMENT_A, UNBOUND

if TYPE_CHECKING:
    from ase import Atoms

FILE = "gaspy_h_structures.extxyz.gz"
H2_BOND_A = 1.0
"""H-H distances below this are those of a molecule: 0.74 Å, 0.9 Å when stretched on a metal."""
KINDS = {1: "top", 2: "bridge"}
"""Site kind that a number of neighbours stands for; more are a hollow."""
FIGURES = ("binding_ratio", "cover_ratio", "max_surface_movement_a", "nearest_hydrogen_a", "site_distance_a")


def upright(atoms: Atoms) -> Atoms:
    """Turn a slab so that its normal is z and the side that may relax is up, H included.

    GASpy's cells are tilted, or upside down for the lower side of a slab.
    """
    fixed = sorted({int(i) for c in atoms.constraints for i in c.index if i < len(atoms) - 1})
    free = sorted(set(range(len(atoms) - 1)) - set(fixed))
    turned: Atoms = atoms.copy()
    turned.set_constraint()
    if np.linalg.det(turned.cell.array) < 0:
        turned.set_cell(turned.cell.array * [[1], [1], [-1]])
    turned.set_cell(turned.cell.standard_form()[0], scale_atoms=True)
    heights = np.sort(turned.get_scaled_positions()[:, 2])
    gaps = np.diff(np.append(heights, heights[0] + 1))
    turned.translate(-(heights[gaps.argmax()] + gaps.max() / 2) * turned.cell[2])
    turned.wrap(pbc=True)
    z = turned.positions[:, 2]
    if fixed and z[fixed].mean() > z[free or [-1]].mean():
        turned.rotate(180, "x", rotate_cell=True)
        turned.set_cell(turned.cell.array * [[1], [1], [-1]])
        turned.wrap(pbc=True)
    return turned


def nearest_hydrogen(atoms: Atoms) -> float:
    """Distance of the last atom from the nearest other H, its own periodic copies included, Å."""
    from ase.neighborlist import neighbor_list

    first, second, distances = neighbor_list("ijd", atoms, 5.0)
    chosen = (first == len(atoms) - 1) & (atoms.numbers[second] == 1)
    return float(distances[chosen].min(initial=np.inf))


def nearest_site(atoms: Atoms) -> tuple[str, float]:
    """Kind and lateral distance (Å) of the site that the last atom, an H, is on."""
    from ase.geometry import find_mic

    from pipeline.structures.contact import ContactMap

    points = ContactMap.of(atoms[:-1]).critical_points()
    offsets = np.array([point.position for point in points]) - atoms.positions[-1]
    offsets[:, 2] = 0.0
    _, distances = find_mic(offsets, atoms.cell, pbc=(True, True, False))
    return points[int(distances.argmin())].kind, float(distances.min())


def verdict(row: dict[str, Any]) -> str:
    """First check that fails, in the order of :func:`dft.validation.judge_adslab`."""
    failed = {
        "H2_FORMED": row["nearest_hydrogen_a"] < H2_BOND_A,
        "DESORBED": row["binding_ratio"] > UNBOUND,
        "RECONSTRUCTED": (row["max_surface_movement_a"] or 0.0) > SLAB_DISPLACEMENT_A,
        "ENERGY_OUT_OF_RANGE": not abs(row["delta_e_ev"]) <= MAX_ABS_DELTA_E_EV,
        "ABSORBED": row["cover_ratio"] > COVERED,
    }
    return next((code for code, is_so in failed.items() if is_so), "accepted")


def examine(index: int, frame: Atoms) -> dict[str, Any]:
    """Everything that can be told of one structure."""
    atoms = upright(frame)
    n_slab = len(atoms) - 1
    bound = neighbours(atoms, n_slab, n_slab)
    kind, distance = nearest_site(atoms)
    gaspy = Counter(frame.info["coordination"].split("-"))
    row = {
        "index": index,
        "formula": frame[:-1].get_chemical_formula(),
        "mpid": frame.info["mpid"],
        "miller": " ".join(str(int(i)) for i in frame.info["miller"]),
        "delta_e_ev": float(frame.info["E_ads_eV"]),
        "binding_ratio": binding_ratio(atoms, 1, n_slab),
        "cover_ratio": cover_ratio(atoms, n_slab, n_slab),
        "nearest_hydrogen_a": nearest_hydrogen(atoms),
        "max_surface_movement_a": frame.info.get("max_surface_movement"),
        "gaspy_coordination": frame.info["coordination"],
        "bound_to": "-".join(sorted(atoms.symbols[i] for i, _ in bound)),
        "site": kind,
        "site_distance_a": distance,
        "agrees_elements": Counter(str(atoms.symbols[i]) for i, _ in bound) == gaspy,
        "agrees_number": len(bound) == gaspy.total(),
        "agrees_site": KINDS.get(gaspy.total(), "hollow") == kind,
        "agrees_kind": KINDS.get(gaspy.total(), "hollow") == KINDS.get(len(bound), "hollow"),
    }
    return row | {"verdict": verdict(row)}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over all structures."""
    accepted = [row for row in rows if row["verdict"] == "accepted"]
    share = {key: _share(accepted, key) for key in rows[0] if key.startswith("agrees_")}
    percentiles = {
        name: [float(x) for x in np.percentile([row[name] for row in accepted], [5, 50, 95, 100])]
        for name in FIGURES
        if all(row[name] is not None and np.isfinite(row[name]) for row in accepted)
    }
    return {
        "n": len(rows),
        "verdicts": dict(Counter(row["verdict"] for row in rows).most_common()),
        "not_recorded": sum(row["max_surface_movement_a"] is None for row in rows),
        **share,
        "percentiles_5_50_95_100": percentiles,
        "odd": [
            {key: row[key] for key in ("index", "verdict", "delta_e_ev")}
            for row in rows
            if row["verdict"] != "accepted"
        ],
    }


def _share(rows: list[dict[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


def print_report(rows: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    for code, count in figures["verdicts"].items():
        energies = [row["delta_e_ev"] for row in rows if row["verdict"] == code]
        print(f"{code:22s}{count:5d}   ΔE {min(energies):7.2f} to {max(energies):6.2f} eV")
    print(f"\nof the accepted {figures['verdicts'].get('accepted', 0)}, as GASpy has it:")
    for key, text in (
        ("agrees_elements", "bound to the same elements"),
        ("agrees_number", "bound to as many atoms"),
        ("agrees_kind", "top, bridge or hollow by the atoms bound to"),
        ("agrees_site", "top, bridge or hollow by the nearest site"),
    ):
        print(f"  {text:48s}{figures[key]:8.1%}")
    print(f"\n{'percentile':24s}" + "".join(f"{p:>9s}" for p in ("5", "50", "95", "100")))
    for name, values in figures["percentiles_5_50_95_100"].items():
        print(f"{name:24s}" + "".join(f"{value:9.2f}" for value in values))
    print("\nthe odd ones")
    for row in sorted(rows, key=lambda row: row["verdict"]):
        if row["verdict"] != "accepted":
            print(
                f"{row['index']:4d} {row['verdict']:20s}{row['formula']:12s}({row['miller']})  "
                f"ΔE {row['delta_e_ev']:6.2f}  bond {row['binding_ratio']:.2f}  "
                f"cover {row['cover_ratio']:.2f}  moved {row['max_surface_movement_a'] or 0:.2f} Å  "
                f"bound to {row['bound_to']}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks of the validation on GASpy's relaxed H adslabs")
    parser.add_argument("--data", type=Path, required=True, help="folder with the GASpy reference sets")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    options = parser.parse_args()
    path = options.data / FILE
    if not path.is_file():
        print(f"validation: cannot run, {options.data} lacks {FILE}", file=sys.stderr)
        return 2
    from ase.io import read

    with gzip.open(path, "rt") as handle:
        frames = read(handle, ":", format="extxyz")
    rows = [examine(index, frame) for index, frame in enumerate(frames)]
    figures = summarise(rows)
    if not options.json:
        print_report(rows, figures)
    print(json.dumps({"benchmark": "validation", **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
