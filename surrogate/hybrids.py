"""Sites put together from facts about two others: what explanations of a prediction are asked about.

A *fact* is something that a chemist would say of a site in one breath:

- ``binding elements``: of which elements the first shell is, in which shares;
- ``site type``: how many atoms bind (one on top, two at a bridge, three or more in a hollow), how many of
  them touch, and how far they share their neighbours;
- ``neighbouring elements``: of which elements the surroundings are;
- ``coordination``: how many neighbours the binding atoms have;
- ``crystal``: its density, and how its bonds are strained;
- ``distances``: where the atoms around it lie, whatever their elements (:mod:`surrogate.geometry`);
- every other field of :class:`surrogate.sites.SiteEnvironment`, as a whole.

A hybrid has to be a site that could exist, or the surrogate is asked about nonsense. So the first four
facts are not fields that are swapped: the atoms of a site are laid out anew. Site type and coordination give
the places, the elements are dealt to them in the shares that their own site has (largest remainders, so that
a Cu2Pd hollow lends a top its copper). Where a binding atom changes its element, the binding atoms that touch
it see the new element among their neighbours. A crystal that does not hold a binding element is told what
the bonds of that element would be if they were strained as its own bonds are on average. A hybrid of
which both halves are one site is that very site. Lengths in Å.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.crystals import pure_bond
from surrogate.geometry import redecorated
from surrogate.sites import SiteEnvironment, canonical_shell, shell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from surrogate.sites import BulkContext, Shell, SiteGeometry

    Neighbours = tuple[tuple[str, Shell], ...]
    _Layout = tuple[Shell, Shell, Neighbours]
    """First shell, second shell, and neighbours of each binding atom."""

BINDERS, KIND = "binding elements", "site type"
AROUND, COORDINATION = "neighbouring elements", "coordination"
CRYSTAL = "crystal"
_SHELLS = (BINDERS, KIND, AROUND, COORDINATION)
_FIELD_WORDS = {"beneath": "what lies beneath", "miller": "face", "geometry": "distances"}
_WHOLE = {
    _FIELD_WORDS.get(f.name, f.name): f.name
    for f in fields(SiteEnvironment)
    if f.name not in {"first_shell", "second_shell", "neighbours", "bulk"}
}
"""Facts that are one field each, with its name."""
FACTS = (*_SHELLS, CRYSTAL, *_WHOLE)
"""Every fact, in the order in which a site is described."""


def hybrid(site: SiteEnvironment, other: SiteEnvironment, taken: AbstractSet[str]) -> SiteEnvironment:
    """Put a site together: the facts in ``taken`` are of ``site``, all others of ``other``.

    Parameters
    ----------
    taken
        Some of :data:`FACTS`.
    """
    source = {fact: site if fact in taken else other for fact in FACTS}
    if all(source[fact] is source[KIND] for fact in FACTS):
        return source[KIND]
    layouts = {id(s): _layout(s) for s in (site, other)}
    first, second, neighbours = _laid_out(*(layouts[id(source[fact])] for fact in _SHELLS))
    whole = {name: getattr(source[fact], name) for fact, name in _WHOLE.items()}
    return SiteEnvironment(
        first_shell=first,
        second_shell=second,
        neighbours=neighbours,
        bulk=_with_bonds(source[CRYSTAL].bulk, first),
        **{**whole, "geometry": _decorated(source[_FIELD_WORDS["geometry"]], first, second)},
    )


def with_binders(site: SiteEnvironment, element: str) -> SiteEnvironment:
    """Make every binding atom one of an element."""
    pure = SiteEnvironment(first_shell=((element, 1),), second_shell=())
    return _renewed(site, *_laid_out(_layout(pure), *(_layout(site),) * 3))


def with_one_binder(site: SiteEnvironment, old: str, new: str) -> SiteEnvironment:
    """Put an atom of another element in the place of one binding atom ``old``.

    Raises
    ------
    ValueError
        If no binding atom is ``old``.
    """
    parts = _parts(site.first_shell, site.neighbours)
    atoms = list(parts.atoms)
    atoms[atoms.index(old)] = new
    neighbours = parts.around(tuple(atoms), parts.outer)
    return _renewed(site, shell_of(atoms), site.second_shell, neighbours)


def with_one_neighbour(site: SiteEnvironment, old: str, new: str) -> SiteEnvironment:
    """Put an atom of another element in the place of one neighbour ``old`` of the binding atoms.

    It counts as a neighbour of as many binding atoms as neighbours have on average.

    Raises
    ------
    ValueError
        If no neighbour is ``old``.
    """
    if old not in dict(site.second_shell):
        message = f"no neighbour is {old}"
        raise ValueError(message)
    parts = _parts(site.first_shell, site.neighbours)
    second = _exchanged(site.second_shell, old, new)
    left = max(1, round(sum(map(_size, parts.outer)) / _size(site.second_shell)))
    outer = []
    for shell in parts.outer:
        is_touched = left > 0 and old in dict(shell)
        left -= is_touched
        outer.append(_exchanged(shell, old, new) if is_touched else shell)
    return _renewed(site, site.first_shell, second, parts.around(parts.atoms, tuple(outer)))


def told(fact: str, site: SiteEnvironment) -> str:
    """Say in a few words what a fact is at a site."""
    if fact in _WORDS:
        return _WORDS[fact](site)
    return _UNKNOWN if getattr(site, _WHOLE[fact]) is None else "its own"


def formula(shell: Shell) -> str:
    """Write a shell as a formula, such as ``Cu2Pd``."""
    return "".join(symbol + (str(n) if n > 1 else "") for symbol, n in canonical_shell(shell))


@dataclass(frozen=True)
class _Parts:
    """A site as places: the binding atoms, and around each the binding atoms that it touches and others."""

    atoms: tuple[str, ...]
    mates: tuple[Shell, ...]
    """Binding atoms among the neighbours of each; empty where neighbours are not known."""
    outer: tuple[Shell, ...]
    """The other neighbours of each."""

    def around(self, atoms: tuple[str, ...], outer: tuple[Shell, ...]) -> Neighbours:
        """Neighbours of other atoms in these places."""
        found = []
        for i, shell in enumerate(outer):
            if atoms == self.atoms:
                mates = self.mates[i]
            else:
                mates = _renamed(
                    self.mates[i], self.atoms[:i] + self.atoms[i + 1 :], atoms[:i] + atoms[i + 1 :]
                )
            found.append((atoms[i], canonical_shell(mates + shell)))
        return tuple(sorted(found))


@lru_cache(maxsize=4096)
def _parts(first: Shell, neighbours: Neighbours) -> _Parts:
    atoms = tuple(symbol for symbol, _ in neighbours)
    if shell_of(atoms) != canonical_shell(first):  # not known, or of another geometry
        return _Parts(tuple(s for s, n in canonical_shell(first) for _ in range(n)), (), ())
    mates, outer = [], []
    for i, (_, shell) in enumerate(neighbours):
        counts = Counter(dict(canonical_shell(shell)))
        touching = counts & Counter(atoms[:i] + atoms[i + 1 :])
        mates.append(tuple(sorted(touching.items())))
        outer.append(tuple(sorted((counts - touching).items())))
    return _Parts(atoms, tuple(mates), tuple(outer))


def _layout(site: SiteEnvironment) -> _Layout:
    return site.first_shell, site.second_shell, site.neighbours


@lru_cache(maxsize=4096)
def _laid_out(binders: _Layout, kind: _Layout, around: _Layout, coordination: _Layout) -> _Layout:
    """First shell, second shell and neighbours of a site whose first four facts are of these."""
    if binders == kind == around == coordination:
        return kind
    places = _parts(kind[0], kind[2])
    atoms = places.atoms if binders == kind else _placed(places.atoms, binders[0])
    outer = _outer(places, kind, around, coordination)
    n_second = _size(coordination[1])
    if outer and coordination != kind:
        sharing = _size(kind[1]) / max(sum(map(_size, places.outer)), 1)
        n_second = round(sharing * sum(map(_size, outer)))
    return shell_of(atoms), _shared(around[1], n_second), places.around(atoms, outer)


def _outer(places: _Parts, kind: _Layout, around: _Layout, coordination: _Layout) -> tuple[Shell, ...]:
    """Neighbours of every place that do not bind themselves; nothing where neighbours are not known."""
    if not places.outer or not coordination[2]:
        return ()
    if around == kind == coordination:
        return places.outer
    totals = sorted(_size(shell) for _, shell in coordination[2])
    own = [_size(mates) + _size(rest) for mates, rest in zip(places.mates, places.outer, strict=True)]
    shells: list[Shell] = [()] * len(own)
    # The place with the fewest neighbours gets the fewest again.
    for rank, i in enumerate(sorted(range(len(own)), key=own.__getitem__)):
        total = totals[(2 * rank + 1) * len(totals) // (2 * len(own))]
        shells[i] = _shared(around[1], max(total - _size(places.mates[i]), 0))
    return tuple(shells)


@lru_cache(maxsize=4096)
def _shared(shell: Shell, n: int) -> Shell:
    """So many atoms, of the elements of a shell in its shares."""
    total = _size(shell)
    if n == total or not total:
        return canonical_shell(shell) if n == total else ()
    exact = {symbol: n * count / total for symbol, count in canonical_shell(shell)}
    counts = {symbol: int(share) for symbol, share in exact.items()}
    by_remainder = sorted(exact, key=lambda s: (round(counts[s] - exact[s], 9), -exact[s], s))
    for symbol in by_remainder[: n - sum(counts.values())]:
        counts[symbol] += 1
    return canonical_shell(tuple(counts.items()))


def _placed(atoms: tuple[str, ...], shell: Shell) -> tuple[str, ...]:
    """Deal the elements of a shell to places; what was there before keeps its place where it can."""
    left = Counter(dict(_shared(shell, len(atoms))))
    placed: list[str | None] = []
    for atom in atoms:
        placed.append(atom if left[atom] > 0 else None)
        left[atom] -= left[atom] > 0
    rest = iter(sorted(left.elements()))
    return tuple(atom if atom is not None else next(rest) for atom in placed)


def _renamed(shell: Shell, old: tuple[str, ...], new: tuple[str, ...]) -> Shell:
    """Atoms out of ``old`` under the names that they have in ``new``."""
    left = Counter(dict(shell))
    names = []
    for before, after in zip(old, new, strict=True):
        if left[before] > 0:
            left[before] -= 1
            names.append(after)
    return shell_of(names)


def _exchanged(shell: Shell, old: str, new: str) -> Shell:
    return canonical_shell((*shell, (old, -1), (new, 1)))


def _renewed(site: SiteEnvironment, first: Shell, second: Shell, neighbours: Neighbours) -> SiteEnvironment:
    return replace(
        site,
        first_shell=first,
        second_shell=second,
        neighbours=neighbours,
        bulk=_with_bonds(site.bulk, first),
        geometry=_decorated(site, first, second),
    )


def _decorated(site: SiteEnvironment, first: Shell, second: Shell) -> SiteGeometry | None:
    """Geometry of a site with the elements of other shells in its places."""
    if site.geometry is None or (site.first_shell, site.second_shell) == (first, second):
        return site.geometry
    return _redecorated(site.geometry, site.first_shell, site.second_shell, first, second)


@lru_cache(maxsize=4096)
def _redecorated(
    geometry: SiteGeometry, first: Shell, second: Shell, new_first: Shell, new_second: Shell
) -> SiteGeometry:
    return redecorated(geometry, (first, second), (new_first, new_second))


def _with_bonds(bulk: BulkContext | None, first: Shell) -> BulkContext | None:
    """Tell a crystal of bonds of binding elements that it does not hold."""
    if bulk is None or not bulk.bonds:
        return bulk
    missing = {symbol for symbol, _ in first} - {symbol for a, b, _ in bulk.bonds for symbol in (a, b)}
    return _strained_alike(bulk, tuple(sorted(missing))) if missing else bulk


@lru_cache(maxsize=4096)
def _strained_alike(bulk: BulkContext, elements: tuple[str, ...]) -> BulkContext:
    strains = [2.0 * length / (pure_bond(a) + pure_bond(b)) for a, b, length in bulk.bonds]
    bonds = [(element, element, float(np.mean(strains)) * pure_bond(element)) for element in elements]
    return replace(bulk, bonds=tuple(sorted((*bulk.bonds, *bonds))))


def _site_type(site: SiteEnvironment) -> str:
    n = _size(site.first_shell)
    return {1: "top", 2: "bridge"}.get(n, f"hollow of {n}")


def _coordination(site: SiteEnvironment) -> str:
    if not site.neighbours:
        return f"{_size(site.second_shell)} neighbours in all" if site.second_shell else _UNKNOWN
    totals = sorted({_size(shell) for _, shell in site.neighbours})
    return " or ".join(map(str, totals)) + " neighbours"


def _crystal(site: SiteEnvironment) -> str:
    if site.bulk is None:
        return _UNKNOWN
    size = "" if site.bulk.volume_per_atom is None else f", {site.bulk.volume_per_atom:.1f} Å³ per atom"
    return formula(site.bulk.composition) + size


def _beneath(site: SiteEnvironment) -> str:
    return _UNKNOWN if site.beneath is None else (formula(site.beneath) or "nothing")


def _face(site: SiteEnvironment) -> str:
    return _UNKNOWN if site.miller is None else f"({' '.join(map(str, site.miller))})"


_UNKNOWN = "not known"
_WORDS: Mapping[str, Callable[[SiteEnvironment], str]] = {
    BINDERS: lambda site: formula(site.first_shell),
    KIND: _site_type,
    AROUND: lambda site: formula(site.second_shell) or _UNKNOWN,
    COORDINATION: _coordination,
    CRYSTAL: _crystal,
    _FIELD_WORDS["beneath"]: _beneath,
    _FIELD_WORDS["miller"]: _face,
}


def _size(shell: Shell) -> int:
    return sum(n for _, n in shell)
