"""Batches: shared by promise, and partly spent on exploring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate.acquisition import Candidates
from surrogate.batches import choose_batch, explore, number_explored

TARGET, WINDOW = -0.67, 0.1


def group(n, seed, *, pending=0, **options):
    rng = np.random.default_rng(seed)
    is_pending = np.arange(n + pending) >= n
    mean, std = rng.normal(-0.7, 0.5, n + pending), rng.uniform(0.05, 0.6, n + pending)
    return Candidates(mean, std, TARGET, WINDOW, is_pending, is_pending=is_pending, **options)


def promised(groups, batch):
    return sum(groups[name].promise()[indices].sum() for name, indices in batch.items())


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 200))
def test_no_other_share_promises_more_hits(n, seed):
    groups = {"CO": group(25, seed, pending=1), "H": group(25, seed + 1, pending=1)}
    batch = choose_batch("hit_probability", groups, n=n, rng=np.random.default_rng(seed), sharing="promise")
    best = np.sort(np.concatenate([g.promise()[~g.is_excluded] for g in groups.values()]))[-n:].sum()
    assert promised(groups, batch) == pytest.approx(best)
    assert sum(len(indices) for indices in batch.values()) == n


def test_an_adsorbate_without_promise_still_gets_a_place_when_none_of_it_is_under_way():
    far = Candidates(np.full(9, 3.0), np.full(9, 0.05), TARGET, WINDOW)
    groups = {"CO": group(30, 0), "H": far}
    batch = choose_batch("hit_probability", groups, n=6, rng=np.random.default_rng(0), sharing="promise")
    assert {name: len(indices) for name, indices in batch.items()} == {"CO": 5, "H": 1}


def test_of_hits_per_cpu_hour_the_cheaper_adsorbate_gets_more():
    cheap, dear = np.full(21, 1.0), np.full(21, 10.0)
    groups = {
        "CO": group(20, 3, pending=1, cpu_hours=cheap),
        "H": group(20, 3, pending=1, cpu_hours=dear),
    }
    rng = np.random.default_rng(0)
    batch = choose_batch("hits_per_cpu_hour", groups, n=8, rng=rng, sharing="promise")
    assert len(batch["CO"]) > len(batch["H"])


def test_exploring_takes_the_least_known_and_spreads_over_surfaces():
    std = np.array([0.9, 0.8, 0.7, 0.5, 0.2])
    labels = (np.array([0, 0, 0, 1, 2]),)
    candidates = Candidates(np.zeros(5), std, TARGET, WINDOW, np.zeros(5, bool), labels)
    chosen = explore({"H": candidates}, n=2, rng=np.random.default_rng(0))["H"]
    assert chosen.tolist() == [0, 3]


def test_exploring_is_shared_between_adsorbates_and_never_takes_what_is_excluded():
    groups = {"CO": group(10, 0, pending=5), "H": group(10, 1, pending=5)}
    chosen = explore(groups, n=8, rng=np.random.default_rng(0))
    assert {name: len(indices) for name, indices in chosen.items()} == {"CO": 4, "H": 4}
    assert all(indices.max() < 10 for indices in chosen.values())


def test_places_that_come_one_by_one_explore_as_often_as_those_of_a_batch():
    rng = np.random.default_rng(0)
    assert sum(number_explored(1, 0.2, rng) for _ in range(5000)) == pytest.approx(1000, abs=100)
    assert {number_explored(10, 0.2, rng) for _ in range(50)} == {2}
    assert {number_explored(7, 0.2, rng) for _ in range(50)} == {1, 2}


def test_without_exploration_no_random_number_is_drawn():
    rng = np.random.default_rng(0)
    assert number_explored(7, 0.0, rng) == 0
    assert rng.random() == np.random.default_rng(0).random()
