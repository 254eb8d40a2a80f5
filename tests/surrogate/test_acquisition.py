from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ConfigError
from surrogate.acquisition import STRATEGIES, Candidates, choose, hit_probability
from surrogate.batches import choose_batch, share_batch
from surrogate.seeding import choose_seed
from surrogate.sites import SiteEnvironment, environment_labels
from tests.surrogate.worlds import random_environments

TARGET, WINDOW = -0.67, 0.1


def pool(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(-0.7, 0.7, n), rng.uniform(0.05, 0.6, n)


def pick(strategy, mean, std, n, seed=0, **options):
    rng = np.random.default_rng(seed)
    return choose(strategy, Candidates(mean, std, TARGET, WINDOW, **options), n=n, rng=rng)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None)
@given(size=st.integers(0, 40), n=st.integers(0, 60), seed=st.integers(0, 1000))
def test_choices_are_distinct_allowed_and_as_many_as_can_be(strategy, size, n, seed):
    mean, std = pool(size, seed)
    is_excluded = np.random.default_rng(seed).random(size) < 0.4
    labels = np.random.default_rng(seed).integers(0, 5, size)
    chosen = pick(strategy, mean, std, n, seed, is_excluded=is_excluded, labels=(labels,))
    assert len(set(chosen.tolist())) == len(chosen) == min(n, int((~is_excluded).sum()))
    assert not is_excluded[chosen].any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_generator_gives_the_same_choice(strategy):
    mean, std = pool(50)
    assert np.array_equal(pick(strategy, mean, std, 10, 7), pick(strategy, mean, std, 10, 7))


def test_greedy_takes_the_closest_in_order():
    mean = np.array([0.5, -0.7, -3.0, -0.6, -0.66])
    assert pick("greedy", mean, np.ones(5), 3).tolist() == [4, 1, 3]


def test_hit_probability_takes_the_likeliest():
    mean, std = pool(200)
    probability = hit_probability(mean, std, TARGET, WINDOW)
    assert set(pick("hit_probability", mean, std, 10).tolist()) == set(np.argsort(-probability)[:10].tolist())


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0.02, 2), st.floats(0.01, 2))
def test_hit_probability_is_a_probability_symmetric_about_the_target(offset, std, window):
    two = hit_probability(np.array([TARGET + offset, TARGET - offset]), np.array([std, std]), TARGET, window)
    assert np.all((two >= 0) & (two <= 1))
    assert two[0] == pytest.approx(two[1], rel=1e-6, abs=1e-12)


def test_hit_probability_agrees_with_the_normal_tables():
    # P(|Z| <= 1) and P(|Z| <= 1.959964) of the standard normal.
    probability = hit_probability(np.zeros(2), np.ones(2), 0.0, np.array([1.0, 1.959964]))
    assert probability == pytest.approx([0.6826895, 0.95], abs=1e-6)


def test_hit_probability_of_hopeless_candidates_still_ranks_them():
    mean = np.array([3.0, 2.0, -4.0])
    assert pick("hit_probability", mean, np.full(3, 0.15), 3).tolist() == [1, 2, 0]


def test_equal_surroundings_are_not_taken_ten_times_when_others_are_nearly_as_good():
    mean, std = np.r_[np.full(10, -0.67), np.full(9, -0.70)], np.full(19, 0.1)
    labels = np.r_[np.zeros(10, dtype=int), np.arange(1, 10)]
    chosen = pick("hit_probability", mean, std, 10, labels=(labels,))
    assert len(set(labels[chosen].tolist())) == 10


def test_what_resembles_candidates_under_way_counts_half_as_much():
    mean, std, labels = np.full(3, TARGET), np.array([0.10, 0.11, 0.5]), (np.array([0, 0, 1]),)
    is_pending = np.array([True, False, False])
    assert pick("hit_probability", mean, std, 1, is_excluded=is_pending, labels=labels).tolist() == [1]
    chosen = pick(
        "hit_probability", mean, std, 2, is_excluded=is_pending, labels=labels, is_pending=is_pending
    )
    ratio = np.divide(*hit_probability(mean[1:], std[1:], TARGET, WINDOW))
    assert chosen.tolist() == ([1, 2] if ratio > 2 else [2, 1])
    many = np.repeat([True, False], [5, 2])
    labels = (np.array([0] * 6 + [1]),)
    std = np.array([0.1] * 6 + [0.5])
    assert pick(
        "hit_probability", np.full(7, TARGET), std, 1, is_excluded=many, labels=labels, is_pending=many
    ).tolist() == [6]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 8), st.integers(0, 8), st.integers(0, 100))
def test_places_that_come_free_one_by_one_are_shared_as_evenly_as_a_batch(n, co, h, seed):
    rng = np.random.default_rng(seed)
    share = share_batch({"CO": 50, "H": 50}, n, rng, pending={"CO": co, "H": h})
    assert sum(share.values()) == n
    gap = abs(share["CO"] + co - share["H"] - h)
    assert gap <= max(1, abs(co - h) - n)


def test_ties_are_broken_by_the_generator():
    firsts = {int(pick("greedy", np.zeros(20), np.ones(20), 1, seed)[0]) for seed in range(60)}
    assert len(firsts) > 10


def test_gaussian_draws_follow_their_weights():
    mean = np.array([TARGET, TARGET + 0.1, TARGET + 0.2])
    rng = np.random.default_rng(1)
    candidates = Candidates(mean, np.ones(3), TARGET, WINDOW)
    draws = [choose("gaussian", candidates, n=1, rng=rng)[0] for _ in range(4000)]
    weights = np.exp(-0.5 * np.array([0.0, 1.0, 2.0]) ** 2)
    assert np.bincount(draws) / 4000 == pytest.approx(weights / weights.sum(), abs=0.03)


def test_gaussian_survives_underflowing_weights():
    mean = np.array([50.0, 60.0, 70.0])
    assert pick("gaussian", mean, np.ones(3), 2).tolist() == [0, 1]


def test_unknown_strategy_is_refused():
    with pytest.raises(ConfigError, match="'best'"):
        pick("best", *pool(3), 1)


class TestBatch:
    STRATEGY: ClassVar[str] = "hit_probability"

    def groups(self, **sizes):
        return {name: Candidates(*pool(size), TARGET, WINDOW) for name, size in sizes.items()}

    def test_is_shared_evenly(self):
        batch = choose_batch(self.STRATEGY, self.groups(CO=50, H=50), n=9, rng=np.random.default_rng(0))
        assert sorted(len(chosen) for chosen in batch.values()) == [4, 5]

    def test_places_that_one_cannot_fill_go_to_the_other(self):
        batch = choose_batch(self.STRATEGY, self.groups(CO=2, H=50), n=10, rng=np.random.default_rng(0))
        assert {name: len(chosen) for name, chosen in batch.items()} == {"CO": 2, "H": 8}

    def test_never_exceeds_what_is_allowed(self):
        mean, std = pool(5)
        group = Candidates(mean, std, TARGET, WINDOW, is_excluded=np.array([True, True, False, True, False]))
        batch = choose_batch(self.STRATEGY, {"H": group}, n=10, rng=np.random.default_rng(0))
        assert sorted(batch["H"].tolist()) == [2, 4]

    def test_the_odd_place_goes_to_either(self):
        larger = set()
        for seed in range(20):
            batch = choose_batch("greedy", self.groups(CO=9, H=9), n=3, rng=np.random.default_rng(seed))
            larger.add(max(batch, key=lambda name: len(batch[name])))
        assert larger == {"CO", "H"}


class TestSeed:
    ELEMENTS = ("Cu", "Pd", "Al")

    def candidates(self):
        pure = [SiteEnvironment(((e, k),), ((e, 9),)) for e in self.ELEMENTS for k in (1, 2, 3)]
        alloys = random_environments(40, seed=2)
        return pure + alloys, np.r_[np.ones(len(pure), dtype=bool), np.zeros(len(alloys), dtype=bool)]

    def test_starts_with_a_site_on_every_pure_element(self):
        environments, is_pure = self.candidates()
        chosen = choose_seed(environments, is_pure, 8, np.random.default_rng(0))
        assert {environments[i].first_shell[0][0] for i in chosen[:3]} == set(self.ELEMENTS)
        assert is_pure[chosen[:3]].all()

    def test_goes_on_with_surroundings_unlike_each_other(self):
        environments, is_pure = self.candidates()
        environments = environments + environments
        chosen = choose_seed(environments, np.r_[is_pure, is_pure], 15, np.random.default_rng(0))
        assert len(set(environment_labels(environments)[chosen].tolist())) == 15

    @settings(deadline=None)
    @given(st.integers(0, 80), st.integers(0, 50))
    def test_is_distinct_and_as_large_as_can_be(self, n, seed):
        environments, is_pure = self.candidates()
        chosen = choose_seed(environments, is_pure, n, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == len(chosen) == min(n, len(environments))

    def test_of_nothing_is_nothing(self):
        assert len(choose_seed([], np.zeros(0, dtype=bool), 5, np.random.default_rng(0))) == 0


def test_of_equal_chances_the_cheaper_comes_first():
    mean, hours = np.array([-0.6, -0.6, -0.6, 0.5]), np.array([3.0, 1.0, 2.0, 1.0])
    assert pick("hits_per_cpu_hour", mean, np.full(4, 0.1), 4, cpu_hours=hours).tolist() == [1, 2, 0, 3]


def test_a_hopeless_candidate_is_not_chosen_for_being_cheap():
    mean, hours = np.array([-0.67, 1.0]), np.array([100.0, 0.1])
    assert pick("hits_per_cpu_hour", mean, np.full(2, 0.1), 1, cpu_hours=hours).tolist() == [0]


@pytest.mark.parametrize("factor", ["success", "others"])
def test_what_is_likely_to_fail_or_to_miss_for_the_other_adsorbates_comes_later(factor):
    options = {factor: np.array([0.2, 0.9, 0.5])}
    assert pick("hit_probability", np.full(3, -0.67), np.full(3, 0.1), 3, **options).tolist() == [1, 2, 0]
