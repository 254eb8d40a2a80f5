"""How much the fragments of crystals tell of their properties beyond composition.

Real labels that can be had without a network: formation energies of the built-in library's compounds (VASP,
RPBE) against the elements, from the library's own energies; and, where ``--data`` holds them, the tables that
the source distribution of matminer 0.3.2 carries in ``matminer/datasets`` (BSD licence; data of the Materials
Project, CC-BY-4.0):

- ``elastic_tensor.csv``: bulk and shear moduli (Voigt-Reuss-Hill), de Jong et al., Sci. Data 2 (2015) 150009,
  doi:10.1038/sdata.2015.9; the Debye temperature follows from both and the density after Anderson, J. Phys.
  Chem. Solids 24 (1963) 909, doi:10.1016/0022-3697(63)90067-2;
- ``dielectric_constant.csv``: band gaps of insulators, Petousis et al., Sci. Data 4 (2017) 160134,
  doi:10.1038/sdata.2016.134.

No labels were found for metal or insulator, heat capacities and thermal expansion. Every model is judged on
chemical systems that it has not seen; the yardstick is the same model on the composition's descriptors alone.

    python benchmarks/fragments.py [--data DIR] [--sets formation_energy,...] [--limit N] [--seed N] [--json]

The last line is JSON: by set ``mae``, ``rmse``, ``mae_composition``, ``mae_ratio`` (of the two), coverages,
the CPU-milliseconds that describing a crystal took. Units: eV/atom, GPa, K, eV.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from surrogate.fragments import crystal_descriptors, descriptor_names
from surrogate.property_model import PropertyModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms
    from numpy.typing import NDArray

ELASTIC, DIELECTRIC = "elastic_tensor.csv", "dielectric_constant.csv"
HBAR_OVER_BOLTZMANN = 1.054571817e-34 / 1.380649e-23
"""K s (CODATA 2018)."""
LARGEST_EV = 2.0
"""Formation energy per atom that no intermetallic exceeds; nine of the library's do by far, from calculations
that went astray."""
GPA, AMU_PER_A3 = 1e9, 1660.53906660
"""Pa; kg/m³ (CODATA 2018)."""


@dataclass(frozen=True)
class Labelled:
    """Crystals and one property of each."""

    unit: str
    crystals: list[Atoms]
    values: NDArray[np.float64]


def formation_energies(data: Path | None) -> Labelled:
    """Compounds of the built-in library; elements at their lowest energy in it."""
    from pipeline.structures.library import library

    del data
    elements: dict[str, float] = {}
    for bulk in library().values():
        if len(bulk.elements) == 1:
            (symbol,) = bulk.elements
            elements[symbol] = min(bulk.energy_per_atom, elements.get(symbol, np.inf))
    crystals, values = [], []
    for bulk in library().values():
        atoms = bulk.atoms()
        if len(bulk.elements) == 1 or not bulk.elements <= set(elements):
            continue
        energy = bulk.energy_per_atom - np.mean([elements[s] for s in atoms.get_chemical_symbols()])
        if abs(energy) <= LARGEST_EV:
            crystals.append(atoms)
            values.append(energy)
    return Labelled("eV/atom", crystals, np.array(values))


def bulk_moduli(data: Path | None) -> Labelled:
    rows = list(_rows(data, ELASTIC))
    return Labelled("GPa", [atoms for atoms, _ in rows], np.array([float(row["K_VRH"]) for _, row in rows]))


def shear_moduli(data: Path | None) -> Labelled:
    rows = list(_rows(data, ELASTIC))
    return Labelled("GPa", [atoms for atoms, _ in rows], np.array([float(row["G_VRH"]) for _, row in rows]))


def debye_temperatures(data: Path | None) -> Labelled:
    rows = list(_rows(data, ELASTIC))
    values = [debye_temperature(atoms, float(row["K_VRH"]), float(row["G_VRH"])) for atoms, row in rows]
    return Labelled("K", [atoms for atoms, _ in rows], np.array(values))


def band_gaps(data: Path | None) -> Labelled:
    rows = list(_rows(data, DIELECTRIC))
    return Labelled("eV", [atoms for atoms, _ in rows], np.array([float(row["band_gap"]) for _, row in rows]))


SETS: dict[str, Callable[[Path | None], Labelled]] = {
    "formation_energy": formation_energies,
    "bulk_modulus": bulk_moduli,
    "shear_modulus": shear_moduli,
    "debye_temperature": debye_temperatures,
    "band_gap": band_gaps,
}


def debye_temperature(atoms: Atoms, bulk_modulus_gpa: float, shear_modulus_gpa: float) -> float:
    """Anderson's Debye temperature, K: of the mean velocity of sound in a polycrystal."""
    density = atoms.get_masses().sum() / atoms.get_volume() * AMU_PER_A3
    transverse = np.sqrt(shear_modulus_gpa * GPA / density)
    longitudinal = np.sqrt((bulk_modulus_gpa + 4.0 / 3.0 * shear_modulus_gpa) * GPA / density)
    mean = ((2.0 / transverse**3 + 1.0 / longitudinal**3) / 3.0) ** (-1.0 / 3.0)
    wave_number = (6.0 * np.pi**2 * len(atoms) / (atoms.get_volume() * 1e-30)) ** (1.0 / 3.0)
    return float(HBAR_OVER_BOLTZMANN * wave_number * mean)


def _rows(data: Path | None, name: str) -> Iterator[tuple[Atoms, dict[str, str]]]:
    """Crystals and their rows in one of matminer's tables."""
    from ase.io import read

    if data is None or not (data / name).is_file():
        raise FileNotFoundError(name)
    csv.field_size_limit(2**31 - 1)
    with (data / name).open(encoding="utf-8") as lines:
        reader = csv.reader(itertools.dropwhile(lambda line: line.startswith("#"), lines))
        columns = next(reader)
        for cells in reader:  # some tables number their rows in a column without a name
            row = dict(zip(columns, cells[-len(columns) :], strict=True))
            yield read(io.StringIO(row["poscar"]), format="vasp"), row


def measure(labelled: Labelled, limit: int | None, seed: int) -> dict[str, Any]:
    """Figures of one set."""
    chosen = np.random.default_rng(seed).permutation(len(labelled.values))[:limit]
    crystals = [labelled.crystals[i] for i in chosen]
    values = labelled.values[chosen]
    started = time.process_time()
    descriptors = crystal_descriptors(crystals)
    milliseconds = 1e3 * (time.process_time() - started) / len(crystals)
    systems = ["-".join(sorted(set(atoms.get_chemical_symbols()))) for atoms in crystals]
    ids = [str(i) for i in chosen]
    names = descriptor_names()
    composition = [i for i, name in enumerate(names) if name.startswith("composition: ")]
    of_composition = PropertyModel("composition", seed=seed, names=tuple(names[i] for i in composition))
    of_composition.fit(descriptors[:, composition], values, systems, ids)
    started = time.process_time()
    of_fragments = PropertyModel("fragments", seed=seed).fit(descriptors, values, systems, ids)
    return {
        "unit": labelled.unit,
        **of_fragments.metrics_,
        "mae_composition": of_composition.metrics_["mae"],
        "rmse_composition": of_composition.metrics_["rmse"],
        "mae_ratio": of_fragments.metrics_["mae"] / of_composition.metrics_["mae"],
        "descriptor_cpu_ms": milliseconds,
        "training_cpu_seconds": time.process_time() - started,
        "families": of_fragments.record()["families"],
        "importances": dict(list(of_fragments.importances_.items())[:8]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with matminer's tables")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated")
    parser.add_argument("--limit", type=int, help="crystals of each set, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line")
    given = parser.parse_args()
    names = given.sets.split(",")
    if unknown := [name for name in names if name not in SETS]:
        print(f"unknown set {', '.join(unknown)}; allowed: {', '.join(SETS)}", file=sys.stderr)
        return 2
    results = {}
    for name in names:
        try:
            results[name] = measure(SETS[name](given.data), given.limit, given.seed)
        except FileNotFoundError as missing:
            print(f"{name}: left out, as --data holds no {missing}", file=sys.stderr)
            continue
        if not given.json:
            print(_line(name, results[name]), flush=True)
    if not results:
        return 2
    print(json.dumps({"benchmark": "fragments", "results": results}))
    return 0


def _line(name: str, found: dict[str, Any]) -> str:
    return (
        f"{name:18s} {found['n']:5.0f} crystals  MAE {found['mae']:8.3f}  RMSE {found['rmse']:8.3f}  "
        f"composition {found['mae_composition']:8.3f}  ratio {found['mae_ratio']:.3f}  "
        f"median {found['mae_of_the_median']:8.3f}  68 %: {found['coverage_68']:.3f}  "
        f"90 %: {found['coverage_90']:.3f}  [{found['unit']}]"
    )


if __name__ == "__main__":
    sys.exit(main())
