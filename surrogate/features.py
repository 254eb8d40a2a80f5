"""A site's surroundings as numbers: statistics of elemental properties over its atoms and theirs.

Groups of features, each a choice of :class:`SiteFeatures`:

- ``first``, ``second``: mean, standard deviation, least and greatest value of every elemental property
  (:mod:`surrogate.element_properties`) over the atoms of a shell, after Ward et al., npj Comput. Mater. 2,
  16028 (2016);
- ``sizes``: atoms and elements in both shells;
- ``coordination``: how many neighbours the first-shell atoms have, and how many of their own kind;
- ``binders``: the properties of the most and of the least cohesive first-shell atom, each with the mean
  properties of its own neighbours;
- ``beneath``: how many atoms lie straight below the site, and their mean properties;
- ``strain``: volume and bond lengths of the crystal against those of its pure elements;
- ``bulk``: mean and standard deviation of the properties over the crystal;
- ``miller``: the face;
- ``geometry``: where the atoms around the site lie before anything relaxes (:mod:`surrogate.geometry`).

Nothing is learned from energies, so that a site has the same features in every round. What is not known of
a site is NaN. Lengths in Å, volumes in Å³, other units as in :data:`surrogate.element_properties.UNITS`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from config.errors import ConfigError
from surrogate.crystals import pure_bonds, pure_volumes
from surrogate.element_properties import PROPERTIES, UNITS, element_property, property_table
from surrogate.elements import SYMBOLS
from surrogate.geometry import COLUMNS, geometry_features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.sites import BulkContext, Shell, SiteEnvironment

    Array = NDArray[np.float32]

FEATURE_VERSION = "shells-2"
"""Changes whenever the same site would get other features."""
STATISTICS = ("mean", "std", "min", "max")
_FLOAT = np.float32
"""Single precision: a million sites have to fit into memory."""
_INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}


class _Shells(NamedTuple):
    """Shells as one list of entries, those of a shell together."""

    n: int
    row: NDArray[np.int64]
    element: NDArray[np.int64]
    atoms: Array

    @classmethod
    def of(cls, shells: Iterable[Shell]) -> _Shells:
        # Maps and chains: for a million sites, loops in Python would take longer than the networks.
        listed = list(shells)
        symbols, count = _columns(chain.from_iterable(listed), 2)
        row = np.repeat(np.arange(len(listed)), _lengths(listed))
        place = row * len(SYMBOLS) + _indices(symbols)
        # Merged and sorted, so that the order in which elements are listed is immaterial.
        places, inverse = np.unique(place, return_inverse=True)
        counts = np.bincount(inverse.ravel(), count, len(places)).astype(_FLOAT)
        places, counts = places[counts > 0], counts[counts > 0]
        return cls(len(listed), places // len(SYMBOLS), places % len(SYMBOLS), counts)

    def total(self, per_entry: NDArray[np.float32] | None = None) -> Array:
        """Sum over each shell's entries, by default of the numbers of atoms; shape (n, ...)."""
        return self._reduced(np.add, self.atoms if per_entry is None else per_entry, 0.0)

    def _reduced(self, operation: np.ufunc, values: Array, empty: float) -> Array:
        """Reduce the values of each shell's entries; of none, ``empty``."""
        result = np.full((self.n, *values.shape[1:]), empty, _FLOAT)
        if len(self.row):
            starts = _starts(self.row)
            result[self.row[starts]] = operation.reduceat(values, starts, axis=0)
        return result

    def mean(self, table: Array) -> Array:
        """Mean over atoms of a property table, of shape (n, n_properties); NaN where there are no atoms."""
        sums = self.total(self.atoms[:, None] * table[self.element])
        number = self.total()[:, None]
        return np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)

    def std(self, table: Array) -> Array:
        """Standard deviation over atoms."""
        centre = self.mean(table)
        deviation = (table[self.element] - centre[self.row]) ** 2
        variance = self.total(self.atoms[:, None] * deviation)
        number = self.total()[:, None]
        return np.sqrt(np.divide(variance, number, out=np.full_like(variance, np.nan), where=number > 0))

    def extremes(self, table: Array) -> tuple[Array, Array]:
        """Least and greatest value over atoms."""
        values = table[self.element]
        return self._reduced(np.minimum, values, np.nan), self._reduced(np.maximum, values, np.nan)


def _starts(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each row begins in a sorted list of rows."""
    return np.flatnonzero(np.diff(rows, prepend=-1))


def _columns(rows: Iterable[tuple[Any, ...]], n: int) -> list[list[Any]]:
    """Turn rows of ``n`` entries into columns."""
    flat = list(chain.from_iterable(rows))
    return [flat[k::n] for k in range(n)]


def _lengths(lists: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    return np.fromiter(map(len, lists), np.int64, len(lists))


def _indices(symbols: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the property table."""
    try:
        return np.fromiter(map(_INDEX.__getitem__, symbols), np.int64, len(symbols))
    except KeyError as error:
        message = f"{error.args[0]!r} is not a chemical element up to Lr"
        raise ValueError(message) from None


class _Sites:
    """What the groups are computed from."""

    def __init__(self, environments: Sequence[SiteEnvironment]) -> None:
        self.environments = environments
        self.n = len(environments)
        self.first = _Shells.of(e.first_shell for e in environments)
        self.second = _Shells.of(e.second_shell for e in environments)
        # One row per kind of first-shell atom with known neighbours.
        neighbours = [e.neighbours for e in environments]
        kinds, around = _columns(chain.from_iterable(neighbours), 2)
        self.owner = np.repeat(np.arange(self.n), _lengths(neighbours))
        self.kind = _indices(kinds)
        self.around = _Shells.of(around)
        self.table = property_table().astype(_FLOAT)

    def has_neighbours(self) -> NDArray[np.bool_]:
        return np.bincount(self.owner, minlength=self.n) > 0


def _statistics(shells: _Shells, table: Array) -> Array:
    return np.hstack([shells.mean(table), shells.std(table), *shells.extremes(table)])


def _first(sites: _Sites) -> Array:
    return _statistics(sites.first, sites.table)


def _second(sites: _Sites) -> Array:
    return _statistics(sites.second, sites.table)


def _sizes(sites: _Sites) -> Array:
    kinds = [np.bincount(shells.row, minlength=sites.n) for shells in (sites.first, sites.second)]
    columns = (sites.first.total(), kinds[0], sites.second.total(), kinds[1])
    return np.array(columns, _FLOAT).T


def _own_kind(sites: _Sites) -> NDArray[np.float64]:
    """Share of each binding atom's neighbours that are of its own kind."""
    is_same = sites.around.element == sites.kind[sites.around.row]
    alike = np.bincount(sites.around.row[is_same], sites.around.atoms[is_same], len(sites.kind))
    share: NDArray[np.float64] = alike / np.maximum(sites.around.total(), 1.0)
    return share


def _atoms(sites: _Sites) -> Array:
    around = sites.around
    neighbours = around.mean(sites.table), around.std(sites.table), around.total(), _own_kind(sites)
    return np.column_stack([sites.table[sites.kind], *neighbours]).astype(_FLOAT)


def _coordination(sites: _Sites) -> Array:
    number = sites.around.total().astype(float)
    own_kind = _own_kind(sites)
    atoms = np.maximum(np.bincount(sites.owner, minlength=sites.n), 1)
    least, greatest = np.full(sites.n, np.inf), np.full(sites.n, -np.inf)
    np.minimum.at(least, sites.owner, number)
    np.maximum.at(greatest, sites.owner, number)
    columns = [
        np.bincount(sites.owner, number, sites.n) / atoms,
        least,
        greatest,
        np.bincount(sites.owner, own_kind, sites.n) / atoms,
    ]
    result = np.column_stack(columns).astype(_FLOAT)
    result[~sites.has_neighbours()] = np.nan
    return result


def _binders(sites: _Sites) -> Array:
    """The most and the least cohesive first-shell atom; of equals, the one of fewest neighbours."""
    cohesion = element_property("cohesive_energy")[sites.kind]
    number = sites.around.total()
    around = sites.around.mean(sites.table)
    # Ties beyond that are broken by what the neighbours are, never by the order in which atoms are listed.
    blocks = []
    for sign in (-1.0, 1.0):
        order = np.lexsort(np.vstack([around.T, number, sign * cohesion, sites.owner]))
        rows, place = np.unique(sites.owner[order], return_index=True)
        chosen = order[place]
        block = np.full((sites.n, 2 * len(PROPERTIES) + 1), np.nan, _FLOAT)
        block[rows] = np.hstack([sites.table[sites.kind[chosen]], around[chosen], number[chosen, None]])
        blocks.append(block)
    return np.hstack(blocks)


def _beneath(sites: _Sites) -> Array:
    below = _Shells.of(e.beneath or () for e in sites.environments)
    result = np.column_stack([below.total(), below.mean(sites.table)])
    result[[e.beneath is None for e in sites.environments]] = np.nan
    return result


def _strain(sites: _Sites) -> Array:
    bulks = list({id(e.bulk): e.bulk for e in sites.environments if e.bulk}.values())
    number = {id(bulk): i for i, bulk in enumerate(bulks)}
    on_bulk = np.array([number.get(id(e.bulk), -1) for e in sites.environments], np.int64)
    densities = np.vstack([_densities(bulks), np.full((1, 2), np.nan, _FLOAT)])
    return np.hstack([densities[on_bulk], _bond_lengths(sites, bulks, on_bulk)])


def _densities(bulks: Sequence[BulkContext]) -> Array:
    """Volume per atom of each crystal, and relative to its elements."""
    volume = np.array([np.nan if b.volume_per_atom is None else b.volume_per_atom for b in bulks])
    pure = _Shells.of(bulk.composition for bulk in bulks).mean(pure_volumes()[:, None].astype(_FLOAT))[:, 0]
    volume[np.isnan(pure)] = np.nan
    return np.column_stack([volume, volume / pure]).astype(_FLOAT)


def _bond_lengths(sites: _Sites, bulks: Sequence[BulkContext], on_bulk: NDArray[np.int64]) -> Array:
    """Bonds of each site's binding elements in its crystal: least, mean and greatest strain, least length.

    ``on_bulk`` is the number of each site's crystal, -1 where it is not known.
    """
    bonds = [bulk.bonds for bulk in bulks]
    n_bonds = _lengths(bonds)
    *pairs, lengths = _columns(chain.from_iterable(bonds), 3)
    one, other = map(_indices, pairs)
    length = np.array(lengths)
    strain = 2.0 * length / (pure_bonds()[one] + pure_bonds()[other])
    # Every bond of its crystal for every site; those without a binding element are left out.
    rows = np.flatnonzero(on_bulk >= 0)
    counts = n_bonds[on_bulk[rows]]
    start = (np.cumsum(n_bonds) - n_bonds)[on_bulk[rows]]
    bond = np.repeat(start - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    row = np.repeat(rows, counts)
    is_binder = np.zeros((sites.n, len(SYMBOLS)), bool)
    is_binder[sites.first.row, sites.first.element] = True
    is_kept = is_binder[row, one[bond]] | is_binder[row, other[bond]]
    row, bond = row[is_kept], bond[is_kept]
    result = np.full((sites.n, 4), np.nan, _FLOAT)
    if not len(row):
        return result
    starts = _starts(row)
    strains, number = strain[bond], np.diff(starts, append=len(row))
    result[row[starts]] = np.column_stack(
        [
            np.minimum.reduceat(strains, starts),
            np.add.reduceat(strains, starts) / number,
            np.maximum.reduceat(strains, starts),
            np.minimum.reduceat(length[bond], starts),
        ]
    )
    return result


def _bulk(sites: _Sites) -> Array:
    crystal = _Shells.of(e.bulk.composition if e.bulk else () for e in sites.environments)
    return np.hstack([crystal.mean(sites.table), crystal.std(sites.table)])


def _miller(sites: _Sites) -> Array:
    unknown = (np.nan, np.nan, np.nan)
    indices = [sorted(map(abs, e.miller)) if e.miller else unknown for e in sites.environments]
    return np.array(indices, _FLOAT).reshape(sites.n, 3)


def _named(prefix: str, statistics: Sequence[str]) -> dict[str, str]:
    return {f"{prefix}_{s}_{name}": UNITS[name] for s in statistics for name in PROPERTIES}


_STRAIN = {
    "volume_per_atom": "Å³", "volume_against_pure": "", "bond_against_pure_min": "",
    "bond_against_pure_mean": "", "bond_against_pure_max": "", "bond_min": "Å",
}  # fmt: skip
_BINDERS = {
    name: unit
    for which in ("strong", "weak")
    for name, unit in (
        *((f"{which}_{name}", UNITS[name]) for name in PROPERTIES),
        *((f"{which}_neighbours_{name}", UNITS[name]) for name in PROPERTIES),
        (f"{which}_coordination", ""),
    )
}
GROUPS: dict[str, tuple[dict[str, str], Callable[[_Sites], Array]]] = {
    "first": (_named("first", STATISTICS), _first),
    "second": (_named("second", STATISTICS), _second),
    "sizes": (
        dict.fromkeys(("first_atoms", "first_elements", "second_atoms", "second_elements"), ""),
        _sizes,
    ),
    "coordination": (
        dict.fromkeys(("coordination_mean", "coordination_min", "coordination_max", "own_kind_share"), ""),
        _coordination,
    ),
    "binders": (_BINDERS, _binders),
    "beneath": ({"beneath_atoms": "", **_named("beneath", ("mean",))}, _beneath),
    "strain": (_STRAIN, _strain),
    "bulk": (_named("bulk", ("mean", "std")), _bulk),
    "miller": (dict.fromkeys(("miller_least", "miller_middle", "miller_greatest"), ""), _miller),
    "geometry": (COLUMNS, lambda sites: geometry_features(sites.environments)),
}
"""Each group's columns with their units, and what computes them."""
DEFAULT_GROUPS = ("first", "second", "sizes", "coordination", "binders", "beneath", "strain", "geometry")


class SiteFeatures:
    """Turns environments into a matrix of numbers.

    Parameters
    ----------
    groups
        Keys of :data:`GROUPS`; their columns stand side by side in this order.

    Raises
    ------
    ConfigError
        If a group is unknown, or there is none.
    """

    def __init__(self, groups: Sequence[str] = DEFAULT_GROUPS) -> None:
        unknown = [group for group in groups if group not in GROUPS]
        if unknown or not groups:
            message = f"unknown feature groups {unknown}; allowed, at least one of: {', '.join(GROUPS)}"
            raise ConfigError(message)
        self.groups = tuple(groups)

    def fit(
        self, environments: Sequence[SiteEnvironment], delta_e: NDArray[np.float64] | None = None
    ) -> Self:
        """Nothing is learned: here for the sake of a pipeline of transformers."""
        del environments, delta_e
        return self

    def transform(self, environments: Sequence[SiteEnvironment]) -> Array:
        """Feature matrix of shape (n_environments, n_features), NaN where nothing is known.

        Raises
        ------
        ValueError
            If a symbol is no element up to lawrencium.
        """
        return self._matrix(_Sites(environments))

    def transform_with_atoms(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[Array, Array, NDArray[np.int64]]:
        """Feature matrix, and what is known of the binding atoms one by one.

        Returns
        -------
        sites
            As of :meth:`transform`.
        atoms
            Of every first-shell atom whose neighbours are known, those of a site together, of shape
            (n_atoms, n_atom_features): its own properties, the mean and the standard deviation of its
            neighbours', how many neighbours there are, and which share of them is of its own kind.
        counts
            How many atoms of each site there are in ``atoms``, of shape (n_environments,).
        """
        sites = _Sites(environments)
        return self._matrix(sites), _atoms(sites), np.bincount(sites.owner, minlength=sites.n)

    def _matrix(self, sites: _Sites) -> Array:
        return np.hstack([GROUPS[group][1](sites) for group in self.groups])

    def get_feature_names_out(self) -> list[str]:
        """Names of the columns, such as ``first_mean_electronegativity``."""
        return [name for group in self.groups for name in GROUPS[group][0]]

    def units(self) -> list[str]:
        """Units of the columns; empty where there is none."""
        return [unit for group in self.groups for unit in GROUPS[group][0].values()]
