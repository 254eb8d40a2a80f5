"""A second start with larger moments, for slabs of magnetic elements that came out without one.

A self-consistency cycle keeps the magnetic state that it fell into. One that lost its moments may have
missed a lower state, or there may be none: iron has a moment, NiAl has not. So a bare or covered slab that
started with moments and ended with none is computed once more from where it ended, with the moments of free
atoms, and the lower of the two energies is kept. Where the second start loses its moments, too, that costs
one self-consistency cycle and no step. An adsorbate on a slab that has none starts without spin and gets no
second start; nor does what a correction has started with larger moments before.

What the first start found is left in ``first-start.json``, with which the second begins: an attempt that goes
on from there computes no more of the first. If the second fails the first is kept. Units: eV, μB.

References
----------
.. [1] Hund's rule: moments of the d shells of free Cr, Mn, Fe, Co and Ni atoms, d5 to d8.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dft.codes import RETRYABLE, FailureCode
from dft.jobs import LOG_FILE, TRAJECTORY_FILE, CalculationKind, JobResult, write_atomically
from dft.patience import patiently
from dft.restart import forget_densities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dft.jobs import AtomsRecord, JobSpec
    from dft.recovery import Remedy

FIRST_FILE = "first-start.json"
"""Result of the first start; there once the second has begun."""
FREE_ATOM_MOMENTS = {24: 5.0, 25: 5.0, 26: 4.0, 27: 3.0, 28: 2.0}
"""Atomic number -> moment that the second start gives it, μB [1]_."""
KINDS = frozenset({CalculationKind.SLAB, CalculationKind.ADSLAB})
SAYS_NOTHING = RETRYABLE | {FailureCode.OUT_OF_MEMORY}
"""Ways for a second start to end that another attempt, or more memory, may mend."""


def is_due(first: JobResult, remedy: Remedy) -> bool:
    """Tell whether what came of the first start calls for a second.

    Parameters
    ----------
    remedy
        Corrections that were in force.
    """
    return (
        first.kind in KINDS
        and first.atoms is not None
        and first.magnetic_moment is not None
        and not any(first.atoms.moments)
        and any(number in FREE_ATOM_MOMENTS for number in first.atoms.numbers)
        and all(correction.moments == 1.0 for correction in remedy.corrections)
    )


def start(first: JobResult) -> AtomsRecord:
    """Structure that the second start begins with: where the first ended, with moments of free atoms.

    It has no tags, so that an adsorbate that has found its place is not put down again.
    """
    assert first.atoms is not None
    moments = tuple(FREE_ATOM_MOMENTS.get(number, 0.0) for number in first.atoms.numbers)
    return first.atoms.model_copy(update={"moments": moments, "tags": ()})


def begin(folder: Path, first: JobResult) -> None:
    """Leave what the first start found, its files put aside."""
    from ase.parallel import world

    if world.rank == 0:
        forget_densities([folder])  # the second must not go on from it
        for path in (folder / TRAJECTORY_FILE, folder / LOG_FILE):
            if path.exists():  # a slab that is held fixed has no trajectory
                path.replace(folder / f"first-{path.name}")
        _write(folder, first)


def inherit(folder: Path, earlier: Sequence[Path]) -> None:
    """Go on with the second start that an earlier attempt has begun, if one has."""
    for each in earlier:
        if (first := read_first(each)) is not None:
            _write(folder, first)
            return


def begun(folders: Sequence[Path]) -> dict[Path, JobResult]:
    """Folders in which a second start was begun, with what the first one found; alike on all ranks."""
    from ase.parallel import broadcast, world

    found = {each: read_first(each) for each in folders} if world.rank == 0 else {}
    known: dict[Path, JobResult] = broadcast({each: first for each, first in found.items() if first})
    return known


def read_first(folder: Path) -> JobResult | None:
    """Read what the first start found; None where the second has not begun, or that cannot be read."""
    with suppress(OSError, ValueError):
        return JobResult.model_validate_json((folder / FIRST_FILE).read_text(encoding="utf-8"))
    return None


def settled(folder: Path, second: JobResult, spec: JobSpec) -> JobResult:
    """Choose between the two starts of an attempt, the lower energy with a moment or else the first.

    Parameters
    ----------
    second
        What an attempt ended with; as it is where no second start was made, or where what stopped it says
        nothing about it.
    """
    first = read_first(folder)
    if first is None or second.code in SAYS_NOTHING:
        return second
    assert first.energy is not None
    told: dict[str, Any] = {"first_energy_ev": first.energy, "second_energy_ev": second.energy}
    if second.energy is None:
        told |= {"kept": "first", "message": f"{second.code}: {second.message}"}
        return _with(first, told, spec)
    assert second.atoms is not None
    told["second_moment"] = second.magnetic_moment
    is_lower = any(second.atoms.moments) and second.energy < first.energy
    return _with(second if is_lower else first, told | {"kept": "second" if is_lower else "first"}, spec)


def has_failed(details: Mapping[str, Any]) -> bool:
    """Tell whether a result was kept only because its second start failed.

    Parameters
    ----------
    details
        Those of the result.
    """
    told = details.get("second_start")
    return told is not None and told["second_energy_ev"] is None


def _with(kept: JobResult, told: dict[str, Any], spec: JobSpec) -> JobResult:
    assert kept.atoms is not None
    atoms = kept.atoms.model_copy(update={"tags": spec.atoms.tags})
    details = kept.details | {"second_start": told}
    return kept.model_copy(update={"attempt": spec.attempt, "atoms": atoms, "details": details})


def _write(folder: Path, first: JobResult) -> None:
    text = first.model_dump_json(indent=1)
    patiently(lambda: write_atomically(folder / FIRST_FILE, text), f"the first start in {folder}")
