"""Build the library of intermetallic bulks from the OC20 bulks (run once, by developers).

``python -m pipeline.structures.make_library WHEEL OUT`` reads ``bulks.pkl`` out of the wheel
``fairchem-data-oc==0.0.1`` and writes ``oc20_bulks.json.gz`` and ``ATTRIBUTION`` into the folder ``OUT``.
The pickle comes from a package registry: it is read without running any of its code.

A bulk is kept if it has one to three elements and all of them are in :data:`ELEMENTS`: the metals of OC20
(alkali and alkaline-earth metals from Na, K, Rb, Cs, Ca, Sr; Sc, Y; the transition metals; Zn, Cd, Hg; Al,
Ga, In, Tl, Sn, Pb, Bi) and the metalloids Si, Ge and Sb, which form intermetallics with them. Hydrogen, B,
C, N, P, As, S, Se, Te and Cl are left out. Units: Å, eV.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.structures.library import FILE_NAME

MEMBER = "fairchem/data/oc/databases/pkls/bulks.pkl"
ELEMENTS = frozenset(
    {
        *("Na", "K", "Rb", "Cs", "Ca", "Sr", "Al", "Si", "Ga", "Ge", "In", "Sn", "Sb", "Tl", "Pb", "Bi"),
        *("Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Y", "Zr", "Nb", "Mo", "Tc", "Ru"),
        *("Rh", "Pd", "Ag", "Cd", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg"),
    }
)
ATTRIBUTION = """\
oc20_bulks.json.gz holds the elemental, binary and ternary intermetallic bulks of the Open Catalyst 2020
(OC20) dataset: cells relaxed with VASP and RPBE, and their energies.

Taken from: Python package fairchem-data-oc 0.0.1 (MIT licence, Copyright (c) Meta Platforms, Inc. and
affiliates), file bulks.pkl.
Dataset: OC20, Creative Commons Attribution 4.0 International (CC-BY-4.0). L. Chanussot et al., Open Catalyst
2020 (OC20) Dataset and Community Challenges, ACS Catal. 2021, 11, 6059-6072, doi:10.1021/acscatal.0c04525.
Starting structures and ids: Materials Project, CC-BY-4.0. A. Jain et al., APL Mater. 2013, 1, 011002,
doi:10.1063/1.4812323.
Changes: selection by element (see pipeline/structures/make_library.py), rounding to 1e-5, forces left out.
"""


class _Inert:
    """Stands for every class of the pickle; keeps the state, runs nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def _no_attribute(*_args: object) -> None:
    """Stand for ``getattr``: ASE pickles a bound method of no use here."""


class _InertUnpickler(pickle.Unpickler):
    """Builds numpy arrays and inert objects, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up what a pickle may refer to."""
        if (module, name) == ("builtins", "getattr"):
            return _no_attribute
        if module.split(".", maxsplit=1)[0] == "ase":
            return _Inert
        arrays = {"ndarray": np.ndarray, "dtype": np.dtype, "_reconstruct": _array_constructor()}
        if module in {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"} and name in arrays:
            return arrays[name]
        message = f"the pickle refers to {module}.{name}"
        raise pickle.UnpicklingError(message)


def _array_constructor() -> Any:
    """Numpy's own constructor of pickled arrays."""
    return np.empty(0).__reduce__()[0]


def read_bulks(wheel: Path) -> list[dict[str, Any]]:
    """Read the wanted bulks of the wheel, ordered by id."""
    with zipfile.ZipFile(wheel) as archive:
        entries = _InertUnpickler(io.BytesIO(archive.read(MEMBER))).load()
    wanted = (_entry(raw["src_id"], raw["atoms"].state) for raw in entries)
    found = [entry for entry in wanted if entry is not None]
    return sorted(found, key=lambda entry: (len(entry["id"]), entry["id"]))


def _entry(source_id: str, state: dict[str, Any]) -> dict[str, Any] | None:
    """Library entry of one OC20 bulk, None if it is not wanted."""
    from ase.data import chemical_symbols

    numbers = state["arrays"]["numbers"]
    if not {chemical_symbols[z] for z in numbers} <= ELEMENTS or len(set(numbers)) > 3:
        return None
    cell = state["_cellobj"].state["array"]
    scaled = state["arrays"]["positions"] @ np.linalg.inv(cell) % 1.0
    order = np.lexsort((*scaled.T.round(4), numbers))
    return {
        "id": source_id,
        "cell": cell.round(5).tolist(),
        "numbers": [int(z) for z in numbers[order]],
        "scaled": (scaled[order].round(5) % 1.0).tolist(),
        "energy_per_atom": round(float(state["_calc"].state["results"]["energy"]) / len(numbers), 5),
    }


def write_library(bulks: list[dict[str, Any]], folder: Path) -> None:
    """Write the library and its attribution; the same bulks give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(bulks, separators=(",", ":"), sort_keys=True).replace(".0,", ",").replace(".0]", "]")
    (folder / FILE_NAME).write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    (folder / "ATTRIBUTION").write_text(ATTRIBUTION, encoding="utf-8")


def main() -> None:
    """Run the script."""
    wheel, folder = sys.argv[1:]
    bulks = read_bulks(Path(wheel))
    write_library(bulks, Path(folder))
    print(f"{len(bulks)} bulks")


if __name__ == "__main__":
    main()
