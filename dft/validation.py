"""Verdict on a relaxed adslab: still the adsorbate on its site, with a credible energy, or not.

:func:`judge_adslab` runs the checks below in this order and reports the first that fails; the order
goes from what makes the energy meaningless to what only renames it:

1. ``DISSOCIATED``: a bond of the adsorbate is broken, whether the pieces drifted apart or found each
   other again as another molecule. First, because every later check takes the adsorbate for one molecule.
2. ``DESORBED``: no atom of the adsorbate touches the slab any more, or the one that did has left through
   the slab.
3. ``TURNED_OVER``: the adsorbate holds on, but not by the atom that it was put down with: a CO by its
   oxygen, a COOH by its OH. That is another adsorption than the one asked for.
4. ``RECONSTRUCTED``: slab atoms left the places they have in the relaxed bare slab, so that ΔE holds
   the energy of another surface.
5. ``ENERGY_OUT_OF_RANGE``: the geometry is fine and ΔE still makes no sense.
6. ``ABSORBED``: slab atoms lie over the adsorbate; its energy is that of dissolved H, say.
7. ``MIGRATED``: all is well, but on another site; the energy is an observation of *that* site. Last,
   because only a sound energy may be stored under another name.

Bonds are told by distances over the sum of covalent radii (Cordero et al., Dalton Trans. 2008, 2832,
doi:10.1039/b801115j, as tabulated by ASE), periodic images included; the thresholds were held against 515
relaxed H adslabs of GASpy (``benchmarks/validation.py``). No check depends on which periodic copy of an
atom a file holds, on a common shift of all atoms, on how the adsorbate is turned, or on the order of the
slab's atoms. Units: Å, eV.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dft.codes import FailureCode
from dft.geometry import (
    BROKEN_BOND,
    binding_atom,
    binding_ratio,
    bond_ratios,
    bonded_pairs,
    common_shift,
    cover_ratio,
    displacements,
    formula,
    heights_above_middle,
    largest_displacement,
    neighbours,
    pieces,
    unwrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

UNBOUND = 1.5
"""An adsorbate atom farther than this times the covalent sum from every slab atom is not bound. Among
GASpy's 515 relaxed H, 512 lie within 1.27 and three beyond 1.60, with ΔE of 0.6 eV and more; physisorbed
molecules (3 Å and more on Cu, sum 2.1 Å for C) lie beyond, too. AdsorbML uses the same factor (Lan et
al., npj Comput. Mater. 9, 172 (2023), doi:10.1038/s41524-023-01121-5)."""
SLAB_DISPLACEMENT_A = 1.0
"""A slab atom that far from its place in the bare slab has changed its site. Atoms pulled by an
adsorbate move 0.1 to 0.4 Å; changing site takes half a metal-metal distance, 1.2 Å and more. GASpy
allowed 1.5 Å, but from the unrelaxed slab."""
COVERED = 1.1
"""An adsorbate atom whose :func:`dft.geometry.cover_ratio` is larger lies under slab atoms. Of GASpy's 515 H,
503 reach at most 0.85 (H in wide hollows, where it sinks in a little), twelve 1.72 and more, in the second
layer or deeper. H 0.9 Å below the top layer of Al(111) has 1.21, N at the foot of an adatom 0.99."""
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
    label: str = ""
    """What a person calls the site; its id where left out."""


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
        The adslab before and after relaxation, same cell and atom order; the adsorbate's atoms last, the
        one that binds first among them.
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
        If the structures do not match each other, a position is no number, or ``sites`` lacks the starting
        site.
    """
    n_slab = len(final) - n_adsorbate_atoms
    reference = initial[:n_slab] if bare_slab is None else bare_slab
    _check_consistency(initial, final, reference, n_adsorbate_atoms)
    details = {
        "adsorbate_bond_ratio": longest_bond_ratio(initial, final, n_adsorbate_atoms),
        "binding_ratio": binding_ratio(final, n_adsorbate_atoms, n_slab),
        "max_slab_displacement_a": largest_displacement(reference, final[:n_slab]),
        "delta_e_ev": float(delta_e_ev),
        "cover_ratio": cover_ratio(final, n_slab, n_slab),
    }
    flaw = _broken(initial, final, n_adsorbate_atoms) or _loose(final, n_adsorbate_atoms)
    flaw = flaw or _out_of_bounds(details)
    if flaw is not None:
        code, message = flaw
        return Outcome(code, None, message, details)
    return _located(initial, final, n_slab, sites, start_site_id, details)


Flaw = tuple[FailureCode, str] | None


def _broken(initial: Atoms, final: Atoms, n_adsorbate_atoms: int) -> Flaw:
    """Tell which bonds of the adsorbate are gone, and what it has become."""
    molecule = range(len(final) - n_adsorbate_atoms, len(final))
    after = bond_ratios(final, molecule, molecule)
    broken = bonded_pairs(initial, molecule) & (after > BROKEN_BOND)
    if not broken.any():
        return None
    symbols = [final.symbols[i] for i in molecule]
    bonds = ", ".join(f"{symbols[i]}-{symbols[j]} at {after[i, j]:.2f}" for i, j in np.argwhere(broken))
    parts = pieces(final, molecule)
    fate = " + ".join(parts) if len(parts) > 1 else "another molecule"
    return FailureCode.DISSOCIATED, f"became {fate}: {bonds} times the covalent length"


def _loose(final: Atoms, n_adsorbate_atoms: int) -> Flaw:
    """Tell whether and how the adsorbate let go of the slab's upper side."""
    n_slab = anchor = len(final) - n_adsorbate_atoms
    ratio = binding_ratio(final, n_adsorbate_atoms, anchor)
    if ratio > UNBOUND:
        other = binding_atom(final, n_adsorbate_atoms)
        symbol, held_by = final.symbols[anchor], final.symbols[other]
        distance = f"{ratio:.2f} times the covalent length from the slab"
        if binding_ratio(final, n_adsorbate_atoms, other) <= UNBOUND:
            return FailureCode.TURNED_OVER, f"bound by {held_by} instead of {symbol}, which is {distance}"
        return FailureCode.DESORBED, f"{symbol} is {distance}"
    if heights_above_middle(final, n_slab)[anchor] < 0:
        return FailureCode.DESORBED, "left the slab on the other side"
    return None


def _out_of_bounds(details: dict[str, float]) -> Flaw:
    """First figure that is beyond its limit."""
    moved, delta_e_ev = details["max_slab_displacement_a"], details["delta_e_ev"]
    covered = details["cover_ratio"]
    if moved > SLAB_DISPLACEMENT_A:
        return FailureCode.RECONSTRUCTED, f"a slab atom moved {moved:.2f} Å from the bare slab"
    if not abs(delta_e_ev) <= MAX_ABS_DELTA_E_EV:  # so that NaN is caught too
        limit = f"±{MAX_ABS_DELTA_E_EV:g} eV"
        return FailureCode.ENERGY_OUT_OF_RANGE, f"ΔE = {delta_e_ev:.2f} eV is outside {limit}"
    if covered > COVERED:
        return FailureCode.ABSORBED, f"lies {covered:.2f} covalent lengths under slab atoms"
    return None


def _located(
    initial: Atoms,
    final: Atoms,
    n_slab: int,
    sites: Sequence[SiteImage],
    start_site_id: str,
    details: dict[str, float],
) -> Outcome:
    """Tell the site of a sound adslab.

    It moved only if another site is nearer *and* the slab atoms that it is bound to are others than at
    the start: a hollow whose atoms shift sideways is the same hollow.
    """
    distances = site_distances(initial, final, n_slab, n_slab, sites)
    end = resting_site(distances, start_site_id)
    before = neighbours(initial, n_slab, n_slab)
    after = neighbours(unwrapped(initial, final), n_slab, n_slab)
    end = end if before != after else start_site_id
    figures = {
        "start_site_distance_a": distances[start_site_id],
        "end_site_distance_a": distances[end],
        "neighbours_before": float(len(before)),
        "neighbours_after": float(len(after)),
    }
    if end == start_site_id:
        return Outcome(None, start_site_id, "", details | figures)
    labels = {site.site_id: site.label or site.site_id for site in sites}
    bound = [formula(final, (atom for atom, _ in images)) for images in (before, after)]
    message = f"moved from {labels[start_site_id]} to {labels[end]}: bound to {bound[0]}, then {bound[1]}"
    return Outcome(FailureCode.MIGRATED, end, message, details | figures)


def longest_bond_ratio(initial: Atoms, final: Atoms, n_adsorbate_atoms: int) -> float:
    """Longest final length among the adsorbate's initial bonds, over its covalent sum; 0 without bonds."""
    molecule = range(len(final) - n_adsorbate_atoms, len(final))
    after = bond_ratios(final, molecule, molecule)
    return float(after[bonded_pairs(initial, molecule)].max(initial=0.0))


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

    slab_shift = common_shift(displacements(initial[:n_slab], final[:n_slab]))
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
    elif not all(np.isfinite(atoms.positions).all() for atoms in (initial, final, reference)):
        problem = "some positions are no numbers"  # of which no threshold would take notice
    if problem:
        raise ValueError(problem)
