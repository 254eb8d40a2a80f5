"""One contract for all models, and for the surrogate around each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from config.errors import ConfigError
from surrogate.gaussian_process import GaussianProcessModel
from surrogate.models import MIN_STD_EV, MODELS, AdsorptionSurrogate
from surrogate.prior import PRIORS
from surrogate.sites import BulkContext, SiteEnvironment
from tests.surrogate.worlds import law, random_environments

CO = PRIORS["CO"]
POOL = random_environments(80, seed=9)
ROUNDING_EV = 1e-5
"""Kernels and networks are evaluated in single precision."""


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


def full(environment):
    crystal = BulkContext(environment.second_shell, 14.0, (("Cu", "Pd", 2.6),))
    neighbours = tuple((symbol, environment.second_shell) for symbol, _ in environment.first_shell)
    return replace(environment, neighbours=neighbours, bulk=crystal, miller=(1, 1, 1))


def groups_of(environments):
    return np.array([i % 9 for i in range(len(environments))])


@cache
def trained(name, n, seed=0):
    """Trained once for all tests that only ask: networks take seconds."""
    train = random_environments(n, seed=1)
    return AdsorptionSurrogate("CO", name, seed=seed).fit(train, law(train))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 12, 45])
def test_mean_and_std_have_one_value_per_row_and_std_is_positive(name, n):
    train = random_environments(n)
    model = MODELS[name](CO, seed=3).fit(train, law(train), groups_of(train))
    mean, std = model.predict(POOL)
    assert mean.shape == std.shape == (len(POOL),)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_held_out_predictions_are_in_the_order_of_the_observations(name):
    """A model that has learnt a law predicts each observation, not another one."""
    train = random_environments(120, seed=1)
    model = MODELS[name](CO).fit(train, law(train), groups_of(train))
    error = np.abs(model.held_out_.mean - law(train))
    assert error.mean() < 0.5 * np.abs(law(train) - law(train).mean()).mean()
    assert (model.held_out_.std > 0).all()


def test_one_group_holds_nothing_out(name):
    train = random_environments(25, seed=1)
    model = MODELS[name](CO).fit(train, law(train), np.zeros(25, dtype=int))
    assert model.held_out_ is None
    mean, std = model.predict(POOL)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_no_observations_give_the_prior(name):
    mean, std = AdsorptionSurrogate("CO", name).predict(POOL)
    assert np.allclose(mean, CO.mean_ev)
    assert np.all((std > 0.5 * CO.std_ev) & (std < 1.5 * CO.std_ev))


def test_same_seed_gives_the_same_predictions(name):
    train = random_environments(60, seed=1)
    again = AdsorptionSurrogate("CO", name).fit(train, law(train)).predict(POOL)
    assert np.array_equal(trained(name, 60).predict(POOL), again)


def test_order_of_observations_is_immaterial(name):
    train = random_environments(60, seed=1)
    energies = law(train)
    order = np.random.default_rng(5).permutation(len(train))
    straight = trained(name, 60).predict(POOL)
    shuffled = AdsorptionSurrogate("CO", name).fit([train[i] for i in order], energies[order]).predict(POOL)
    assert np.allclose(straight, shuffled, atol=ROUNDING_EV)


def test_order_of_observations_that_differ_beneath_alone_is_immaterial(name):
    sites = random_environments(30, seed=1)
    train = [replace(site, beneath=shell) for site in sites for shell in ((), (("Cu", 1),))]
    energies = np.repeat(law(sites), 2)
    straight = AdsorptionSurrogate("CO", name).fit(train, energies).predict(POOL)
    backwards = AdsorptionSurrogate("CO", name).fit(train[::-1], energies[::-1]).predict(POOL)
    assert np.allclose(straight, backwards, atol=ROUNDING_EV)


def test_order_of_candidates_is_immaterial(name):
    surrogate = trained(name, 60)
    mean, std = surrogate.predict(POOL)
    mean_backwards, std_backwards = surrogate.predict(POOL[::-1])
    assert np.allclose(mean[::-1], mean_backwards, atol=ROUNDING_EV)
    assert np.allclose(std[::-1], std_backwards, atol=ROUNDING_EV)


def test_inputs_are_left_alone(name):
    train = random_environments(30)
    energies, groups = law(train), groups_of(train)
    energies.setflags(write=False)
    groups.setflags(write=False)
    MODELS[name](CO).fit(train, energies, groups).predict(train)


def test_what_is_not_known_of_a_site_costs_accuracy_only(name):
    """Half of the training sites have their crystal, neighbours and face; so has one of two candidates."""
    train = [full(e) if i % 2 else e for i, e in enumerate(random_environments(40))]
    surrogate = AdsorptionSurrogate("CO", name).fit(train, law(train))
    mean, std = surrogate.predict([POOL[0], full(POOL[0])])
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert abs(mean[0] - mean[1]) < 0.5


@pytest.mark.parametrize("n", [1, 3, 40])
def test_constant_energies_are_learned_without_a_zero_std(name, n):
    train = random_environments(n)
    mean, std = AdsorptionSurrogate("CO", name).fit(train, np.full(n, -1.0)).predict(POOL)
    assert (std >= MIN_STD_EV).all()
    assert np.abs(mean + 1.0).max() < 0.35


@pytest.mark.parametrize("n", [2, 15, 200])
def test_one_environment_many_times_gives_its_mean(name, n):
    energies = np.linspace(-1.2, -0.8, n)
    mean, std = AdsorptionSurrogate("CO", name).fit([POOL[0]] * n, energies).predict(POOL)
    assert (std > 0).all()
    assert mean[0] == pytest.approx(-1.0, abs=0.15)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_sites_that_nothing_tells_apart_are_predicted_alike(name):
    site = SiteEnvironment((("Cu", 3),), (("Cu", 15),))
    bulks = [f"bulk-{i % 7}" for i in range(25)]
    surrogate = AdsorptionSurrogate("CO", name).fit([site] * 25, np.linspace(-0.6, -0.4, 25), bulks)
    mean, std = surrogate.predict([site])
    assert mean == pytest.approx(-0.5, abs=0.05)
    assert std >= MIN_STD_EV


def test_a_law_is_learned_better_than_the_mean_predicts_it(name):
    mean, _ = trained(name, 120).predict(POOL)
    truth = law(POOL)
    assert np.abs(mean - truth).mean() < 0.2 * np.abs(truth - truth.mean()).mean()


def test_std_falls_as_observations_come_in(name):
    train = random_environments(120, seed=1)
    energies = law(train) + 0.1 * np.random.default_rng(0).normal(size=120)
    widths = [
        AdsorptionSurrogate("CO", name).fit(train[:n], energies[:n]).predict(POOL)[1].mean()
        for n in (0, 10, 120)
    ]
    assert widths[0] > widths[1] > widths[2]


def test_predictions_stay_within_what_is_believable(name):
    train = random_environments(20)
    mean, std = AdsorptionSurrogate("H", name).fit(train, 4.0 * law(train) * np.arange(20)).predict(POOL)
    low, high = PRIORS["H"].bounds(4.0 * law(train) * np.arange(20))
    assert np.all((mean >= low) & (mean <= high))
    assert np.isfinite(std).all()


def test_elements_never_seen_are_predicted_with_more_doubt():
    surrogate = trained("gaussian_process", 120)
    known = SiteEnvironment((("Cu", 3),), (("Cu", 6), ("Pd", 3)))
    strange = SiteEnvironment((("K", 3),), (("K", 6), ("Te", 3)))
    _, std = surrogate.predict([known, strange])
    assert std[1] > 1.5 * std[0]


def test_repeated_predictions_are_the_same(name):
    """Guards against scratch space that a first call would leave changed."""
    surrogate = trained(name, 60)
    assert np.array_equal(surrogate.predict(POOL), surrogate.predict(POOL))


def test_merging_equal_environments_loses_nothing():
    """The posterior equals that of the plain formula with every observation as its own row."""
    train = random_environments(15) * 3
    energies = law(train) + 0.1 * np.random.default_rng(0).normal(size=45)
    model = GaussianProcessModel(CO).fit(train, energies)
    from surrogate.gaussian_process import _Blocks, _Points

    points = _Points.of([environment.canonical() for environment in train])
    signal = _Blocks.between(points, points).kernel(model.hyper_)
    covariance = signal + model.hyper_[4] * np.eye(len(energies))
    residual = (energies - CO.mean_ev) / CO.std_ev
    plain = CO.mean_ev + CO.std_ev * signal @ np.linalg.solve(covariance, residual)
    variance = np.diag(signal - signal @ np.linalg.solve(covariance, signal)) + model.hyper_[4]
    mean, std = model.predict(train)
    assert np.allclose(mean, plain, atol=ROUNDING_EV)
    assert np.allclose(std, CO.std_ev * np.sqrt(variance), atol=ROUNDING_EV)


def test_gaussian_process_beyond_its_limit_sees_all_through_a_subset():
    train = random_environments(150)
    model = GaussianProcessModel(CO, max_points=40).fit(train, law(train))
    assert model.n_points_ == 40
    mean, _ = model.predict(train)
    assert np.abs(mean - law(train)).mean() < 0.1


def test_gaussian_process_holds_out_what_a_fit_without_the_group_predicts():
    """Hyperparameters are those of all observations, so only little else may differ."""
    from surrogate.cross_fit import grouped_folds

    train = random_environments(60, seed=2)
    groups = groups_of(train)
    model = GaussianProcessModel(CO).fit(train, law(train), groups)
    folds = grouped_folds(groups, 0)
    rest = [train[i] for i in np.flatnonzero(folds != 0)]
    out = [train[i] for i in np.flatnonzero(folds == 0)]
    mean, _ = GaussianProcessModel(CO).fit(rest, law(rest)).predict(out)
    assert np.allclose(mean, model.held_out_.mean[folds == 0], atol=0.03)


def test_hundred_thousand_candidates_fit(name):
    mean, std = trained(name, 30).predict(random_environments(100) * 1000)
    assert mean.shape == std.shape == (100_000,)


def test_record_is_plain_and_says_what_was_trained(name):
    record = json.loads(json.dumps(trained(name, 12, seed=4).record()))
    assert (record["model"], record["adsorbate"], record["n_train"], record["seed"]) == (name, "CO", 12, 4)
    assert record["parameters"]


def test_nothing_to_predict_gives_empty_arrays(name):
    mean, std = trained(name, 12).predict([])
    assert mean.shape == std.shape == (0,)


def test_an_adsorbate_that_nothing_is_known_of_is_learnt_from_its_observations(name):
    train = random_environments(40, seed=1)
    energies = law(train) + 3.0
    surrogate = AdsorptionSurrogate("OOH", name).fit(train, energies)
    assert surrogate.record()["prior"]["mean_ev"] == pytest.approx(energies.mean(), abs=0.2)
    mean, std = surrogate.predict(POOL)
    assert np.abs(mean - law(POOL) - 3.0).mean() < 0.5
    assert np.median(std) < 1.0


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="'forest'"):
        AdsorptionSurrogate("CO", "forest")
    with pytest.raises(ValueError, match="2 environments"):
        AdsorptionSurrogate("CO").fit(POOL[:2], [0.1])
    with pytest.raises(ValueError, match="finite"):
        AdsorptionSurrogate("CO").fit(POOL[:1], [np.nan])


OPENMP = """
import numpy as np
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from surrogate.models import AdsorptionSurrogate
from surrogate.sites import SiteEnvironment
surrogate = AdsorptionSurrogate("CO")
predict = surrogate._model.predict
def counting(sites):
    print(_openmp_effective_n_threads())
    return predict(sites)
surrogate._model.predict = counting
surrogate.predict([SiteEnvironment((("Cu", 1),), ())])
"""


def test_predictions_use_one_thread_each_of_openmp_too():
    many = {**os.environ, "OMP_NUM_THREADS": "8"}
    told = subprocess.run(
        [sys.executable, "-c", OPENMP], env=many, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["1"]
