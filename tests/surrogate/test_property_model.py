from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from config.errors import ConfigError
from surrogate import property_model
from surrogate.property_model import PropertyModel, load_property_model

NAMES = ("composition: a: mean", "composition: b: mean", "lattice: c")


@pytest.fixture(scope="module")
def crystals():
    """Three hundred made-up crystals of sixty chemical systems: descriptors, values, systems, ids."""
    rng = np.random.default_rng(7)
    descriptors = rng.normal(size=(300, 3))
    noise = np.where(descriptors[:, 1] > 0, 0.5, 0.05) * rng.normal(size=300)
    values = 3.0 * descriptors[:, 0] + noise
    systems = [f"system {i % 60}" for i in range(300)]
    return descriptors, values, systems, [f"crystal {i}" for i in range(300)]


@pytest.fixture(scope="module")
def number(crystals):
    return PropertyModel("made_up", names=NAMES).fit(*crystals)


@pytest.fixture(scope="module")
def yes_or_no(crystals):
    descriptors, values, systems, ids = crystals
    model = PropertyModel("is_large", is_class=True, names=NAMES)
    return model.fit(descriptors, (values > 0).astype(float), systems, ids)


def test_a_number_is_predicted_for_chemical_systems_that_were_not_seen(number):
    assert number.metrics_["r2"] > 0.95
    assert number.metrics_["mae"] < 0.2 * number.metrics_["mae_of_the_median"]


def test_error_bars_hold_two_thirds_of_the_errors_and_are_larger_where_errors_are(number, crystals):
    assert number.metrics_["coverage_68"] == pytest.approx(0.68, abs=0.01)
    _, std = number.predict(crystals[0])
    noisy = crystals[0][:, 1] > 0
    assert std[noisy].mean() > 1.5 * std[~noisy].mean()


def test_what_matters_is_told(number):
    ranked = list(number.importances_)
    assert set(ranked) == {"composition", "a", "b", "lattice"}
    assert number.importances_["a"] == pytest.approx(number.importances_["composition"], rel=0.3)
    assert number.importances_["a"] > 10 * abs(number.importances_["lattice"])


def test_crystals_of_a_chemical_system_say_nothing_of_it(crystals):
    """Values that belong to the chemical system alone cannot be predicted for another one."""
    descriptors, _, systems, ids = crystals
    of_system = np.random.default_rng(0).normal(size=60)
    values = np.array([of_system[int(s.split()[1])] for s in systems])
    tagged = np.column_stack([descriptors[:, :2], [int(s.split()[1]) for s in systems]])
    model = PropertyModel("by_system", names=NAMES).fit(tagged, values, systems, ids)
    assert model.metrics_["r2"] < 0.3


def test_a_class_is_a_probability(yes_or_no, crystals):
    probability, std = yes_or_no.predict(crystals[0])
    assert np.all((probability >= 0) & (probability <= 1))
    np.testing.assert_allclose(std, np.sqrt(probability * (1 - probability)))
    assert yes_or_no.metrics_["auc"] > 0.95


@pytest.mark.parametrize("kind", ["number", "yes_or_no"])
def test_a_saved_model_predicts_the_same(kind, request, crystals, tmp_path):
    model = request.getfixturevalue(kind)
    model.save(tmp_path / "m.skops")
    loaded = load_property_model(tmp_path / "m.skops")
    for found, expected in zip(loaded.predict(crystals[0]), model.predict(crystals[0]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert loaded.record() == model.record()
    assert loaded.training_ids_ == tuple(crystals[3])
    assert [p.name for p in tmp_path.iterdir()] == ["m.skops"]


def test_the_same_seed_gives_the_same_model(number, crystals):
    again = PropertyModel("made_up", names=NAMES).fit(*crystals)
    np.testing.assert_array_equal(again.held_out_, number.held_out_)
    other = PropertyModel("made_up", seed=1, names=NAMES).fit(*crystals)
    assert not np.array_equal(other.held_out_, number.held_out_)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,value\n", "is no property model"),
        (skops.io.dumps({"record": {"format": "another"}}), "is no property model"),
        (skops.io.dumps({"record": {}, "f": np.random.default_rng}), "no part of a property model"),
        (skops.io.dumps(LinearRegression()), "is no property model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(content, told, tmp_path):
    (tmp_path / "m.skops").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        load_property_model(tmp_path / "m.skops")


def test_a_missing_file_is_told():
    with pytest.raises(ConfigError, match="no such file"):
        load_property_model(Path("nowhere.skops"))


def test_a_model_of_other_descriptors_is_refused(number, tmp_path, monkeypatch):
    number.save(tmp_path / "m.skops")
    monkeypatch.setattr(property_model, "DESCRIPTOR_VERSION", 99)
    with pytest.raises(ConfigError, match="train it again"):
        load_property_model(tmp_path / "m.skops")


@pytest.mark.parametrize(("rows", "systems"), [(19, 19), (100, 4)])
def test_too_few_crystals_are_refused_by_number(rows, systems):
    with pytest.raises(ConfigError, match=f"{rows} crystals of {systems} chemical systems are too few"):
        PropertyModel("x", names=NAMES).fit(
            np.zeros((rows, 3)), np.zeros(rows), [str(i % systems) for i in range(rows)], ["x"] * rows
        )


def test_one_class_alone_is_refused():
    with pytest.raises(ConfigError, match="all 30 crystals are 1"):
        PropertyModel("x", is_class=True, names=NAMES).fit(
            np.zeros((30, 3)), np.ones(30), [str(i) for i in range(30)], ["x"] * 30
        )


def test_equal_values_are_predicted_as_they_are():
    model = PropertyModel("x", names=NAMES).fit(
        np.random.default_rng(0).normal(size=(30, 3)),
        np.full(30, 2.5),
        [str(i) for i in range(30)],
        ["x"] * 30,
    )
    values, std = model.predict(np.zeros((2, 3)))
    np.testing.assert_allclose(values, 2.5)
    assert np.all(std >= 0)
