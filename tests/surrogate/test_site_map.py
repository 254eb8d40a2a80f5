"""The map of sites."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate.site_map import FEWEST, site_map
from tests.surrogate.test_hybrids import hollow, top

METALS = ("Al", "Fe", "Ni", "Cu", "Ga", "Pd", "Ag", "Pt", "Au")


def test_sites_that_are_described_alike_lie_together():
    families = [[hollow("Cu", metal) for metal in METALS], [top("Ti", metal) for metal in METALS]]
    sites = [site for family in families for site in family]
    places = site_map(sites)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(len(sites), np.inf))
    is_first = np.arange(len(sites)) < len(METALS)
    nearest_is_alike = is_first[distances.argmin(axis=1)] == is_first
    assert nearest_is_alike.mean() > 0.8


def test_the_same_seed_gives_the_same_map():
    sites = [hollow(a, b) for a in METALS[:4] for b in METALS[:3]]
    assert site_map(sites, seed=3) == pytest.approx(site_map(sites, seed=3))


def test_too_few_sites_are_refused():
    with pytest.raises(ValueError, match="too few"):
        site_map([hollow("Cu", "Cu")] * (FEWEST - 1))
