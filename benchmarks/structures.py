"""Hydrogen on whole structures of GASpy: what a pretrained potential says of them, kept in a file.

``gaspy_h_structures.extxyz.gz`` (Tran and Ulissi 2018; RPBE) holds relaxed adslabs, the hydrogen last. The
bare slab is what is left without it. The hydrogen is either put where a campaign would put it, above the
place that it ended at and at the bond length that is usual there, or left where it is. A campaign's slab is
not relaxed around the hydrogen, so these energies flatter the potential a little. Units: eV, Å.
"""

from __future__ import annotations

import gzip
import io
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.published_rows import gaspy_site, known_crystal
from benchmarks.reference_data import OUTLIER_EV, Labelled
from dft import pretrained
from pipeline.structures.adsorbates import contact_height
from surrogate.sites import BulkContext, distinct, shell_of

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from surrogate.sites import SiteEnvironment

FILE = "gaspy_h_structures.extxyz.gz"
REFERENCE = {"H2": 0.5}


def read_structures(folder: Path) -> list[Atoms]:
    """Adslabs whose ΔE is an adsorption energy and whose neighbours are told, in the order of the file."""
    from ase.io import read

    with gzip.open(folder / FILE, "rt", encoding="utf-8") as handle:
        found = read(io.StringIO(handle.read()), index=":", format="extxyz")
    return [a for a in found if abs(a.info["E_ads_eV"]) < OUTLIER_EV and a.info.get("neighborcoord")]


def labelled(structures: list[Atoms]) -> Labelled:
    """Return the structures as sites that the surrogate can read."""
    return Labelled(
        name="gaspy_h_structures",
        adsorbate="H",
        environments=[_environment(atoms) for atoms in structures],
        delta_e=np.array([float(atoms.info["E_ads_eV"]) for atoms in structures]),
        bulks=np.array([str(atoms.info["mpid"]) for atoms in structures]),
        surfaces=distinct(_surface(atoms.info) for atoms in structures)[1],
    )


def _surface(info: dict[str, Any]) -> tuple[str, ...]:
    return (str(info["mpid"]), str(info["miller"]), f"{float(info['shift']):.2f}", str(info["top"]))


def _environment(atoms: Atoms) -> SiteEnvironment:
    info = atoms.info
    slab = shell_of(atoms.get_chemical_symbols()[:-1])
    site = gaspy_site(str(info["coordination"]), str(info["neighborcoord"]))
    return replace(site, bulk=known_crystal(str(info["mpid"])) or BulkContext(slab))


def pretrained_energies(structures: list[Atoms], cache: Path | None) -> dict[str, Any]:
    """ΔE by the potential, eV, of shape (n_structures,), NaN where it gives none; and the CPU-seconds a site.

    Parameters
    ----------
    cache
        Where they are kept between runs, one JSON document a line; None keeps nothing.
    """
    known = _read(cache, pretrained.label())
    calculator, gas, rows = None, 0.0, []
    for index, atoms in enumerate(structures):
        key = f"{index}:{atoms.info['fwid']}"
        if key not in known:
            if calculator is None:
                calculator = pretrained.load()
                gas = pretrained.gas_energy("H2", calculator)
            reference = pretrained.reference_energy(REFERENCE, {"H2": gas})
            known[key] = _measured(atoms, calculator, reference)
            if cache is not None:
                with cache.open("a", encoding="utf-8") as handle:
                    handle.write(
                        json.dumps({"key": key, "potential": pretrained.label(), **known[key]}) + "\n"
                    )
        rows.append(known[key])
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in ("seated", "relaxed")}
    return {**columns, "cpu_seconds_per_site": float(np.mean([row["cpu_seconds"] for row in rows]))}


def _read(cache: Path | None, label: str) -> dict[str, dict[str, Any]]:
    if cache is None or not cache.is_file():
        return {}
    lines = map(json.loads, cache.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line for line in lines if line["potential"] == label}


def _measured(atoms: Atoms, calculator: Calculator, reference: float) -> dict[str, Any]:
    """One structure with the hydrogen seated and as it is; the time is that of the former and its slab."""
    from ase import Atoms

    started = time.process_time()
    slab = atoms[:-1]
    slab.set_tags(1)
    lateral = atoms.positions[-1, :2]
    height = contact_height(slab, lateral, "H")
    slab_energy = pretrained.energy(slab, calculator)
    seated = None
    if np.isfinite(height):  # else it has passed between all atoms, into the slab
        adslab = slab + Atoms("H", positions=[[*lateral, height]], tags=[0])
        seated = pretrained.adsorption_energy(adslab, calculator, slab_energy, reference)
    seconds = time.process_time() - started
    relaxed = pretrained.energy(atoms, calculator) - slab_energy - reference
    return {"seated": seated, "relaxed": relaxed, "cpu_seconds": seconds}
