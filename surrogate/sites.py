"""What the surrogate knows of a site: its surroundings by element, its crystal, its face.

Everything is of the *unrelaxed* structure, so that what a model is trained on is what it is asked about.
Whatever is not known is left out and costs accuracy, nothing else. Units: Å.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

K = TypeVar("K", bound="Hashable")
Shell = tuple[tuple[str, int], ...]
"""Elements and how many atoms of each: ``(("Cu", 2), ("Pd", 1))``."""


@dataclass(frozen=True)
class BulkContext:
    """What is known of a crystal; equal for all sites on it."""

    composition: Shell
    """Elements and their numbers in the reduced formula."""
    volume_per_atom: float | None = None
    """Å³."""
    bonds: tuple[tuple[str, str, float], ...] = ()
    """Shortest distance between atoms of two elements, Å; the two symbols in alphabetical order."""


@dataclass(frozen=True)
class SiteGeometry:
    """Distances around a site as numbers: what :mod:`surrogate.geometry` makes of them."""

    packed: bytes = field(repr=False)
    """Single precision: of a million sites, a tuple of numbers each would not fit into memory."""

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> SiteGeometry:
        """Pack numbers of any shape."""
        return cls(np.asarray(values, np.float32).tobytes())

    def values(self) -> NDArray[np.float32]:
        """Numbers in the order of :data:`surrogate.geometry.COLUMNS`, of shape (n_columns,)."""
        return np.frombuffer(self.packed, np.float32)


@dataclass(frozen=True)
class SiteEnvironment:
    """What surrounds a site, as far as the surrogate knows."""

    first_shell: Shell
    """Surface atoms that the adsorbate binds to."""
    second_shell: Shell
    """Neighbours of the first-shell atoms."""
    neighbours: tuple[tuple[str, Shell], ...] = ()
    """Each first-shell atom: its element, and its own neighbours."""
    bulk: BulkContext | None = None
    """The crystal that the surface is cut from."""
    miller: tuple[int, int, int] | None = None
    """The face."""
    beneath: Shell | None = None
    """Atoms straight below the site, under the first shell: one at an hcp hollow, none at an fcc hollow."""
    geometry: SiteGeometry | None = None
    """Where the atoms around the site lie before anything relaxes."""

    def canonical(self) -> tuple[Shell, Shell]:
        """Both shells with their elements merged and sorted; equal where the shells are the same."""
        return canonical_shell(self.first_shell), canonical_shell(self.second_shell)


def shell_of(symbols: Iterable[str]) -> Shell:
    """Count elements into a shell, sorted by symbol."""
    return tuple(sorted(Counter(symbols).items()))


def canonical_shell(shell: Shell) -> Shell:
    """Merge and sort a shell's elements; those without atoms are left out."""
    counts: Counter[str] = Counter()
    for symbol, count in shell:
        counts[symbol] += count
    return tuple(sorted((symbol, count) for symbol, count in counts.items() if count > 0))


def environment_labels(environments: Sequence[SiteEnvironment]) -> NDArray[np.int64]:
    """Number environments so that those of equal shells, and only those, share a number; of shape (n,)."""
    return distinct([environment.canonical() for environment in environments])[1]


def distinct(keys: Iterable[K]) -> tuple[list[K], NDArray[np.int64]]:
    """Each distinct key once, in order of appearance, and the place there of every one; of shape (n,)."""
    seen: dict[K, int] = {}
    places = [seen.setdefault(key, len(seen)) for key in keys]
    return list(seen), np.array(places, dtype=np.int64)


def representatives(keys: Iterable[Hashable]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each distinct key, in order of appearance, and the place there of every row."""
    places = distinct(keys)[1]
    return np.unique(places, return_index=True)[1], places
