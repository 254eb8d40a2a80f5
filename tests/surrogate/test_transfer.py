"""Energies from elsewhere: their level is found, they help where they can, and do no harm where not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from surrogate.metrics import coverage
from surrogate.models import AdsorptionSurrogate
from surrogate.sites import BulkContext
from surrogate.source import model_of
from surrogate.transfer import LEVEL_STD_EV, Source
from tests.surrogate.worlds import law, random_environments

POOL = random_environments(150, seed=9)
OLD = random_environments(150, seed=4)
LEVEL_EV = -0.25
NOISE_EV = 0.1


def old_data(level_ev=LEVEL_EV, slope=1.0, kind="same", name="old"):
    """Energies of a law, at another level: the target is the source and ``level_ev``."""
    energies = slope * law(OLD) - level_ev + 0.03 * np.random.default_rng(0).normal(size=len(OLD))
    return Source(name, OLD, energies, kind=kind)


def noise_as_source(seed=0):
    return Source("noise", OLD, np.random.default_rng(seed).normal(-0.7, 0.7, size=len(OLD)))


def fitted(n, *sources, seed=1):
    train = random_environments(n, seed=seed)
    energies = law(train) + NOISE_EV * np.random.default_rng(seed).normal(size=n)
    return AdsorptionSurrogate("CO").fit(train, energies, [str(i % 9) for i in range(n)], sources)


def error(surrogate):
    return np.abs(surrogate.predict(POOL)[0] - law(POOL)).mean()


def told(surrogate):
    return surrogate.record()["parameters"]["sources"]


def test_without_observations_sites_rank_as_in_the_source():
    mean, std = fitted(0, old_data()).predict(POOL)
    assert spearmanr(mean, law(POOL)).statistic > 0.95
    assert (std > LEVEL_STD_EV).all(), "the level may be anything yet"


def test_the_level_is_found_within_its_error_bar():
    for n in (5, 20, 60):
        (source,) = told(fitted(n, old_data()))
        assert abs(source["level_ev"] - LEVEL_EV) < 3.0 * source["level_std_ev"] + 0.02
    assert source["slope"] == pytest.approx(1.0, abs=0.2)
    assert source["level_std_ev"] < 0.04


def test_old_data_save_calculations():
    assert error(fitted(5, old_data())) < 0.5 * error(fitted(5))
    assert error(fitted(5, old_data())) < error(fitted(12))


@pytest.mark.parametrize("n", [2, 6, 12, 40])
def test_a_source_of_noise_does_no_harm(n):
    seeds = range(2)
    alone = np.mean([error(fitted(n, seed=seed)) for seed in seeds])
    misled = np.mean([error(fitted(n, noise_as_source(seed), seed=seed)) for seed in seeds])
    assert misled < 1.1 * alone + 0.02


def test_a_bad_source_beside_a_good_one_is_listened_to_less():
    surrogate = fitted(40, old_data(), noise_as_source())
    good, bad = told(surrogate)
    assert good["weight"] > bad["weight"]
    assert error(surrogate) < error(fitted(40))


def test_another_adsorbate_says_nothing_before_it_was_seen_to():
    mean, _ = fitted(0, old_data(kind="other")).predict(POOL)
    assert np.ptp(mean) < 0.01


def test_another_adsorbates_slope_is_learned():
    """The target's slope is 1.25 on the source; a prior about zero holds it back a little."""
    surrogate = fitted(30, old_data(kind="other", slope=0.8))
    assert 0.8 < told(surrogate)[0]["slope"] < 1.4
    assert error(surrogate) < error(fitted(30))


def test_what_the_source_knows_of_the_very_site_counts():
    """Scatter that no description holds is told by the old energy of that site, on that crystal."""
    rng = np.random.default_rng(3)
    crystals = [BulkContext((("Cu", 1), ("Pd", i + 1)), 12.0 + i) for i in range(60)]
    sites = [replace(POOL[0], bulk=crystal) for crystal in crystals]
    energies = law(sites) + 0.4 * rng.normal(size=len(sites))
    source = Source("old", sites, energies + 0.2, [str(i) for i in range(len(sites))])
    surrogate = AdsorptionSurrogate("CO")
    surrogate.fit(sites[:30], energies[:30], [str(i) for i in range(30)], [source])
    mean, std = surrogate.predict(sites[30:])
    assert np.abs(mean - energies[30:]).mean() < 0.1
    assert std.mean() < 0.2
    assert np.abs(surrogate.predict(POOL[:1])[0] - law(POOL[:1])) < 0.3, "an unknown crystal is described"


def test_stated_intervals_hold_with_a_source():
    for sources in ((old_data(),), (noise_as_source(),)):
        surrogate = fitted(60, *sources)
        noise = NOISE_EV * np.random.default_rng(7).normal(size=len(POOL))
        mean, std = surrogate.predict(POOL)
        held = coverage(law(POOL) + noise, mean, std, 0.90, surrogate.calibration_.freedom)
        assert 0.82 < held < 0.99


def test_order_of_observations_and_of_the_source_is_immaterial():
    train = random_environments(30, seed=1)
    groups = np.array([str(i % 9) for i in range(30)])
    order = np.random.default_rng(2).permutation(30)
    first, second = AdsorptionSurrogate("CO"), AdsorptionSurrogate("CO")
    first.fit(train, law(train), list(groups), [old_data()])
    second.fit([train[i] for i in order], law(train)[order], list(groups[order]), [old_data()])
    assert np.allclose(first.predict(POOL), second.predict(POOL), atol=1e-6)


def test_one_bulk_and_two_observations_are_enough():
    train = random_environments(2)
    mean, std = AdsorptionSurrogate("CO").fit(train, law(train), ["a", "a"], [old_data()]).predict(POOL)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_record_is_plain_and_names_the_source():
    record = json.loads(json.dumps(fitted(12, old_data(name="old PBE data")).record()))
    (source,) = record["parameters"]["sources"]
    assert (source["name"], source["kind"], source["n"]) == ("old PBE data", "same", 150)
    assert 0.0 < source["weight"] < 1.0


def test_a_source_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="'old'"):
        Source("old", OLD, np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        Source("old", OLD[:1], np.array([np.nan]))
    with pytest.raises(ValueError, match="at least one"):
        Source("old", [], np.zeros(0))


def test_a_source_is_trained_on_once_however_many_there_are():
    sources = [Source(str(i), OLD[:2], np.array([0.0, 0.1 * i])) for i in range(20)]
    first, again = ([model_of(s, "CO", "gaussian_process", 0) for s in sources] for _ in range(2))
    assert all(one is other for one, other in zip(first, again, strict=True))
