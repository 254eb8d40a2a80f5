"""One contract for both models, and for the surrogate around each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from config.errors import ConfigError
from surrogate.fingerprint import GaspyFingerprint
from surrogate.models import MIN_STD_EV, MODELS, AdsorptionSurrogate, GaussianProcessModel
from surrogate.prior import PRIORS
from surrogate.sites import SiteEnvironment
from tests.surrogate.worlds import law, random_environments

CO = PRIORS["CO"]
POOL = random_environments(80, seed=9)
ROUNDING_EV = 1e-6


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


def features_of(environments, delta_e):
    return GaspyFingerprint(CO).fit_transform(environments, delta_e)


def trained(name, n, seed=0):
    train = random_environments(n, seed=1)
    return AdsorptionSurrogate("CO", name, seed=seed).fit(train, law(train))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 12, 60])
def test_mean_and_std_have_one_value_per_row_and_std_is_positive(name, n):
    train = random_environments(n)
    features = features_of(train, law(train))
    model = MODELS[name](CO, seed=3).fit(features, law(train))
    mean, std = model.predict(features_of(POOL, law(POOL)), return_std=True)
    assert mean.shape == std.shape == (len(POOL),)
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert np.array_equal(model.predict(features_of(POOL, law(POOL))), mean)


def test_no_observations_give_the_prior(name):
    mean, std = AdsorptionSurrogate("CO", name).predict(POOL)
    assert np.allclose(mean, CO.mean_ev)
    assert np.all((std > 0.5 * CO.std_ev) & (std < 1.5 * CO.std_ev))


def test_same_seed_gives_the_same_predictions(name):
    first, second = trained(name, 60).predict(POOL), trained(name, 60).predict(POOL)
    assert np.array_equal(first, second)


def test_order_of_observations_is_immaterial(name):
    train = random_environments(60, seed=1)
    energies = law(train)
    order = np.random.default_rng(5).permutation(len(train))
    straight = AdsorptionSurrogate("CO", name).fit(train, energies).predict(POOL)
    shuffled = AdsorptionSurrogate("CO", name).fit([train[i] for i in order], energies[order]).predict(POOL)
    assert np.allclose(straight, shuffled, atol=1e-3)


def test_order_of_candidates_is_immaterial(name):
    surrogate = trained(name, 60)
    mean, std = surrogate.predict(POOL)
    mean_backwards, std_backwards = surrogate.predict(POOL[::-1])
    assert np.allclose(mean[::-1], mean_backwards, atol=ROUNDING_EV)
    assert np.allclose(std[::-1], std_backwards, atol=ROUNDING_EV)


def test_inputs_are_left_alone(name):
    train = random_environments(30)
    energies = law(train)
    features = features_of(train, energies)
    kept = features.copy(), energies.copy()
    features.setflags(write=False)
    energies.setflags(write=False)
    MODELS[name](CO).fit(features, energies).predict(features, return_std=True)
    assert np.array_equal(features, kept[0])
    assert np.array_equal(energies, kept[1])


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


def test_a_law_is_learned_better_than_the_mean_predicts_it(name):
    mean, _ = trained(name, 120).predict(POOL)
    truth = law(POOL)
    assert np.abs(mean - truth).mean() < 0.2 * np.abs(truth - truth.mean()).mean()


def test_std_falls_as_observations_come_in(name):
    widths = [trained(name, n).predict(POOL)[1].mean() for n in (0, 10, 120)]
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
    features = features_of(train, energies)
    model = GaussianProcessModel(CO).fit(features, energies)
    from surrogate.gaussian_process import _Blocks, _Points

    points = _Points.from_features(features)
    signal = _Blocks.between(points, points).kernel(model.hyper_)
    covariance = signal + model.hyper_[4] * np.eye(len(energies))
    residual = (energies - CO.mean_ev) / CO.std_ev
    plain = CO.mean_ev + CO.std_ev * signal @ np.linalg.solve(covariance, residual)
    variance = np.diag(signal - signal @ np.linalg.solve(covariance, signal)) + model.hyper_[4]
    mean, std = model.predict(features, return_std=True)
    assert np.allclose(mean, plain, atol=ROUNDING_EV)
    assert np.allclose(std, CO.std_ev * np.sqrt(variance), atol=ROUNDING_EV)


def test_gaussian_process_beyond_its_limit_keeps_a_subset():
    train = random_environments(150)
    features = features_of(train, law(train))
    model = GaussianProcessModel(CO, max_points=40).fit(features, law(train))
    assert model.n_points_ == 40
    assert np.abs(model.predict(features) - law(train)).mean() < 0.15


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
