"""Property-labelled materials fragments: crystals, and sites of surfaces, as vectors with names.

After Isayev et al., Nature Communications 8 (2017) 15679, doi:10.1038/ncomms15679. Atoms are the nodes of a
graph (:mod:`surrogate.connectivity`), labelled with the properties of their elements
(:mod:`surrogate.fragment_properties`); what is told of every property q is statistics over fragments of it:

- *composition*: mean, standard deviation, least and greatest over all atoms;
- *paths* of one, two and three connections between atoms i and j: the mean difference ``|q_i - q_j|`` and the
  mean product ``(q_i - q)(q_j - q)`` of the deviations from the crystal's mean q;
- *shells*, an atom with all that it is connected to: the deviation ``q_i - mean_j q_j`` of the atom from its
  neighbours, and the transfer ``sum_j |q_i - q_j| / r_ij**2`` over its connections;
- *geometry*: coordination numbers, lengths of connections, Voronoi cells;
- *lattice*: axes and angles of the conventional cell, density, volume, numbers of atoms and elements, space
  group and crystal system.

All are means or extremes, never sums, so that a supercell has the vector of its primitive cell; the crystal
is brought into its standard cell first. Of the paper, this leaves out: fragments as separate descriptors by
the elements in them (their statistics stand for them), the Galvez matrix of all pairs, which does not
converge in a crystal (here: pairs that are connected), and the properties that
:mod:`surrogate.fragment_properties` names.
Paths may not turn back at once; a closed triangle counts as a path of three. Units: Å, Å³, u, eV, K, GPa.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import StructureError
from surrogate.connectivity import DEEPEST, crystal_connections, site_connections
from surrogate.fragment_properties import PROPERTIES, covalent_radii, element_properties, unlabelled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

    from surrogate.connectivity import Connections, SiteConnections

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

DESCRIPTOR_VERSION = 1
"""Goes up whenever the numbers or their order change; models trained on another one are refused."""
SYMPREC_A = 0.037
"""Atoms this close to a symmetric place are taken to be there, Å; no round number, so that published
structures do not sit on the edge."""
CRYSTAL_SYSTEMS = ((2, 1), (15, 2), (74, 3), (142, 4), (167, 5), (194, 6), (230, 7))
"""Last space group of each crystal system, triclinic to cubic, and the system's rank."""
_STATISTICS = ("mean", "spread", "least", "greatest")
_GEOMETRY = (
    "coordination number", "length of connections", "length over covalent radii", "share of the sphere",
    "Voronoi volume", "faces of the Voronoi cell",
)  # fmt: skip
_LATTICE = (
    "shortest axis", "middle axis", "longest axis", "middle over shortest axis", "longest over shortest axis",
    "smallest angle", "middle angle", "largest angle", "volume per atom", "density", "packing fraction",
    "atoms in the primitive cell", "atoms in the conventional cell", "elements", "space group",
    "crystal system",
)  # fmt: skip
_SITE_GEOMETRY = (
    *(f"atoms at depth {depth}" for depth in range(1, DEEPEST + 1)),
    "height",
    *(f"distance of the first shell: {s}" for s in _STATISTICS),
    *(f"coordination number of the first shell: {s}" for s in _STATISTICS),
    *(f"length of connections: {s}" for s in _STATISTICS),
)


@lru_cache(maxsize=1)
def descriptor_names() -> tuple[str, ...]:
    """Names of a crystal's descriptors, ``family: property: what of it``."""
    per_property = {
        "composition": _STATISTICS,
        "paths": tuple(
            f"{what} along {n}" for n in range(1, DEEPEST + 1) for what in ("difference", "product")
        ),
        "shells": tuple(f"{w}, {s}" for w in ("excess over neighbours", "transfer") for s in _STATISTICS),
    }
    labelled = [f"{f}: {p}: {s}" for f, kinds in per_property.items() for s in kinds for p in PROPERTIES]
    geometry = [f"geometry: {what}: {s}" for what in _GEOMETRY for s in _STATISTICS]
    return (*labelled, *geometry, *(f"lattice: {what}" for what in _LATTICE))


@lru_cache(maxsize=1)
def site_descriptor_names() -> tuple[str, ...]:
    """Names of a site's descriptors."""
    first = [f"first shell: {p}: {s}" for s in _STATISTICS for p in PROPERTIES]
    deeper = [f"depth {depth}: {p}: mean" for depth in range(2, DEEPEST + 1) for p in PROPERTIES]
    outwards = [
        f"{w} outwards from depth {d}: {p}"
        for d in range(1, DEEPEST)
        for w in ("difference", "transfer")
        for p in PROPERTIES
    ]
    return (*first, *deeper, *outwards, *(f"geometry: {what}" for what in _SITE_GEOMETRY))


def crystal_descriptors(crystals: Iterable[Atoms]) -> Array:
    """Describe crystals.

    Parameters
    ----------
    crystals
        Any cell of each.

    Returns
    -------
    ndarray of shape (n_crystals, n_descriptors)
        In the order of :func:`descriptor_names`; the same for every choice of the cell, its origin and
        orientation and the order of its atoms. NaN where a crystal has no connections to tell of.

    Raises
    ------
    StructureError
        If a crystal holds an element without properties, or has no symmetry; the message names its formula.
    """
    rows = [_describe(atoms) for atoms in crystals]
    return np.array(rows).reshape(len(rows), len(descriptor_names()))


def site_descriptors(surface: Atoms, site: Iterable[float]) -> Array:
    """Describe the fragment around a site of a surface.

    Parameters
    ----------
    surface
        A slab without adsorbate; its outward normal is +z, and its first two lattice vectors span the
        surface.
    site
        Where the site is, Å, shape (3,); its height does not matter.

    Returns
    -------
    ndarray of shape (n_site_descriptors,)
        In the order of :func:`site_descriptor_names`; the same whatever the cell of the surface, turns about
        its normal, mirrors, and the order of its atoms.

    Raises
    ------
    StructureError
        If the slab holds an element without properties, or nothing lies under the site.
    """
    _refuse_unlabelled(surface)
    cell = surface.cell.array[:2]
    place = np.array(list(site), dtype=float)
    numbers = surface.numbers.astype(np.int64)
    return _site_vector(site_connections(numbers, cell, surface.positions, place))


def _describe(atoms: Atoms) -> Array:
    """Descriptors of one crystal."""
    _refuse_unlabelled(atoms)
    dataset = _standardised(atoms)
    primitive = dataset.prim_std_cell
    numbers = np.array(primitive.numbers, dtype=np.int64)
    cell = np.array(primitive.basis)
    connections = crystal_connections(numbers, cell, np.array(primitive.positions) @ cell)
    labels = element_properties()[numbers - 1]
    return np.concatenate(
        [
            _statistics(labels).ravel(),
            _along_paths(connections, labels).ravel(),
            _over_shells(connections, labels).ravel(),
            _geometry(connections, numbers).ravel(),
            _lattice(dataset, numbers),
        ]
    )


def _refuse_unlabelled(atoms: Atoms) -> None:
    missing = unlabelled(set(atoms.get_chemical_symbols()))
    if missing:
        message = (
            f"{atoms.get_chemical_formula()}: no properties are tabulated of {', '.join(missing)}; "
            "elements from H to Pu have them"
        )
        raise StructureError(message)


def _standardised(atoms: Atoms) -> Any:
    """Run moyopy's symmetry search."""
    import moyopy

    # moyopy warns on every supercell, which is an input like any other here.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    numbers = [int(z) for z in atoms.numbers]
    cell = moyopy.Cell(atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), numbers)
    try:
        return moyopy.MoyoDataset(cell, symprec=SYMPREC_A)
    except Exception as error:  # moyopy raises bare ValueError and panics alike
        message = f"no symmetry found for {atoms.get_chemical_formula()}: {error}"
        raise StructureError(message) from error


def _statistics(values: Array) -> Array:
    """Mean, standard deviation, least and greatest of each column, of shape (4, n_columns)."""
    if len(values) == 0:
        return np.full((len(_STATISTICS), values.shape[1]), np.nan)
    return np.array([values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)])


def path_counts(first: IntArray, second: IntArray, n_atoms: int) -> list[Array]:
    """Paths of one, two and three connections between atoms, each from either end.

    Paths do not turn back at once: ``A_2 = A A - D`` and ``A_3 = A_2 A - A (D - 1)`` with the number of
    connections A between atoms and the diagonal D of coordination numbers.

    Returns
    -------
    list of ndarray of shape (n_atoms, n_atoms)
    """
    one = np.zeros((n_atoms, n_atoms))
    np.add.at(one, (first, second), 1.0)
    degrees = np.diag(one.sum(axis=1))
    two = one @ one - degrees
    three = two @ one - one @ (degrees - np.eye(n_atoms))
    return [one, two, three]


def _along_paths(connections: Connections, labels: Array) -> Array:
    """Mean difference and mean product at the ends of paths, of shape (6, n_properties)."""
    differences = np.abs(labels[:, None, :] - labels[None, :, :])
    centred = labels - labels.mean(axis=0)
    rows = []
    for counts in path_counts(connections.first, connections.second, len(labels)):
        total = counts.sum()
        if total == 0:
            rows += [np.full(labels.shape[1], np.nan)] * 2
            continue
        rows.append(np.einsum("ij,ijp->p", counts, differences) / total)
        rows.append(np.einsum("ip,ij,jp->p", centred, counts, centred, optimize=True) / total)
    return np.array(rows)


def _over_shells(connections: Connections, labels: Array) -> Array:
    """Statistics over atoms of their excess over their neighbours and of their transfer, shape (8, n_p)."""
    first, second = connections.first, connections.second
    degrees = np.bincount(first, minlength=len(labels))
    around, transfer = np.zeros(labels.shape), np.zeros(labels.shape)
    np.add.at(around, first, labels[second])
    weights = 1.0 / connections.distances**2
    np.add.at(transfer, first, np.abs(labels[first] - labels[second]) * weights[:, None])
    connected = degrees > 0
    excess = labels[connected] - around[connected] / degrees[connected, None]
    return np.vstack([_statistics(excess), _statistics(transfer)])


def _geometry(connections: Connections, numbers: IntArray) -> Array:
    """Statistics of coordination and of the Voronoi cells, of shape (6, 4)."""
    radii = covalent_radii()[numbers - 1]
    touching = radii[connections.first] + radii[connections.second]
    per_atom_or_connection = (
        np.bincount(connections.first, minlength=len(numbers)).astype(float),
        connections.distances,
        connections.distances / touching,
        connections.shares,
        connections.volumes,
        connections.faces.astype(float),
    )
    return np.array([_statistics(values[:, None])[:, 0] for values in per_atom_or_connection])


def _lattice(dataset: Any, numbers: IntArray) -> Array:
    """What is told of the lattice, in the order of ``_LATTICE``."""
    cell = np.array(dataset.std_cell.basis)
    lengths = np.linalg.norm(cell, axis=1)
    cosines = [float(cell[i] @ cell[j]) / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.sort(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))))
    axes = np.sort(lengths)
    n_conventional = len(dataset.std_cell.numbers)
    volume = abs(float(np.linalg.det(cell))) / n_conventional
    masses = element_properties()[numbers - 1, PROPERTIES.index("atomic mass")]
    spheres = (4.0 / 3.0) * np.pi * covalent_radii()[numbers - 1] ** 3
    number = int(dataset.number)
    system = next(rank for last, rank in CRYSTAL_SYSTEMS if number <= last)
    return np.array(
        [
            *axes, axes[1] / axes[0], axes[2] / axes[0], *angles, volume, masses.mean() / volume,
            spheres.mean() / volume, len(numbers), n_conventional, len(set(numbers.tolist())), number, system,
        ]
    )  # fmt: skip


def _site_vector(site: SiteConnections) -> Array:
    """Descriptors of a site's fragment."""
    labels = np.vstack([np.full(len(PROPERTIES), np.nan), element_properties()])[site.numbers]
    shell = site.depths == 1
    deeper = [_statistics(labels[site.depths == depth])[0] for depth in range(2, DEEPEST + 1)]
    outwards = [row for depth in range(1, DEEPEST) for row in _outwards(site, labels, depth)]
    coordination = np.bincount(site.first, minlength=len(site.numbers)).astype(float)
    measures = (site.site_distances[shell], coordination[shell], site.distances)
    return np.concatenate(
        [
            _statistics(labels[shell]).ravel(),
            *deeper,
            *outwards,
            [float((site.depths == depth).sum()) for depth in range(1, DEEPEST + 1)],
            [site.height],
            *(_statistics(values[:, None])[:, 0] for values in measures),
        ]
    )


def _outwards(site: SiteConnections, labels: Array, depth: int) -> tuple[Array, Array]:
    """Difference and transfer of the connections from one depth to the next, means over them and atoms."""
    chosen = (site.depths[site.first] == depth) & (site.depths[site.second] == depth + 1)
    differences = np.abs(labels[site.first[chosen]] - labels[site.second[chosen]])
    weighted = differences / site.distances[chosen, None] ** 2
    n_atoms = max(int((site.depths == depth).sum()), 1)
    return _statistics(differences)[0], weighted.sum(axis=0) / n_atoms
