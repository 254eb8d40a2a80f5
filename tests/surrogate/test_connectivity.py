import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from pymatgen.analysis.local_env import IsayevNN
from pymatgen.io.ase import AseAtomsAdaptor

from config.errors import StructureError
from pipeline.structures.library import library_bulk
from surrogate.connectivity import PROBE_RADIUS_A, crystal_connections, site_connections
from surrogate.fragment_properties import covalent_radii


def connected(atoms):
    return crystal_connections(atoms.numbers.astype(np.int64), atoms.cell.array, atoms.positions)


@pytest.mark.parametrize(
    ("atoms", "coordination"),
    [
        (bulk("Cu"), 12),
        (bulk("Ti"), 12),
        (bulk("Cr"), 14),  # eight corners and six squares of the truncated octahedron
        (bulk("Po", "sc", a=3.04), 6),  # where eight cells meet in a point, there is no face
        (bulk("Si"), 4),
        (bulk("Al"), 0),  # 2.86 Å apart, and twice 1.21 Å and 0.25 Å is less
    ],
)
def test_neighbours_share_a_face_and_are_within_their_covalent_radii(atoms, coordination):
    found = connected(atoms)
    assert np.bincount(found.first, minlength=len(atoms)).tolist() == [coordination] * len(atoms)


@pytest.mark.parametrize("mpid", ["mp-112", "mp-979910", "mp-1487", "mp-10010"])
def test_coordination_is_that_of_another_implementation(mpid):
    atoms = library_bulk(mpid).atoms()
    structure = AseAtomsAdaptor.get_structure(atoms)
    expected = [len(IsayevNN(tol=0.25, cutoff=8.0).get_nn_info(structure, i)) for i in range(len(atoms))]
    found = np.bincount(connected(atoms).first, minlength=len(atoms))
    assert found.tolist() == expected


def test_voronoi_cells_fill_the_crystal():
    atoms = library_bulk("mp-112").atoms()
    found = connected(atoms)
    assert found.volumes.sum() == pytest.approx(atoms.get_volume())


def test_every_connection_is_listed_from_either_end():
    found = connected(library_bulk("mp-1487").atoms())
    forth = sorted(zip(found.first, found.second, found.distances.round(6), strict=True))
    back = sorted(zip(found.second, found.first, found.distances.round(6), strict=True))
    assert forth == back


@pytest.mark.parametrize(("place", "n_first"), [("ontop", 1), ("bridge", 2), ("fcc", 3)])
def test_a_probe_on_a_site_touches_the_atoms_of_the_site(place, n_first):
    slab = fcc111("Cu", (1, 1, 4), a=3.6)
    at = slab.info["adsorbate_info"]["sites"][place]
    site = np.array([*(np.array(at) @ slab.cell.array[:2, :2]), 0.0])
    found = site_connections(slab.numbers.astype(np.int64), slab.cell.array[:2], slab.positions, site)
    first = found.depths == 1
    assert first.sum() == n_first
    contact = covalent_radii()[28] + PROBE_RADIUS_A
    np.testing.assert_allclose(found.site_distances[first], contact)
    # A copper atom of the surface has nine neighbours
    assert set(np.bincount(found.first)[np.flatnonzero(first)]) == {9}


def test_a_place_beside_the_slab_is_refused():
    slab = Atoms("Cu", cell=[20.0, 20.0, 10.0], pbc=(True, True, False))
    with pytest.raises(StructureError, match="no atom lies under the site"):
        site_connections(
            slab.numbers.astype(np.int64), slab.cell.array[:2], slab.positions, np.array([10.0, 10.0, 0.0])
        )
