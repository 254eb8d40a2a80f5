"""Rankings: a surface is judged by its lowest site, and the nearest to the target comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from config.adsorbates import AdsorbateSettings
from pipeline.domain import Bulk, Observation, Site, Surface
from pipeline.harvest import adsorption_energy
from pipeline.ranking import RankedSurface, rank

TARGET = AdsorbateSettings(target_ev=-0.27, window_ev=0.10)
BULK = Bulk("bulk-1", "mp-30", "Cu", ("Cu",), Atoms())
SURFACES = [Surface(f"surf-{i}", "bulk-1", (1, 1, 1), 0.0, "top", f"Cu({i})", Atoms()) for i in range(5)]
SITES = [
    Site(
        f"site-{i}-{j}",
        f"surf-{i}",
        "bulk-1",
        "top",
        f"Cu({i}) top #{j}",
        (0, 0, 0),
        ((0, 0),),
        (("Cu", 1),),
        (),
    )
    for i in range(5)
    for j in range(2)
]


def observe(surface: int, site: int, delta_e_ev: float) -> Observation:
    identifier = f"site-{surface}-{site}"
    return Observation(
        f"calc-{identifier}",
        identifier,
        identifier,
        f"surf-{surface}",
        "bulk-1",
        "H",
        delta_e_ev,
        "digest",
        0,
    )


def ranked(
    observations: list[Observation],
    predictions: dict[str, tuple[float, float]] | None = None,
    *,
    with_predicted: bool = False,
) -> list[RankedSurface]:
    return rank(
        "H",
        TARGET,
        bulks=[BULK],
        surfaces=SURFACES,
        sites=SITES,
        observations=observations,
        predictions=predictions or {},
        with_predicted=with_predicted,
    )


def test_the_lowest_site_decides() -> None:
    (row,) = ranked([observe(0, 0, -0.27), observe(0, 1, -0.9)])
    assert row.delta_e_ev == -0.9
    assert row.site_id == "site-0-1"
    assert not row.is_hit
    assert (row.n_sites_computed, row.n_sites) == (2, 2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5))
def test_the_nearest_to_the_target_comes_first(energies: list[float]) -> None:
    rows = ranked([observe(i, 0, e) for i, e in enumerate(energies)])
    gaps = [abs(r.deviation_ev) for r in rows]
    assert gaps == sorted(gaps)
    assert [r.rank for r in rows] == list(range(1, len(energies) + 1))
    assert {r.is_hit for r in rows if abs(r.delta_e_ev + 0.27) > 0.1000001} <= {False}


def test_predicted_surfaces_come_after_computed_ones_and_say_so() -> None:
    predictions = {site.id: (-0.27, 0.2) for site in SITES}
    rows = ranked([observe(3, 0, 2.0)], predictions, with_predicted=True)
    assert [r.basis for r in rows] == ["dft", *["predicted"] * 4]
    assert rows[0].std_ev is None
    assert rows[1].std_ev == 0.2
    assert [r.basis for r in ranked([observe(3, 0, 2.0)], predictions)] == ["dft"]


@pytest.mark.parametrize(("other", "is_confirmed"), [(-0.9, False), (-0.2, True)])
def test_a_hit_is_confirmed_only_if_no_other_site_is_predicted_lower(
    other: float, is_confirmed: bool
) -> None:
    (row,) = ranked([observe(0, 0, -0.30)], {"site-0-1": (other, 0.03)})
    assert row.is_hit
    assert row.is_confirmed == is_confirmed


def test_sites_that_two_relaxations_reached_count_once() -> None:
    moved = replace(observe(0, 0, -0.3), calculation_id="calc-other", start_site_id="site-0-1")
    (row,) = ranked([observe(0, 0, -0.3), moved])
    assert row.n_sites_computed == 1


def test_delta_e_subtracts_slab_and_half_a_hydrogen_molecule() -> None:
    assert adsorption_energy(-103.5, -100.0, {"H2": -6.0}, {"H2": 0.5}) == pytest.approx(-0.5)


def test_delta_e_refuses_to_guess_a_missing_energy() -> None:
    with pytest.raises(ValueError, match="missing"):
        adsorption_energy(-103.5, None, {"H2": -6.0}, {"H2": 0.5})
