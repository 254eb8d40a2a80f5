"""Every distinct surface of a bulk: facets, terminations, sides.

A surface is a half crystal: an outward direction (a Miller index with its sign) and the atomic plane on
top. Two surfaces are the same exactly when a symmetry operation of the bulk carries one into the other, so
distinct ones are found by grouping directions under the point group and planes under the operations that
keep the direction; structures are never compared. Mirror images count as the same.

Miller indices refer to the conventional standard cell that the bulk holds. Units: Å; a *phase* is
``h·x``, the height of a point in units of the distance between lattice planes of that Miller index.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.domain import Surface
from pipeline.structures.crystal import symmetry
from pipeline.structures.cuts import Facet, cut_slab
from pipeline.structures.environment import DEPTH_A, radial_signatures, ranking_number
from pipeline.structures.ids import surface_id
from pipeline.structures.slabs import n_slab_atoms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from config.campaign import MillerIndex, SurfaceSettings
    from pipeline.domain import Bulk, Shell
    from pipeline.structures.crystal import Symmetry

Side = Literal["top", "bottom"]
RANKED_DEPTH_A = 5.0
"""Atoms this deep take part in ordering terminations, Å; their weight fades to nothing."""


@dataclass(frozen=True)
class Termination:
    """One way to end a facet: the plane that is left on top."""

    facet: Facet
    top_plane: int
    planes: tuple[Shell, ...]
    """Compositions of all planes of a period, from the top downwards."""

    @cached_property
    def top(self) -> str:
        """Elements of the top plane, such as ``CuPd``."""
        return "".join(symbol for symbol, _ in self.planes[0])

    @cached_property
    def ranking(self) -> float:
        """Orders terminations whose planes have the same compositions."""
        atoms = cut_slab(self.facet, self.top_plane, DEPTH_A)
        depths = atoms.positions[:, 2].max() - atoms.positions[:, 2]
        upper = atoms[depths < RANKED_DEPTH_A]
        crowding = ranking_number(radial_signatures(upper.positions, atoms))
        fading = (1 - (depths[depths < RANKED_DEPTH_A] / RANKED_DEPTH_A) ** 2) ** 2
        # Squares and elements, because plain sums over pairs of planes come out equal too often.
        return float((fading * np.sqrt(upper.numbers) * crowding**2).sum())


def enumerate_surfaces(bulk: Bulk, settings: SurfaceSettings) -> list[Surface]:
    """Every symmetry-distinct surface of a bulk.

    Parameters
    ----------
    bulk
        Its atoms must be the canonical cell, as :func:`pipeline.structures.bulks.load_bulks` gives it.
    settings
        Which facets, and how large a slab may get. A surface's id depends on neither.

    Returns
    -------
    list of Surface
        By facet, side and termination. The atoms are cut at least as deep as sites need to be told
        apart; :func:`pipeline.structures.slabs.build_slab` leaves the layers that ``min_height_a`` asks
        for.

    Raises
    ------
    StructureError
        If no symmetry of the bulk can be found.
    """
    group = symmetry(bulk.atoms)
    depth = max(DEPTH_A, settings.min_height_a)
    surfaces = []
    for miller, sides in distinct_facets(group, settings).items():
        for side, outward in sides.items():
            facet = Facet.of(bulk.atoms, group, outward)
            for label, rank, termination in _labelled(
                bulk.formula, facet, distinct_terminations(facet, group)
            ):
                surface = Surface(
                    id=surface_id(bulk.id, miller, side, termination.planes, rank),
                    bulk_id=bulk.id,
                    miller=miller,
                    shift=facet.shift_below(termination.top_plane),
                    side=side,
                    label=label,
                    atoms=cut_slab(facet, termination.top_plane, depth),
                )
                if n_slab_atoms(surface, settings) <= settings.max_atoms:
                    surfaces.append(surface)
    return surfaces


def distinct_facets(group: Symmetry, settings: SurfaceSettings) -> dict[MillerIndex, dict[Side, MillerIndex]]:
    """Outward directions to cut along, by facet and side.

    The facet is the canonical index among all that symmetry makes equal to it or to its opposite. The
    side ``bottom`` exists only where no operation turns the facet over.
    """
    wanted = settings.miller_indices or tuple(_indices_up_to(settings.max_miller_index))
    facets: dict[MillerIndex, dict[Side, MillerIndex]] = {}
    for index in wanted:
        reduced = _divided(index, int(np.gcd.reduce(index)))
        same = _equivalent(reduced, group)
        turned = _equivalent(_divided(reduced, -1), group)
        miller = max(same | turned, key=lambda h: (-sum(i < 0 for i in h), h))
        facets[miller] = {"top": miller}
        if same != turned:
            facets[miller]["bottom"] = _divided(miller, -1)
    return dict(sorted(facets.items(), key=lambda item: (sum(abs(i) for i in item[0]), item[0])))


def _divided(index: MillerIndex, divisor: int) -> MillerIndex:
    """Divide an index by a common divisor of its parts, or by minus one to turn it over."""
    h, k, l = (int(i) // divisor for i in index)  # noqa: E741  (the crystallographers' names)
    return h, k, l


def _indices_up_to(largest: int) -> Iterator[MillerIndex]:
    """Every coprime Miller index up to a largest one."""
    for h, k, l in itertools.product(range(-largest, largest + 1), repeat=3):  # noqa: E741
        if np.gcd.reduce((h, k, l)) == 1:
            yield h, k, l


def _equivalent(index: MillerIndex, group: Symmetry) -> set[MillerIndex]:
    """Miller indices that the point group carries ``index`` into."""
    return {_divided(image, 1) for image in np.array(index) @ group.rotations}


def distinct_terminations(facet: Facet, group: Symmetry) -> list[Termination]:
    """Terminations of a facet that no operation of the bulk carries into each other, in canonical order."""
    n_planes = len(facet.planes)
    keeps = (np.array(facet.outward) @ group.rotations == np.array(facet.outward)).all(axis=1)
    raises = np.array(facet.outward) @ group.translations[keeps].T
    first_of = list(range(n_planes))
    for plane, rise in itertools.product(range(n_planes), raises):
        image = facet.plane_at(facet.planes[plane].phase + rise)
        low, high = sorted((first_of[plane], first_of[image]))
        first_of = [low if first == high else first for first in first_of]
    terminations = [
        Termination(facet, top, tuple(facet.planes[(top - i) % n_planes].shell for i in range(n_planes)))
        for top in sorted(set(first_of))
    ]
    repeated = Counter(t.planes for t in terminations)
    return sorted(terminations, key=lambda t: (t.planes, t.ranking if repeated[t.planes] > 1 else 0.0))


def _labelled(
    formula: str, facet: Facet, terminations: list[Termination]
) -> Iterable[tuple[str, int, Termination]]:
    """Give terminations labels that are unique within the facet, and ranks among equal planes."""
    h, k, l = facet.outward  # noqa: E741
    plain = f"{formula}({h}{k}{l})" if min(h, k, l) >= 0 else f"{formula}({h} {k} {l})"
    same_top = Counter(t.top for t in terminations)
    tops: Counter[str] = Counter()
    ranks: Counter[tuple[Shell, ...]] = Counter()
    for termination in terminations:
        top = termination.top
        tops[top] += 1
        label = plain
        if len(same_top) > 1:
            label += f" {top}-terminated"
        if same_top[top] > 1:
            label += f" #{tops[top]}"
        yield label, ranks[termination.planes], termination
        ranks[termination.planes] += 1
