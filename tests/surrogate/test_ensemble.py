from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surrogate.cross_fit import HeldOut, grouped_folds, groups_by_elements
from surrogate.ensemble import AutoModel, EnsembleModel, _weights
from surrogate.metrics import coverage
from surrogate.models import AdsorptionSurrogate
from surrogate.network import Inputs, Network
from surrogate.neural_network import NeuralNetworkModel
from surrogate.prior import PRIORS
from surrogate.sites import SiteEnvironment
from tests.surrogate.worlds import law, random_environments

CO = PRIORS["CO"]


def test_folds_keep_groups_whole_and_are_of_about_equal_size():
    groups = np.random.default_rng(0).integers(0, 40, size=500)
    folds = grouped_folds(groups, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert np.ptp(np.bincount(folds)) < 20
    assert not np.array_equal(folds, grouped_folds(groups, seed=1))


@pytest.mark.parametrize("groups", [None, np.arange(19), np.arange(100) % 4])
def test_too_few_observations_or_groups_are_not_split(groups):
    assert grouped_folds(groups, seed=0) is None


def test_boosters_of_errors_are_held_against_errors_that_they_have_not_seen():
    environments = random_environments(1000)
    energies = law(environments) + 0.3 * np.random.default_rng(0).standard_t(3, size=1000)
    surrogate = AdsorptionSurrogate("CO", "boosting")
    surrogate.fit(environments[:400], energies[:400], [f"bulk-{i % 40}" for i in range(400)])
    mean, std = surrogate.predict(environments[400:])
    assert coverage(energies[400:], mean, std, 0.9) == pytest.approx(0.9, abs=0.02)


def test_without_bulks_the_elements_around_a_site_stand_for_it():
    one = SiteEnvironment((("Cu", 1),), (("Pd", 3), ("Cu", 2)))
    other = SiteEnvironment((("Pd", 2),), (("Cu", 3),))
    assert groups_by_elements([one, other, SiteEnvironment((("Cu", 1),), ())]) == ["Cu-Pd", "Cu-Pd", "Cu"]


@pytest.mark.parametrize("better", [0, 1])
def test_the_better_member_weighs_more(better):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=800)
    noise = [0.4, 0.4]
    noise[better] = 0.1
    members = [HeldOut(truth + s * rng.normal(size=800), np.full(800, s)) for s in noise]
    assert _weights(members, truth, np.array([0.5, 0.5]))[better] > 0.8


def test_weights_of_a_few_observations_stay_where_they_start():
    truth = np.zeros(3)
    members = [HeldOut(truth + 0.3, np.full(3, 0.3)), HeldOut(truth, np.full(3, 0.3))]
    assert _weights(members, truth, np.array([0.75, 0.25]))[0] == pytest.approx(0.75, abs=0.1)


def test_the_blend_begins_where_networks_can_learn():
    train = random_environments(210, seed=1)
    groups = np.arange(210) % 20
    few = EnsembleModel(CO).fit(train[:140], law(train)[:140], groups[:140])
    assert few.weights_ == {"gaussian_process": 1.0}
    many = EnsembleModel(CO).fit(train, law(train), groups)
    assert set(many.weights_) == {"gaussian_process", "neural_network"}
    assert sum(many.weights_.values()) == pytest.approx(1.0)
    assert many.held_out_ is not None
    assert len(many.held_out_.mean) == 210


def test_auto_takes_the_model_of_least_held_out_error_and_heeds_its_time():
    train = random_environments(60, seed=1)
    groups = np.arange(60) % 12
    chosen = AutoModel(CO).fit(train, law(train), groups)
    assert set(chosen.errors_) == {"ensemble", "boosting", "extra_trees"}
    assert chosen.errors_[chosen.chosen_] == min(chosen.errors_.values())
    hurried = AutoModel(CO, max_seconds=0.0).fit(train, law(train), groups)
    assert set(hurried.errors_) == {"ensemble"}


def inputs_of(sites: np.ndarray, rng: np.random.Generator) -> Inputs:
    """Sites with nought to three atoms each."""
    counts = np.arange(len(sites)) % 4
    return Inputs(sites.astype(np.float32), rng.normal(size=(counts.sum(), 6)).astype(np.float32), counts)


@pytest.mark.parametrize("sees_atoms", [False, True])
def test_gradients_of_a_network_are_those_of_its_loss(sees_atoms):
    rng = np.random.default_rng(0)
    network = Network(seed=0, dropout=0.0, sees_atoms=sees_atoms)
    inputs, target = inputs_of(rng.normal(size=(40, 5)), rng), rng.normal(size=40).astype(np.float32)
    network.start(inputs, rng)
    network.weights[-1] *= 2.0  # not so much that a scale leaves its range, where the loss is flat

    def loss() -> float:
        mean, log_scale = network.predict(inputs)
        squared = ((target.astype(float) - mean) / np.exp(log_scale.astype(float))) ** 2
        return float((2.0 * np.log1p(squared / 3.0) + log_scale).mean())

    gradients = network._gradients(inputs, target, rng)
    for array, gradient in zip(network.weights + network.biases, gradients, strict=True):
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        kept, step = array[place], np.float32(1e-2)
        array[place] = kept + step
        above = loss()
        array[place] = kept - step
        below = loss()
        array[place] = kept
        assert (above - below) / (2.0 * step) == pytest.approx(float(gradient[place]), rel=0.1, abs=2e-4)


def test_a_network_states_more_doubt_where_the_noise_is():
    rng = np.random.default_rng(0)
    sites = rng.uniform(-1.0, 1.0, size=(600, 3)).astype(np.float32)
    noise = np.where(sites[:, 0] > 0, 0.5, 0.05)
    target = (sites[:, 1] + noise * rng.normal(size=600)).astype(np.float32)
    inputs = inputs_of(sites, rng)
    _, log_scale = Network(seed=0, dropout=0.1).fit(inputs, target).predict(inputs)
    assert np.median(log_scale[sites[:, 0] > 0.2]) > np.median(log_scale[sites[:, 0] < -0.2]) + 1.0


def test_only_a_network_that_sees_atoms_learns_what_is_written_in_them():
    """The target is the greatest first column among a site's atoms: no mean over atoms tells it."""
    rng = np.random.default_rng(0)
    inputs = Inputs(
        np.zeros((900, 1), np.float32), rng.normal(size=(2700, 2)).astype(np.float32), np.full(900, 3)
    )
    target = inputs.atoms[:, 0].reshape(900, 3).max(axis=1)
    blind, seeing = (Network(0, 0.0, sees).fit(inputs, target).predict(inputs)[0] for sees in (False, True))
    assert np.abs(seeing - target).mean() < 0.4 * np.abs(blind - target).mean()


def test_some_sites_keep_their_own_atoms():
    rng = np.random.default_rng(0)
    inputs = inputs_of(np.arange(8.0)[:, None], rng)
    some = inputs.take(np.array([7, 0, 2]))
    assert some.counts.tolist() == [3, 0, 2]
    assert np.array_equal(some.atoms[:3], inputs.atoms[9:12])
    assert np.array_equal(some.atoms[3:], inputs.atoms[1:3])


def test_networks_look_at_atoms_only_where_neighbours_are_known():
    known = [
        replace(site, neighbours=tuple((s, site.second_shell) for s, _ in site.first_shell))
        for site in random_environments(30)
    ]
    unknown = random_environments(30)
    seeing, blind, nearly_blind = (
        NeuralNetworkModel(CO).fit(sites, law(sites)).parameters()["n_on_atoms"]
        for sites in (known, unknown, known[:2] + unknown[2:])
    )
    assert (seeing, blind, nearly_blind) == (1, 0, 0)
