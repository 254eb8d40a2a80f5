"""Verdict on a relaxed adslab: still the adsorbate on its site, with a credible energy, or not.

:func:`judge_adslab` runs the checks below in this order and reports the first that fails; the order
goes from what makes the energy meaningless to what only renames it:

1. ``DISSOCIATED``: a bond of the adsorbate is broken. First, because every later check takes the
   adsorbate for one molecule.
2. ``DESORBED``: the atom that bound to the slab at the start touches no slab atom any more, or has
   left through the slab. A CO that turned over and holds on by its oxygen counts as desorbed: what
   was asked for, adsorption through carbon, is gone.
3. ``RECONSTRUCTED``: slab atoms left the places they have in the relaxed bare slab, so that ΔE holds
   the energy of another surface.
4. ``ENERGY_OUT_OF_RANGE``: the geometry is fine and ΔE still makes no sense.
5. ``ABSORBED``: the adsorbate sank below the surface; its energy is that of dissolved H, say.
6. ``MIGRATED``: all is well, but on another site; the energy is an observation of *that* site. Last,
   because only a sound energy may be stored under another name.

Bonds are told by distances over the sum of covalent radii (Cordero et al., Dalton Trans. 2008, 2832,
as tabulated by ASE), periodic images included. No check depends on which periodic copy of an atom a
file holds, on a common shift of all atoms, or on the order of the slab's atoms. Units: Å, eV.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dft.codes import FailureCode

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BROKEN_BOND = 1.3
"""A bond longer than this times its covalent sum is broken. For CO that is 1.85 Å: upright CO has 1.14
to 1.20 Å, CO bent over on early transition metals up to 1.4 Å, and the barrier to C + O lies near
1.9 Å."""
UNBOUND = 1.5
"""An adsorbate atom farther than this times the covalent sum from every slab atom is not bound. Bound H
and C sit at 0.9 to 1.15 times the sum; physisorbed molecules (3 Å and more on Cu, sum 2.1 Å for C) lie
beyond. AdsorbML uses the same factor (Lan et al., npj Comput. Mater. 9, 172 (2023))."""
SLAB_DISPLACEMENT_A = 1.0
"""A slab atom that far from its place in the bare slab has changed its site. Atoms pulled by an
adsorbate move 0.1 to 0.4 Å; changing site takes half a metal-metal distance, 1.2 Å and more. GASpy
allowed 1.5 Å, but from the unrelaxed slab."""
MAX_DESCENT_A = 1.2
"""An adsorbate that sinks deeper is inside the slab. Adsorbates start in touch with their site's atoms and
settle by 0.3 to 0.7 Å; the nearest place for H below fcc(111) lies 1.5 Å and more below where H starts."""
MIGRATION_MARGIN_A = 0.25
"""Another site must be this much nearer than the starting one. Neighbouring sites lie 0.7 Å (bridge and
hollow on Cu(111)) or more apart, so an adsorbate between two sites keeps the name it started with."""
MAX_ABS_DELTA_E_EV = 5.0
"""GASpy's limit on |ΔE|, eV: it kept −5 to 5."""


@dataclass(frozen=True)
class SiteImage:
    """One symmetry copy of a site."""

    site_id: str
    xy: tuple[float, float]
    """Position in units of the adslab's in-plane cell vectors; any periodic copy will do."""


@dataclass(frozen=True)
class Outcome:
    """What became of an adslab."""

    code: FailureCode | None
    """None when the energy belongs to the site that was asked for."""
    site_id: str | None
    """Site that the energy describes; None when it describes none."""
    message: str = ""
    """One sentence for a person; empty when all is well."""
    details: dict[str, float] = field(default_factory=dict)
    """The figures that decided: distances in Å, ``delta_e_ev`` in eV."""


def judge_adslab(
    initial: Atoms,
    final: Atoms,
    n_adsorbate_atoms: int,
    sites: Sequence[SiteImage],
    start_site_id: str,
    bare_slab: Atoms | None,
    delta_e_ev: float,
) -> Outcome:
    """Decide what the energy of a relaxed adslab stands for.

    Parameters
    ----------
    initial, final
        The adslab before and after relaxation, same cell and atom order; the adsorbate's atoms last.
    sites
        Every symmetry copy of every distinct site, over the whole cell of the adslab.
    start_site_id
        Site that the adsorbate was placed on.
    bare_slab
        The relaxed slab without adsorbate, atom order as in the adslab; None compares with ``initial``.
    delta_e_ev
        Adsorption energy, eV.

    Raises
    ------
    ValueError
        If the structures do not match each other, or ``sites`` lacks the starting site.
    """
    n_slab = len(final) - n_adsorbate_atoms
    reference = initial[:n_slab] if bare_slab is None else bare_slab
    _check_consistency(initial, final, reference, n_adsorbate_atoms)
    anchor = binding_atom(initial, n_adsorbate_atoms)
    details = {
        "adsorbate_bond_ratio": longest_bond_ratio(initial, final, n_adsorbate_atoms),
        "binding_ratio": binding_ratio(final, n_adsorbate_atoms, anchor),
        "max_slab_displacement_a": largest_displacement(reference, final[:n_slab]),
        "delta_e_ev": float(delta_e_ev),
        "descent_a": descent_into_slab(initial, final, n_slab, anchor),
    }
    flaw = _first_flaw(details, _desorption(initial, final, n_adsorbate_atoms, anchor))
    if flaw is not None:
        code, message = flaw
        return Outcome(code, None, message, details)
    distances = site_distances(initial, final, n_slab, anchor, sites)
    end = resting_site(distances, start_site_id)
    details["start_site_distance_a"] = distances[start_site_id]
    details["end_site_distance_a"] = distances[end]
    if end == start_site_id:
        return Outcome(None, start_site_id, "", details)
    message = f"moved from site {start_site_id} to {end}"
    return Outcome(FailureCode.MIGRATED, end, message, details)


def _first_flaw(details: dict[str, float], desorption: str) -> tuple[FailureCode, str] | None:
    """First check that fails, in the order that the module's docstring gives, with what it found."""
    stretch, moved = details["adsorbate_bond_ratio"], details["max_slab_displacement_a"]
    delta_e_ev, descent = details["delta_e_ev"], details["descent_a"]
    checks = [
        (
            stretch > BROKEN_BOND,
            FailureCode.DISSOCIATED,
            f"a bond of the adsorbate is {stretch:.2f} times its covalent length",
        ),
        (bool(desorption), FailureCode.DESORBED, desorption),
        (
            moved > SLAB_DISPLACEMENT_A,
            FailureCode.RECONSTRUCTED,
            f"a slab atom moved {moved:.2f} Å from the bare slab",
        ),
        (
            not abs(delta_e_ev) <= MAX_ABS_DELTA_E_EV,  # so that NaN is caught too
            FailureCode.ENERGY_OUT_OF_RANGE,
            f"ΔE = {delta_e_ev:.2f} eV is outside ±{MAX_ABS_DELTA_E_EV:g} eV",
        ),
        (descent > MAX_DESCENT_A, FailureCode.ABSORBED, f"sank {descent:.2f} Å into the slab"),
    ]
    return next(((code, message) for failed, code, message in checks if failed), None)


def longest_bond_ratio(initial: Atoms, final: Atoms, n_adsorbate_atoms: int) -> float:
    """Longest final length among the adsorbate's initial bonds, over its covalent sum; 0 without bonds."""
    molecule = range(len(final) - n_adsorbate_atoms, len(final))
    before = _bond_ratios(initial, molecule, molecule)
    after = _bond_ratios(final, molecule, molecule)
    bonded = np.triu(before <= BROKEN_BOND, k=1)
    return float(after[bonded].max(initial=0.0))


def binding_atom(atoms: Atoms, n_adsorbate_atoms: int) -> int:
    """Index of the adsorbate atom that is nearest to the slab, in units of the covalent sum."""
    n_slab = len(atoms) - n_adsorbate_atoms
    ratios = _bond_ratios(atoms, range(n_slab, len(atoms)), range(n_slab))
    return n_slab + int(ratios.min(axis=1).argmin())


def binding_ratio(atoms: Atoms, n_adsorbate_atoms: int, index: int) -> float:
    """Distance of an adsorbate atom from the nearest slab atom, over the covalent sum."""
    n_slab = len(atoms) - n_adsorbate_atoms
    return float(_bond_ratios(atoms, [index], range(n_slab)).min())


def largest_displacement(reference: Atoms, slab: Atoms) -> float:
    """Largest distance (Å) of a slab atom from its place in ``reference``, a common shift left out."""
    displacements = _displacements(reference, slab)
    return float(np.linalg.norm(displacements - _common_shift(displacements), axis=1).max())


def descent_into_slab(initial: Atoms, final: Atoms, n_slab: int, index: int) -> float:
    """How far (Å) an atom went down along the surface normal, relative to the slab."""
    displacements = _displacements(initial, final)
    return float(_common_shift(displacements[:n_slab])[2] - displacements[index][2])


def judge_slab(initial: Atoms, final: Atoms) -> Outcome:
    """Judge a relaxed bare slab: sites lie where the *unrelaxed* slab puts them, so it must resemble it."""
    moved = largest_displacement(initial, final)
    details = {"max_slab_displacement_a": moved}
    if moved > SLAB_DISPLACEMENT_A:
        message = f"an atom of the bare slab moved {moved:.2f} Å"
        return Outcome(FailureCode.RECONSTRUCTED, None, message, details)
    return Outcome(None, None, "", details)


def site_distances(
    initial: Atoms, final: Atoms, n_slab: int, anchor: int, sites: Sequence[SiteImage]
) -> dict[str, float]:
    """In-plane distance (Å) of atom ``anchor`` from the nearest copy of each site, by site id.

    The sites lie where the *initial* slab puts them, so a shift that all slab atoms of ``final`` share
    is taken back first.
    """
    from ase.geometry import find_mic

    slab_shift = _common_shift(_displacements(initial[:n_slab], final[:n_slab]))
    position = final.cell.scaled_positions(final.positions[anchor] - slab_shift)
    separations = np.array([[*site.xy, 0.0] for site in sites]) - position
    separations[:, 2] = 0.0  # only the part in the plane counts
    _, lengths = find_mic(separations @ final.cell.array, final.cell, pbc=(True, True, False))
    nearest: dict[str, float] = defaultdict(lambda: math.inf)
    for site, length in zip(sites, lengths, strict=True):
        nearest[site.site_id] = min(nearest[site.site_id], float(length))
    return dict(nearest)


def resting_site(distances: dict[str, float], start_site_id: str) -> str:
    """Site that the adsorbate is on: the nearest, unless the starting one is about as near.

    Raises
    ------
    ValueError
        If the starting site is not among those of ``distances``.
    """
    if start_site_id not in distances:
        message = f"the sites hold no copy of the starting site {start_site_id!r}"
        raise ValueError(message)
    nearest = min(distances, key=lambda site_id: distances[site_id])
    clearly_nearer = distances[start_site_id] - distances[nearest] > MIGRATION_MARGIN_A
    return nearest if clearly_nearer else start_site_id


def _desorption(initial: Atoms, final: Atoms, n_adsorbate_atoms: int, anchor: int) -> str:
    """Why the adsorbate counts as desorbed; empty when it does not."""
    n_slab = len(final) - n_adsorbate_atoms
    ratio = binding_ratio(final, n_adsorbate_atoms, anchor)
    symbol = final.symbols[anchor]
    if ratio > UNBOUND:
        others = [i for i in range(n_slab, len(final)) if i != anchor]
        for other in others:
            if binding_ratio(final, n_adsorbate_atoms, other) <= UNBOUND:
                return f"turned over: {final.symbols[other]} holds the surface, {symbol} has left it"
        return f"{symbol} is {ratio:.2f} times the covalent length away from every slab atom"
    if _side_of_slab(initial, n_slab, anchor) != _side_of_slab(final, n_slab, anchor):
        return f"{symbol} left the surface and is at the other side of the slab"
    return ""


def _side_of_slab(atoms: Atoms, n_slab: int, index: int) -> bool:
    """Whether an atom is in the upper half of the period along c, counted from the slab's middle."""
    heights = atoms.get_scaled_positions(wrap=False)[:, 2]
    # The middle of atoms that may be wrapped anywhere: the direction of their mean on the circle.
    middle = np.angle(np.exp(2j * np.pi * heights[:n_slab]).mean()) / (2 * np.pi)
    return bool((heights[index] - middle) % 1.0 < 0.5)


def _bond_ratios(atoms: Atoms, first: Sequence[int], second: Sequence[int]) -> Floats:
    """Minimum-image distances over covalent sums, shape (len(first), len(second))."""
    from ase.data import covalent_radii
    from ase.geometry import get_distances

    rows, columns = list(first), list(second)
    positions = atoms.positions
    _, distances = get_distances(positions[rows], positions[columns], cell=atoms.cell, pbc=True)
    radii = covalent_radii[atoms.numbers]
    ratios: Floats = distances / (radii[rows][:, None] + radii[columns][None, :])
    return ratios


def _displacements(before: Atoms, after: Atoms) -> Floats:
    """Shortest displacement of every atom over all periodic images, Å, shape (n, 3).

    The displacement of the first atom is taken out before the search for the shortest image and put
    back after it, so that a shift of everything by more than half a cell is no obstacle.
    """
    from ase.geometry import find_mic

    raw = after.positions - before.positions
    shortest, _ = find_mic(raw - raw[0], after.cell, pbc=True)
    displacements: Floats = shortest + raw[0]
    return displacements


def _common_shift(displacements: Floats) -> Floats:
    """Shift that the atoms share, Å: the median, which a few far-moved atoms do not pull along."""
    shift: Floats = np.median(displacements, axis=0)
    return shift


def _check_consistency(initial: Atoms, final: Atoms, reference: Atoms, n_adsorbate_atoms: int) -> None:
    n_slab = len(final) - n_adsorbate_atoms
    problem: str | None = None
    if not 0 < n_adsorbate_atoms < len(final):
        problem = f"{n_adsorbate_atoms} adsorbate atoms among {len(final)} atoms"
    elif not np.array_equal(initial.numbers, final.numbers):
        problem = "initial and final adslab hold different atoms"
    elif not np.array_equal(reference.numbers, final.numbers[:n_slab]):
        problem = "bare slab and adslab hold different slab atoms, or in another order"
    elif not (np.allclose(initial.cell, final.cell) and np.allclose(reference.cell, final.cell)):
        problem = "initial, final and bare slab have different cells"
    if problem:
        raise ValueError(problem)
