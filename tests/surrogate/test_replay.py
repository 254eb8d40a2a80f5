"""Replayed campaigns."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from surrogate.models import AdsorptionSurrogate
from surrogate.replay import AtRandom, Learned, Pool, replay
from tests.surrogate.worlds import law, random_environments


@pytest.fixture(scope="module")
def pool():
    environments = random_environments(200)
    energies = law(environments)
    numbers = np.arange(200)
    return Pool(environments, energies, numbers // 10, numbers // 5, target=-0.6, window=0.1)


def strategies():
    make = partial(AdsorptionSurrogate, "CO", "extra_trees")
    return [AtRandom(), Learned(make), Learned(make, "gaussian"), Learned(make, goal="surfaces")]


@pytest.mark.parametrize("strategy", strategies())
def test_no_site_is_asked_for_twice_and_all_are_found_in_the_end(pool, strategy):
    found = replay(pool, strategy, n_seed=20, batch=60, looks=[20, 100, 200, 500], seed=1)
    assert found.labels == (20, 100, 200)
    assert list(found.hits) == sorted(found.hits)
    assert found.hits[-1] == pool.is_hit.sum()
    assert found.surfaces_hit[-1] == pool.surfaces_hit(np.arange(200)) > 0


def test_every_strategy_starts_from_the_same_sites(pool):
    starts = {replay(pool, s, n_seed=40, batch=5, looks=[40], seed=3).hits for s in strategies()}
    assert len(starts) == 1


def test_a_strategy_sees_no_energy_that_was_not_told(pool):
    class Spy(AtRandom):
        def ask(self, pool, known, n, rng):
            asked = Learned(partial(AdsorptionSurrogate, "CO", "extra_trees")).ask
            hidden = pool.delta_e.copy()
            hidden[np.setdiff1d(np.arange(len(pool)), known)] = np.nan
            blind = Pool(pool.environments, hidden, pool.bulks, pool.surfaces, pool.target, pool.window)
            state = rng.bit_generator.state
            choice = asked(blind, known, n, rng)
            rng.bit_generator.state = state
            assert choice.tolist() == asked(pool, known, n, rng).tolist()
            return choice

    replay(pool, Spy(), n_seed=20, batch=20, looks=[60], seed=0)


def test_a_surrogate_finds_hits_sooner_than_chance(pool):
    def hits(strategy):
        runs = [replay(pool, strategy, n_seed=20, batch=20, looks=[60], seed=seed) for seed in range(3)]
        return sum(run.hits[0] for run in runs)

    assert hits(strategies()[1]) > 1.5 * hits(AtRandom())


def test_a_surface_is_hit_only_when_its_lowest_site_is_known(pool):
    lowest_first = np.argsort(pool.delta_e)
    surface = next(
        s for s in np.unique(pool.surfaces)
        if abs(pool.delta_e[pool.surfaces == s].min() - pool.target) <= pool.window
        and abs(np.sort(pool.delta_e[pool.surfaces == s])[1] - pool.target) > pool.window
    )  # fmt: skip
    of_surface = lowest_first[pool.surfaces[lowest_first] == surface]
    assert pool.surfaces_hit(of_surface[1:]) == 0
    assert pool.surfaces_hit(of_surface[:1]) == 1
