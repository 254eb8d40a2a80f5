import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import SurfaceSettings
from pipeline.structures.slabs import build_slab, repetition
from pipeline.structures.surfaces import enumerate_surfaces
from tests.pipeline.structures.crystals import LIBRARY, from_library

SURFACES = {
    s.label: s
    for name in ("fcc Cu", "bcc Fe", "hcp Zn", "L1_2 Ni3Al", "monoclinic")
    for s in enumerate_surfaces(
        from_library(LIBRARY[name]), SurfaceSettings(max_miller_index=2, max_atoms=1000)
    )
}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    label=st.sampled_from(sorted(SURFACES)),
    height=st.floats(2.0, 12.0),
    lateral=st.floats(2.0, 9.0),
    vacuum=st.floats(4.0, 20.0),
    scale=st.floats(0.95, 1.05),
)
def test_slab_honours_the_settings(label, height, lateral, vacuum, scale):
    surface = SURFACES[label]
    chosen = SurfaceSettings(min_height_a=height, min_lateral_a=lateral, vacuum_a=vacuum, max_atoms=1000)
    # Surfaces are cut at least as deep as the campaign's slabs are high.
    if height > np.ptp(surface.atoms.positions[:, 2]):
        return
    slab = build_slab(surface, scale, chosen)
    heights = slab.positions[:, 2] / scale
    assert np.ptp(heights) >= height - 0.011
    fewer = slab.get_tags() < slab.get_tags().max()
    assert not fewer.any() or np.ptp(heights[fewer]) < height
    steps = np.array([(i, j) for i in range(-3, 4) for j in range(-3, 4) if (i, j) != (0, 0)])
    copies = np.linalg.norm(steps @ slab.cell.array[:2], axis=1) / scale
    assert copies.min() >= lateral - 0.011
    assert slab.cell[2, 2] - np.ptp(slab.positions[:, 2]) == pytest.approx(vacuum)
    assert slab.positions[:, 2].min() == pytest.approx(vacuum / 3)
    assert list(slab.pbc) == [True, True, False]


def test_number_of_atoms_does_not_depend_on_the_scale():
    chosen = SurfaceSettings(min_lateral_a=5.1, min_height_a=6.26)
    sizes = {len(build_slab(SURFACES["Cu(111)"], s, chosen)) for s in np.linspace(0.95, 1.05, 21)}
    assert len(sizes) == 1


def test_free_depth_frees_whole_layers_from_the_top():
    surface = SURFACES["Cu(111)"]
    free = {
        depth: set(range(len(slab))) - set(slab.constraints[0].index if slab.constraints else ())
        for depth in (0.0, 1.0, 3.0, 30.0)
        for slab in [build_slab(surface, 1.0, SurfaceSettings(free_depth_a=depth))]
    }
    tags = build_slab(surface, 1.0, SurfaceSettings()).get_tags()
    assert free[0.0] == set()
    assert free[1.0] == set(np.flatnonzero(tags == 1))
    assert free[3.0] == set(np.flatnonzero(tags <= 2))  # layers are 2.1 Å apart
    assert free[30.0] == set(range(len(tags)))


def test_repetition_is_the_smallest_that_is_wide_enough():
    square = np.eye(2) * 2.5
    assert repetition(square, 2.5) == (1, 1)
    assert repetition(square, 4.5) == (2, 2)
    rectangle = np.diag([2.5, 5.0])
    assert repetition(rectangle, 4.5) == (2, 1)
    hexagonal = 2.5 * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    assert repetition(hexagonal, 5.0) == (2, 2)
