"""Error bars of the functional: the BEEF-vdW ensemble of an adsorption energy.

BEEF-vdW [1]_ comes with a distribution of functionals around it, wide enough to cover the errors it makes
against experiment. The energy of each member is E + Σ_k a_k e_k: the 32 contributions e_k of a
calculation (30 Legendre polynomials of exchange, LDA and PBE correlation), found without
self-consistency, times that member's coefficients a_k. So the contributions are all that is kept with a
result: whoever compares calculations draws the coefficients once, for all of them alike, and the
spread of a difference holds the errors that do not cancel.

Energies in eV.

References
----------
.. [1] Wellendorff et al., Phys. Rev. B 85, 235149 (2012), doi:10.1103/PhysRevB.85.235149.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin
    from numpy.typing import NDArray

    from config.recipe import RecipeSettings

    Floats = NDArray[np.float64]

CONTRIBUTIONS = "beef_contributions_ev"
"""Key of a result's ``details`` that holds the contributions."""
N_CONTRIBUTIONS = 32
N_MEMBERS = 2000
"""As in Wellendorff et al.; the standard deviation is then known to 1.6 %."""
SEED = 0
"""Of the coefficients; ASE's own."""


def contributions(
    recipe: RecipeSettings, atoms: Atoms, new_calculator: Callable[[], GetPropertiesMixin]
) -> list[float] | None:
    """Contributions to the energy of a computed structure, eV; None if the functional has no ensemble.

    Parameters
    ----------
    atoms
        With the calculator that computed it, or with results that were read from a file.
    new_calculator
        Makes a calculator for the second case; the structure is computed again.
    """
    if recipe.engine != "gpaw" or recipe.xc != "BEEF-vdW":
        return None
    if not hasattr(atoms.calc, "get_nonselfconsistent_energies"):
        atoms.calc = new_calculator()
        atoms.get_potential_energy()
    found = atoms.calc.get_nonselfconsistent_energies("beefvdw")
    return [float(energy) for energy in found]


def as_details(contributions_ev: Sequence[float] | None) -> dict[str, Any]:
    """What a result's ``details`` keep of the contributions."""
    return {} if contributions_ev is None else {CONTRIBUTIONS: list(contributions_ev)}


@cache
def coefficients() -> Floats:
    """Coefficients of the members, shape (:data:`N_MEMBERS`, :data:`N_CONTRIBUTIONS`)."""
    from ase.dft.bee import BEEFEnsemble

    ensemble = BEEFEnsemble(e=0.0, contribs=np.zeros(N_CONTRIBUTIONS), xc="BEEF-vdW", verbose=False)
    drawn: Floats = ensemble.get_beefvdw_ensemble_coefs(N_MEMBERS, SEED)
    return drawn


def members(contributions_ev: Sequence[float]) -> Floats:
    """Energies of the members minus that of BEEF-vdW itself, eV, shape (:data:`N_MEMBERS`,).

    Member for member they belong to the same functional in every calculation.

    Raises
    ------
    ValueError
        If the contributions are not :data:`N_CONTRIBUTIONS` finite numbers.
    """
    found = np.asarray(contributions_ev, dtype=float)
    if found.shape != (N_CONTRIBUTIONS,) or not np.isfinite(found).all():
        n_finite = int(np.isfinite(found).sum())
        message = f"{n_finite} finite contributions to the ensemble, {N_CONTRIBUTIONS} are wanted"
        raise ValueError(message)
    energies: Floats = coefficients() @ found
    return energies


def delta_e_std(
    adslab: Mapping[str, Any],
    slab: Mapping[str, Any],
    gases: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, float],
) -> float | None:
    """Standard deviation of ΔE over the ensemble, eV: ΔE of every member, then their spread.

    Parameters
    ----------
    adslab, slab
        ``details`` of the results.
    gases
        Those of the gases, by molecule.
    reference
        Molecule -> coefficient of its energy in the reference.

    Returns
    -------
    float or None
        None unless all of them have contributions.

    Raises
    ------
    ValueError
        If the contributions of one are damaged.
    """
    terms = [(1.0, adslab), (-1.0, slab), *((-c, gases.get(m, {})) for m, c in reference.items())]
    if not all(CONTRIBUTIONS in details for _, details in terms):
        return None
    delta_e = np.sum([factor * members(details[CONTRIBUTIONS]) for factor, details in terms], axis=0)
    return float(delta_e.std())
