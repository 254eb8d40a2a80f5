"""Gradient boosting from descriptors of crystals to one property of theirs.

Isayev et al., Nature Communications 8 (2017) 15679, doi:10.1038/ncomms15679, learn eight properties from
fragments by gradient-boosted trees: whether a crystal is a metal (a probability), and numbers such as its
band gap or bulk modulus. Here as many models are trained as there are folds, each without the crystals of
one fold; no chemical system is in two folds. Their mean predicts; what each says of the fold that it has not
seen gives the metrics, the error bars, which descriptors matter, and whether those of paths and shells
are used at all: the better of two, which flatters the metrics a little. Units are those of the property.

Models are saved with skops, which reads no code from files: https://skops.readthedocs.io.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from config.errors import ConfigError
from surrogate.fragments import DESCRIPTOR_VERSION, descriptor_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

FOLDS = 5
MANY = ("paths: ", "shells: ")
"""Families with hundreds of descriptors; a model may do better without them, and is then trained without."""
LEAST_ROWS, LEAST_GROUPS = 20, FOLDS
"""Fewer crystals, or chemical systems, than this teach nothing that could be checked."""
_FORMAT = "sabatier property model 1"
_BOOSTING = {
    "learning_rate": 0.08, "max_iter": 300, "max_leaf_nodes": 15, "min_samples_leaf": 10,
    "l2_regularization": 1.0, "max_features": 0.2, "early_stopping": False,
}  # fmt: skip
_ERROR_BOOSTING = _BOOSTING | {"max_iter": 60, "max_leaf_nodes": 8, "min_samples_leaf": 30}
_SMALLEST_ERROR = 0.2
"""Share of the mean error below which no error is predicted."""
_COVERAGES = {"coverage_68": 1.0, "coverage_90": 1.645}
"""Standard deviations of a normal distribution that hold so much of it."""
_TRUSTED = frozenset({"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"})
"""Types in a file, beyond those that skops trusts itself, that a model consists of."""


@dataclass
class PropertyModel:
    """A property of crystals, learned from their descriptors.

    Parameters
    ----------
    property_name
        What is predicted, such as ``bulk_modulus_gpa``.
    is_class
        True for a yes or no, such as ``is_metal``; a probability is then predicted.
    seed
        Of the folds and of the trees.
    names
        Of the descriptors; a crystal's, unless others are given.
    """

    property_name: str
    is_class: bool = False
    seed: int = 0
    names: tuple[str, ...] = field(default_factory=descriptor_names, repr=False)
    metrics_: dict[str, float] = field(default_factory=dict)
    """Of predictions for chemical systems that were not seen, by name."""
    training_ids_: tuple[str, ...] = ()
    """Crystals it was trained on, in order."""
    held_out_: Array = field(default_factory=lambda: np.empty(0))
    """What was predicted of each of them by a model that had not seen its chemical system."""
    importances_: dict[str, float] = field(default_factory=dict)
    """By how much the error grows, relative to the error, when what is named is shuffled among crystals."""
    _columns: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    _members: list[Any] = field(default_factory=list, repr=False)
    _error: Any = field(default=None, repr=False)
    _error_scale: float = 1.0
    _error_floor: float = 0.0

    def fit(self, descriptors: Array, values: Array, groups: Sequence[str], ids: Sequence[str]) -> Self:
        """Train.

        Parameters
        ----------
        descriptors
            Of shape (n_crystals, n_descriptors), as :func:`surrogate.fragments.crystal_descriptors` gives.
        values
            The property, shape (n_crystals,); 0 or 1 of a class.
        groups
            Chemical system of each crystal; crystals of one system are never trained and tested on.
        ids
            What each crystal is called.

        Raises
        ------
        ConfigError
            If there are too few crystals or chemical systems, or all crystals are of one class.
        """
        labels, n_groups = np.unique(np.asarray(groups), return_inverse=True)
        self._refuse_too_little(values, len(labels))
        folds = _folds(n_groups, self.seed)
        tried = [self._cross_fitted(descriptors, values, folds, columns) for columns in self._choices()]
        errors = [float(np.abs(values - held_out).mean()) for _, held_out in tried]
        best = int(np.argmin(errors))
        self._columns = self._choices()[best]
        self._members, self.held_out_ = tried[best]
        descriptors = descriptors[:, self._columns]
        self.training_ids_ = tuple(ids)
        if self.is_class:
            self.metrics_ = _class_metrics(values, self.held_out_)
        else:
            std = self._learn_error(descriptors, np.abs(values - self.held_out_), folds)
            self.metrics_ = _number_metrics(values, self.held_out_, std)
        self.metrics_ |= {"n": float(len(values)), "chemical_systems": float(len(labels))}
        self.importances_ = self._importances(descriptors, values, folds)
        return self

    def _choices(self) -> list[IntArray]:
        """Columns to try: all, and those without the many of paths and shells, which can hide the others."""
        few = np.array([not name.startswith(MANY) for name in self.names])
        every = np.arange(len(few))
        return [every] if few.all() or not few.any() else [every, every[few]]

    def _cross_fitted(
        self, descriptors: Array, values: Array, folds: Sequence[IntArray], columns: IntArray
    ) -> tuple[list[Any], Array]:
        """One model without each fold, and what they say of the folds that they have not seen."""
        members, held_out = [], np.empty(len(values))
        for test in folds:
            train = np.setdiff1d(np.arange(len(values)), test)
            member = self._trained(descriptors[train][:, columns], values[train])
            members.append(member)
            held_out[test] = self._of_member(member, descriptors[test][:, columns])
        return members, held_out

    def predict(self, descriptors: Array) -> tuple[Array, Array]:
        """Predict the property, with a standard deviation.

        Returns
        -------
        values, std : ndarrays of shape (n_crystals,)
            Of a class: its probability p and (p (1 - p))^(1/2).
        """
        descriptors = descriptors[:, self._columns]
        values = np.mean([self._of_member(member, descriptors) for member in self._members], axis=0)
        if self.is_class:
            return values, np.sqrt(values * (1.0 - values))
        return values, self._error_scale * self._predicted_error(self._error, descriptors)

    def record(self) -> dict[str, Any]:
        """What it is and how good, as plain JSON values."""
        import sklearn

        return {
            "format": _FORMAT,
            "property": self.property_name,
            "is_class": self.is_class,
            "seed": self.seed,
            "descriptor_version": DESCRIPTOR_VERSION,
            "families": sorted({self.names[i].split(": ")[0] for i in self._columns}),
            "scikit_learn": sklearn.__version__,
            "metrics": self.metrics_,
            "importances": self.importances_,
            "training_ids": list(self.training_ids_),
        }

    def save(self, path: Path) -> None:
        """Write to a file, whole or not at all."""
        import skops.io

        content = {
            "record": self.record(),
            "names": list(self.names),
            "columns": self._columns,
            "members": self._members,
            "error": self._error,
            "error_scale": self._error_scale,
            "error_floor": self._error_floor,
        }
        part = path.with_name(f".{path.name}.{os.getpid()}.part")  # its own, should two write the same file
        try:
            skops.io.dump(content, part, compression=zipfile.ZIP_DEFLATED)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _refuse_too_little(self, values: Array, n_groups: int) -> None:
        if len(values) < LEAST_ROWS or n_groups < LEAST_GROUPS:
            message = (
                f"{self.property_name}: {len(values)} crystals of {n_groups} chemical systems are too few to "
                f"learn from; at least {LEAST_ROWS} of {LEAST_GROUPS} are needed"
            )
            raise ConfigError(message)
        if self.is_class and len(np.unique(values)) < 2:
            message = f"{self.property_name}: all {len(values)} crystals are {values[0]:g}; give both 0 and 1"
            raise ConfigError(message)

    def _trained(self, descriptors: Array, values: Array) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        boosting = HistGradientBoostingClassifier if self.is_class else HistGradientBoostingRegressor
        return boosting(**_BOOSTING, random_state=self.seed).fit(descriptors, values)

    def _of_member(self, member: Any, descriptors: Array) -> Array:
        if not self.is_class:
            return np.asarray(member.predict(descriptors), dtype=float)
        if len(member.classes_) == 1:  # its folds held one class only
            return np.full(len(descriptors), float(member.classes_[0]))
        return np.asarray(member.predict_proba(descriptors)[:, 1], dtype=float)

    def _learn_error(self, descriptors: Array, errors: Array, folds: Sequence[IntArray]) -> Array:
        """Learn how large errors are; returns the standard deviation of each crystal, not having seen it.

        The standard deviation is scaled so that two thirds of the errors lie within it, as of a normal
        distribution.
        """
        self._error_floor = _SMALLEST_ERROR * float(errors.mean())
        expected = np.empty(len(errors))
        for test in folds:
            train = np.setdiff1d(np.arange(len(errors)), test)
            learned = self._trained_error(descriptors[train], errors[train])
            expected[test] = self._predicted_error(learned, descriptors[test])
        ratio = errors / np.maximum(expected, np.finfo(float).tiny)
        self._error_scale = float(np.quantile(ratio, 0.6827))
        self._error = self._trained_error(descriptors, errors)
        return self._error_scale * expected

    def _trained_error(self, descriptors: Array, errors: Array) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(**_ERROR_BOOSTING, random_state=self.seed).fit(
            descriptors, errors
        )

    def _predicted_error(self, model: Any, descriptors: Array) -> Array:
        error: Array = np.maximum(np.asarray(model.predict(descriptors), dtype=float), self._error_floor)
        return error

    def _importances(self, descriptors: Array, values: Array, folds: Sequence[IntArray]) -> dict[str, float]:
        """Shuffle what belongs together, in the fold that a model has not seen, and see what it costs."""
        rng = np.random.default_rng(self.seed)
        least = float(np.abs(values - self.held_out_).mean())
        found = {}
        for name, columns in _what_belongs_together([self.names[i] for i in self._columns]).items():
            predicted = np.empty(len(values))
            for member, test in zip(self._members, folds, strict=True):
                shuffled = descriptors[test].copy()
                shuffled[:, columns] = shuffled[rng.permutation(len(test))][:, columns]
                predicted[test] = self._of_member(member, shuffled)
            worse = float(np.abs(values - predicted).mean())
            found[name] = (worse - least) / least if least > 0 else 0.0
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def load_property_model(path: Path) -> PropertyModel:
    """Read a model that :meth:`PropertyModel.save` wrote.

    Raises
    ------
    ConfigError
        If there is no such file, it is no such model, or of another version of the descriptors.
    """
    import skops.io

    try:
        unknown = set(skops.io.get_untrusted_types(file=path)) - _TRUSTED
        if unknown:
            message = f"{path}: holds {', '.join(sorted(unknown))}, which are no part of a property model"
            raise ConfigError(message)
        content = skops.io.load(path, trusted=sorted(_TRUSTED))
    except ConfigError:
        raise
    except FileNotFoundError as error:
        message = f"{path}: no such file; give a model that 'sabatier properties train' wrote"
        raise ConfigError(message) from error
    except Exception as error:  # a file of any kind
        message = (
            f"{path}: is no property model ({type(error).__name__}); 'sabatier properties train' makes one"
        )
        raise ConfigError(message) from error
    record = content.get("record", {}) if isinstance(content, dict) else {}
    _refuse_foreign(path, record)
    return PropertyModel(
        property_name=record["property"],
        is_class=record["is_class"],
        seed=record["seed"],
        names=tuple(content["names"]),
        metrics_=record["metrics"],
        training_ids_=tuple(record["training_ids"]),
        importances_=record["importances"],
        _columns=content["columns"],
        _members=content["members"],
        _error=content["error"],
        _error_scale=content["error_scale"],
        _error_floor=content["error_floor"],
    )


def _refuse_foreign(path: Path, record: Mapping[str, Any]) -> None:
    if record.get("format") != _FORMAT:
        message = f"{path}: is no property model; 'sabatier properties train' makes one"
        raise ConfigError(message)
    if record["descriptor_version"] != DESCRIPTOR_VERSION:
        message = (
            f"{path}: was trained on version {record['descriptor_version']} of the descriptors, and this is "
            f"version {DESCRIPTOR_VERSION}; train it again"
        )
        raise ConfigError(message)


def _folds(groups: IntArray, seed: int) -> list[IntArray]:
    """Rows of each fold; groups stay together."""
    from sklearn.model_selection import GroupKFold

    splitter = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    return [np.asarray(test) for _, test in splitter.split(np.zeros((len(groups), 1)), groups=groups)]


def _what_belongs_together(names: Sequence[str]) -> dict[str, IntArray]:
    """Columns by family of descriptors, such as ``lattice``, and by property of the elements."""
    together: dict[str, list[int]] = {}
    for column, words in enumerate(name.split(": ") for name in names):
        for word in words[:2] if len(words) == 3 else words[:1]:
            together.setdefault(word, []).append(column)
    return {name: np.array(columns) for name, columns in together.items()}


def _number_metrics(values: Array, predicted: Array, std: Array) -> dict[str, float]:
    error = predicted - values
    spread = float(values.var())
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1.0 - float((error**2).mean()) / spread if spread > 0 else 0.0,
        "mae_of_the_median": float(np.abs(values - np.median(values)).mean()),
        **{name: float((np.abs(error) <= k * std).mean()) for name, k in _COVERAGES.items()},
    }


def _class_metrics(values: Array, probability: Array) -> dict[str, float]:
    from sklearn.metrics import log_loss, roc_auc_score

    return {
        "accuracy": float(((probability > 0.5) == (values > 0.5)).mean()),
        "share": float(values.mean()),
        "auc": float(roc_auc_score(values, probability)),
        "log_loss": float(log_loss(values, np.clip(probability, 1e-6, 1 - 1e-6))),
    }
