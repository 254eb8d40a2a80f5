"""Adsorption sites as the critical points of a contact map.

Roll a probe sphere over the surface and note the height ``z(x, y)`` of its centre where it first touches an
atom: every atom contributes a spherical cap of radius ``R = r + probe``, and the highest cap counts. The
maxima of that map are the *top* sites (the probe touches one atom), its saddles the *bridges* (two), its
minima the *hollows* (three or more). For a flat layer of equal atoms this is the Voronoi diagram; unlike
it, the map also decides which atoms of a step, an open face or a buckled layer are exposed at all. By
Euler's formula on the torus, tops - bridges + hollows = 0 as long as no points were merged.

Points that nearly coincide are one site: a square of atoms gives one four-fold hollow, whichever way its
diagonal is drawn. Radii are scaled to the surface's own nearest-neighbour distances, so that sites do not
depend on the lattice scale. Two sites are equivalent when their surroundings are (radial signatures). Only
order and counts enter a site's id, never a rounded number. Units: Å.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.domain import Site
from pipeline.structures.contact import ContactMap, CriticalPoint
from pipeline.structures.environment import columns_below, radial_signatures, ranking_number
from pipeline.structures.ids import site_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Shell, SiteKind, Surface

    Array = NDArray[np.float64]

SIGNATURE_TOLERANCE = 0.02
"""Sites whose signatures differ by less are equivalent; that is about 0.01 Å in one neighbour."""


@dataclass(frozen=True)
class _Group:
    """Equivalent points and what they have in common."""

    kind: SiteKind
    first_shell: Shell
    second_shell: Shell
    neighbours: tuple[tuple[str, Shell], ...]
    beneath: Shell
    members: tuple[CriticalPoint, ...]
    ranking: float


def enumerate_sites(surface: Surface) -> list[Site]:
    """Every symmetry-distinct site of a surface.

    Parameters
    ----------
    surface
        As :func:`pipeline.structures.surfaces.enumerate_surfaces` gives it, at any ``min_height_a``.

    Returns
    -------
    list of Site
        Tops, bridges, hollows; each kind ordered by first shell and surroundings.
    """
    contact = ContactMap.of(surface.atoms)
    points = contact.critical_points()
    groups = sorted(
        _groups(points, surface, contact), key=lambda g: (_ORDER[g.kind], g.first_shell, g.ranking)
    )
    ranks: Counter[tuple[str, Shell]] = Counter()
    alike = Counter((g.kind, g.first_shell) for g in groups)
    sites = []
    for group in groups:
        name = (group.kind, group.first_shell)
        number = f" #{ranks[name] + 1}" if alike[name] > 1 else ""
        sites.append(_site(surface, group, ranks[name], number, contact))
        ranks[name] += 1
    return sites


_ORDER = {"top": 0, "bridge": 1, "hollow": 2}


def _groups(points: list[CriticalPoint], surface: Surface, contact: ContactMap) -> list[_Group]:
    """Gather equivalent points; the first of each group, by position, speaks for it."""
    if not points:
        return []
    places = np.array([p.position for p in points])
    signatures = radial_signatures(places, surface.atoms)
    # Mostly by what lies straight below, so that hcp hollows come before fcc ones on every metal.
    rankings = ranking_number(signatures) / 10 - columns_below(places, surface.atoms)
    kinds = [(p.kind, contact.shell(p.atoms)) for p in points]
    groups: list[list[int]] = []
    for index in range(len(points)):
        for group in groups:
            first = group[0]
            alike = np.abs(signatures[index] - signatures[first]).max() < SIGNATURE_TOLERANCE
            if kinds[index] == kinds[first] and alike:
                group.append(index)
                break
        else:
            groups.append([index])
    return [
        _Group(
            kind=points[group[0]].kind,
            first_shell=kinds[group[0]][1],
            second_shell=contact.second_shell(points[group[0]].atoms),
            neighbours=contact.neighbours(points[group[0]].atoms),
            beneath=contact.beneath(places[group[0]], points[group[0]].atoms),
            members=tuple(points[i] for i in group),
            ranking=float(rankings[group].mean()),
        )
        for group in groups
    ]


def _site(surface: Surface, group: _Group, rank: int, number: str, contact: ContactMap) -> Site:
    """Site of a group of equivalent points."""
    shell = "".join(symbol + (str(n) if n > 1 else "") for symbol, n in group.first_shell)
    inverse = np.linalg.inv(surface.atoms.cell.array[:2, :2])
    images = sorted(_wrapped(np.array(p.position[:2]) @ inverse) for p in group.members)
    x, y = np.array(images[0]) @ surface.atoms.cell.array[:2, :2]
    return Site(
        id=site_id(surface.id, group.kind, group.first_shell, rank),
        surface_id=surface.id,
        bulk_id=surface.bulk_id,
        kind=group.kind,
        label=f"{surface.label} {group.kind} {shell}{number}",
        position=(float(x), float(y), contact.mean_height(group.members[0].atoms)),
        images=tuple(images),
        first_shell=group.first_shell,
        second_shell=group.second_shell,
        neighbours=group.neighbours,
        beneath=group.beneath,
    )


def _wrapped(fractional: Array) -> tuple[float, float]:
    """Into [0, 1), with what is nearly 1 at 0."""
    x, y = ((float(f) + 1e-6) % 1.0 - 1e-6 for f in fractional)
    return x, y
