"""Exports of a campaign's adsorption energies, for other programs. Units: eV, Å.

``csv`` and ``json`` hold a row per adsorption energy; ``extxyz`` and ``db`` (ASE) hold the relaxed
adslabs with ΔE and its provenance.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dft.jobs import replacing
from pipeline.results import observation_rows, to_csv

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from pipeline.campaign import Campaign

FORMATS = ("csv", "json", "extxyz", "db")


def export(campaign: Campaign, path: Path, file_format: str) -> int:
    """Write all adsorption energies to a file, whole or not at all; return how many.

    Parameters
    ----------
    file_format
        One of :data:`FORMATS`.
    """
    rows = observation_rows(campaign)
    with replacing(path) as temporary:
        if file_format == "csv":
            temporary.write_text(to_csv(rows, list(rows[0]) if rows else ["round"]), encoding="utf-8")
        elif file_format == "json":
            document = {
                "campaign": campaign.name,
                "recipe": campaign.settings.recipe.model_dump(mode="json"),
                "rows": rows,
            }
            temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        elif file_format == "extxyz":
            _write_extxyz(campaign, rows, temporary)
        else:
            _write_database(campaign, rows, temporary)
    return len(rows)


def _relaxed(campaign: Campaign, row: dict[str, Any]) -> Atoms:
    """Relaxed adslab of an observation with its total energy attached."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = campaign.materialiser.final_atoms(row["calculation_id"])
    calculation = campaign.store.calculation(row["calculation_id"])
    assert calculation is not None
    atoms.calc = SinglePointCalculator(atoms, energy=calculation.energy)
    return atoms


def _write_extxyz(campaign: Campaign, rows: list[dict[str, Any]], path: Path) -> None:
    from ase.io import write

    images = []
    for row in rows:
        atoms = _relaxed(campaign, row)
        atoms.info.update({k: v for k, v in row.items() if v not in (None, "")})
        images.append(atoms)
    if images:
        write(path, images, format="extxyz")
    else:
        path.touch()


def _write_database(campaign: Campaign, rows: list[dict[str, Any]], path: Path) -> None:
    from ase.db import connect

    with connect(path, type="db", append=False) as database:
        for row in rows:
            spread = row["ensemble_std_ev"]
            text = {k: str(v) for k, v in row.items() if isinstance(v, str)}
            # ASE refuses keys that look like a formula or number and values that look like numbers
            database.write(
                _relaxed(campaign, row),
                delta_e_ev=row["delta_e_ev"],
                **({} if spread is None else {"ensemble_std_ev": spread}),
                adsorbate=row["adsorbate"],
                round=row["round"],
                data=text,
            )
