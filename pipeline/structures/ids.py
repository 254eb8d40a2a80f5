"""Content-addressed ids of bulks, surfaces, sites and calculations.

An id is a prefix and twelve hexadecimal digits of a SHA-256. Numbers enter it only where there is no way
around (a bulk's lattice and neighbour distances), on logarithmic grids so coarse that noise of 1e-4 Å
does not cross a line in practice, and shifted so that tidy published numbers do not lie on one. Everything
else is discrete: formulas, space groups, Miller indices, ranks. Units: Å.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dft.jobs import CalculationKind
from pipeline.structures.crystal import standardize, symmetry

if TYPE_CHECKING:
    from ase import Atoms

    from config.campaign import SurfaceSettings
    from pipeline.domain import Shell

SCALE_STEP = 0.005
"""Grid of the mean lattice spacing, relative: bulks of one id have the same reference lattice."""
SHAPE_STEP = 0.03
"""Grid of axis ratios, relative; it only tells polymorphs apart."""
NEAREST_STEP = 0.06
"""Grid of nearest-neighbour distances, relative: coarse, as they carry the noise of single atoms."""
ANGLE_STEP_DEG = 3.0
"""Grid of the cell angles, degrees."""
_GRID_OFFSETS = {SCALE_STEP: 0.9634, NEAREST_STEP: 0.7176, SHAPE_STEP: 0.3819660113}
"""Keep the published lattice constants of common fcc, bcc and B2 metals as far from grid lines as can be
(4e-4 Å and more), and round axis ratios too."""
_ANGLE_OFFSET = 0.3819660113
"""Keeps round angles off grid lines."""


def content_id(prefix: str, content: Any) -> str:
    """Hash JSON-able content to ``<prefix>-<12 hex digits>``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def bulk_id(atoms: Atoms) -> str:
    """Id of a crystal, the same for every description of it.

    Parameters
    ----------
    atoms
        Any cell of the crystal.

    Raises
    ------
    StructureError
        If no symmetry can be found.
    """
    return standard_bulk_id(standardize(atoms))


def standard_bulk_id(atoms: Atoms) -> str:
    """Id of a crystal whose canonical conventional cell is given."""
    group = symmetry(atoms)
    a, b, c, *angles = (float(x) for x in atoms.cell.cellpar())
    content = {
        "formula": atoms.get_chemical_formula(empirical=True, mode="hill"),
        "group": group.number,
        "orbits": group.orbits,
        "scale": _on_log_grid((atoms.cell.volume / len(atoms)) ** (1 / 3), SCALE_STEP),
        "ratios": [_on_log_grid(b / a, SHAPE_STEP), _on_log_grid(c / a, SHAPE_STEP)],
        "angles": [math.floor(angle / ANGLE_STEP_DEG + _ANGLE_OFFSET) for angle in angles],
        "nearest": [
            [*pair, _on_log_grid(distance, NEAREST_STEP)]
            for pair, distance in _nearest_by_pair(atoms).items()
        ],
    }
    return content_id("bulk", content)


def _on_log_grid(value: float, step: float) -> int:
    return math.floor(math.log(value) / step + _GRID_OFFSETS[step])


def _nearest_by_pair(atoms: Atoms) -> dict[tuple[int, int], float]:
    """Shortest distance between atoms of every pair of elements, averaged over atoms of the rarer kind."""
    import vesin

    cutoff = 6.0
    pairs: dict[tuple[int, int], float] = {}
    first, second, distances = vesin.ase_neighbor_list("ijd", atoms, cutoff)
    kinds = np.unique(atoms.numbers)
    for z in kinds:
        for other in kinds[kinds >= z]:
            chosen = (atoms.numbers[first] == z) & (atoms.numbers[second] == other)
            nearest = np.full(len(atoms), cutoff)
            np.minimum.at(nearest, first[chosen], distances[chosen])
            pairs[int(z), int(other)] = float(nearest[atoms.numbers == z].mean())
    return pairs


def surface_id(
    bulk: str, miller: tuple[int, int, int], side: str, planes: tuple[Shell, ...], rank: int
) -> str:
    """Id of a termination.

    Parameters
    ----------
    bulk
        Id of the bulk.
    miller, side
        Canonical facet and the side that faces outwards.
    planes
        Compositions of the atomic planes from the top, over one period.
    rank
        Among terminations of this facet and side with equal ``planes``.
    """
    return content_id("surf", [bulk, list(miller), side, planes, rank])


def site_id(surface: str, kind: str, first_shell: Shell, rank: int) -> str:
    """Id of a site; ``rank`` is among the surface's sites of equal kind and first shell."""
    return content_id("site", [surface, kind, first_shell, rank])


_KEYS = {
    CalculationKind.GAS: ("molecule",),
    CalculationKind.BULK: ("bulk id",),
    CalculationKind.SLAB: ("surface id",),
    CalculationKind.ADSLAB: ("surface id", "site id", "adsorbate"),
}
"""What each kind of calculation is keyed by, in order."""


def calculation_id(
    kind: CalculationKind, *keys: str, recipe_digest: str, surfaces: SurfaceSettings | None = None
) -> str:
    """Id of a calculation: what is computed, and how.

    Parameters
    ----------
    keys
        Gas: molecule. Bulk: bulk id. Slab: surface id. Adslab: surface id, site id, adsorbate.
    recipe_digest
        :meth:`config.recipe.RecipeSettings.digest`.
    surfaces
        Slab and adslab: the settings that shape the slab enter the id, those that only select surfaces
        do not.

    Raises
    ------
    ValueError
        If the arguments are not those that ``kind`` needs.
    """
    is_slab = kind in (CalculationKind.SLAB, CalculationKind.ADSLAB)
    if len(keys) != len(_KEYS[kind]) or is_slab != (surfaces is not None):
        needed = ", ".join(_KEYS[kind]) + (" and surface settings" if is_slab else "")
        message = f"a {kind} calculation is keyed by {needed}; got {keys} and settings {surfaces}"
        raise ValueError(message)
    geometry = None if surfaces is None else slab_geometry(surfaces)
    return content_id("calc", [str(kind), list(keys), recipe_digest, geometry])


def slab_geometry(settings: SurfaceSettings) -> dict[str, float]:
    """Settings that change the slab that is computed, not which surfaces there are (Å)."""
    return {
        "min_height_a": settings.min_height_a,
        "min_lateral_a": settings.min_lateral_a,
        "vacuum_a": settings.vacuum_a,
        "free_depth_a": settings.free_depth_a,
    }
