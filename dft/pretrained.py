"""Adsorption energies from a pretrained potential: a guess at ΔE before anything was computed.

ΔE = E(adslab) − E(slab) − E(reference), all three with the potential, the slab as it was cut. The potential
is ``diep`` [1]_, trained on r2SCAN energies of MatPES; its weights come in its wheel, so that nothing is
downloaded. Its level differs from the campaign's functional; what it is good at is which site binds stronger.

The adsorbate is not relaxed but set at the bond length that its site will give it (:func:`dft.start.seated`).
On hydrogen of GASpy's intermetallics the seat is what matters, and relaxing the adsorbate from it brings
nothing for seven times the work; where no usual bond length is known, the adsorbate is relaxed on the fixed
slab instead. ``docs/how-to/cold-start.md`` has the figures. Units: eV, Å.

References
----------
.. [1] PyPI package ``diep`` 2.0.0 (BSD-3-Clause); architecture and training set in its PROVENANCE.json.
"""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from config.errors import MissingExtraError
from dft.start import BOND_RATIOS, seated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ase import Atoms
    from ase.calculators.calculator import Calculator

GAS_BOX_A = 12.0
"""Edge of the box of a reference molecule, Å; the potential sees no farther than 5 Å."""
MAX_STEPS = 15
"""Steps of relaxing an adsorbate of which no usual bond length is known."""
FMAX_EV_PER_A = 0.05
STEP_A = 0.15
"""Longest step of an atom, Å."""
FARTHEST_EV = 5.0
"""A larger ΔE is a potential out of its depth, not an adsorption energy."""


def require() -> None:
    """Refuse to go on without the extra.

    Raises
    ------
    MissingExtraError
        If ``diep`` or ``torch`` is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("diep", "torch") if find_spec(name) is None]
    if missing:
        message = (
            f"surrogate.pretrained: diep needs the extra 'mlip'; not installed: {', '.join(missing)}. "
            "Run pip install 'sabatier[mlip]' (torch's CPU build will do, see docs/how-to/cold-start.md), or "
            "leave the key out"
        )
        raise MissingExtraError(message)


def label() -> str:
    """Name and version of the potential, such as ``diep 2.0.0``: energies of another one do not mix.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    require()
    try:
        return f"diep {version('diep')}"
    except PackageNotFoundError:
        return "diep"


def load() -> Calculator:
    """Load the potential as an ASE calculator on one thread; takes about three seconds.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    require()
    import torch
    from diep.pretrained import make_calculator

    torch.set_num_threads(1)
    calculator: Calculator = make_calculator(stress=False)
    return calculator


def unknown_elements(calculator: Calculator, symbols: Iterable[str]) -> list[str]:
    """Elements that the potential was not trained on, sorted; none for a calculator that does not tell."""
    known = getattr(calculator, "element_types", None)
    return [] if known is None else sorted(set(symbols) - set(known))


def energy(atoms: Atoms, calculator: Calculator) -> float:
    """Potential energy of a structure as it is, eV; the structure is not changed."""
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = calculator
    return float(copy.get_potential_energy())


def gas_energy(molecule: str, calculator: Calculator) -> float:
    """Energy of a reference molecule relaxed with the potential, eV.

    Parameters
    ----------
    molecule
        One of :data:`config.adsorbates.REFERENCE_MOLECULES`.
    """
    from dft.references import gas_atoms

    atoms = gas_atoms(molecule, GAS_BOX_A)
    _relax(atoms, calculator, steps=50)
    return float(atoms.get_potential_energy())


def reference_energy(reference: Mapping[str, float], gases: Mapping[str, float]) -> float:
    """Energy that ΔE is counted from, eV: those of molecules times their numbers."""
    return sum(number * gases[molecule] for molecule, number in reference.items())


def adsorption_energy(
    adslab: Atoms, calculator: Calculator, slab_energy: float, reference: float
) -> float | None:
    """ΔE of an adsorbate that was put on a slab, eV.

    Parameters
    ----------
    adslab
        As :func:`pipeline.structures.adsorbates.place` makes it: the adsorbate's atoms have tag 0.
    slab_energy
        Of the same slab without the adsorbate, eV.
    reference
        Energy that ΔE is counted from, eV.

    Returns
    -------
    float or None
        None where what the potential gives is no adsorption energy.
    """
    settled = seated(adslab)
    adsorbate = np.flatnonzero(settled.get_tags() == 0)
    if str(settled[adsorbate].symbols) not in BOND_RATIOS:
        settled = _settled(adslab, calculator)
    delta_e = energy(settled, calculator) - slab_energy - reference
    return delta_e if math.isfinite(delta_e) and abs(delta_e) <= FARTHEST_EV else None


def _settled(adslab: Atoms, calculator: Calculator) -> Atoms:
    """Relax the adsorbate on the fixed slab."""
    from ase.constraints import FixAtoms

    atoms: Atoms = adslab.copy()
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() > 0)))
    _relax(atoms, calculator, MAX_STEPS)
    return atoms


def _relax(atoms: Atoms, calculator: Calculator, steps: int) -> None:
    from ase.optimize import BFGS

    atoms.calc = calculator
    BFGS(atoms, logfile=None, maxstep=STEP_A).run(fmax=FMAX_EV_PER_A, steps=steps)
