"""Published pure metals as a source: they rank alloys from zero and give way to a campaign's energies."""

from __future__ import annotations

import numpy as np

from pipeline.structures.context import site_environments
from surrogate.models import AdsorptionSurrogate
from surrogate.published import ENOUGH, PURE_METALS, published
from surrogate.sites import SiteEnvironment


def hollow(*metals: str) -> SiteEnvironment:
    return SiteEnvironment(tuple((m, 1) for m in metals), tuple((m, 5) for m in metals))


def test_sites_rank_from_zero_observations_by_the_metals_around_them() -> None:
    surrogate = AdsorptionSurrogate("H").fit([], [], sources=published("H", 0))
    weak, middle, strong = (
        surrogate.predict([site])[0][0]
        for site in (hollow("Au", "Ag", "In"), hollow("Au", "Pd", "Cu"), hollow("Pd", "Ni", "V"))
    )
    assert strong < middle - 0.1 < weak - 0.2


def test_a_metal_that_is_not_in_the_table_is_taken_to_be_like_its_neighbours() -> None:
    """Rh lies between Ru and Pd, Tl below In: none of the two is in the table."""
    assert not {"Rh", "Tl"} & set(PURE_METALS["H"])
    surrogate = AdsorptionSurrogate("H").fit([], [], sources=published("H", 0))
    mean, std = surrogate.predict([hollow("Rh"), hollow("Tl"), hollow("Pd")])
    assert mean[0] < -0.1 < 0.2 < mean[1]
    assert std[2] < std[0]


def test_the_campaigns_own_energies_correct_the_level() -> None:
    table = PURE_METALS["CO"]
    sites = [hollow(metal) for metal in table]
    shifted = np.array(list(table.values())) - 0.5
    surrogate = AdsorptionSurrogate("CO").fit(sites[:4], shifted[:4], list(table)[:4], published("CO", 4))
    (found,) = surrogate.record()["parameters"]["sources"]
    assert -0.6 < found["level_ev"] < -0.2
    others = [hollow(*pair) for pair in (("Pd", "Zn"), ("Cu", "Ga"), ("Ir", "Pt"), ("Au", "Cd"))]
    before, _ = AdsorptionSurrogate("CO").fit([], [], sources=published("CO", 0)).predict(others)
    after, _ = surrogate.predict(others)
    assert -0.7 < (after - before).mean() < -0.2


def test_the_table_gives_way_to_enough_observations_and_is_of_its_own_reference_only() -> None:
    assert published("H", ENOUGH - 1)
    assert published("H", ENOUGH) == []
    assert published("H-1234abcd", 0) == []
    assert published("OH", 0) == []


def test_sites_of_the_table_are_described_as_the_enumeration_describes_them() -> None:
    from pathlib import Path

    from config.campaign import BulkSelection
    from config.loader import load_campaign
    from pipeline.enumeration import cut_surfaces, find_sites, select_bulks

    settings = load_campaign("emt").model_copy(update={"bulks": BulkSelection(ids=("mp-30",))})
    bulks, _ = select_bulks(settings, Path())
    surfaces = cut_surfaces(settings, bulks)
    found = site_environments(bulks, surfaces, find_sites(surfaces)).values()
    (source,) = published("H", 0)
    mine = next(site for site in source.environments if site.first_shell == (("Cu", 3),))
    assert any(
        (mine.canonical(), mine.neighbours, mine.beneath) == (site.canonical(), site.neighbours, site.beneath)
        for site in found
    )
