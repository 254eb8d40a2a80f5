"""What calculations that gave nothing teach: the chance that a candidate gives an adsorption energy.

A support-vector classifier tells successes from failures by their features; a logistic curve through its
decisions on groups that it had not seen makes them probabilities. Then a small decision tree is trained on
what the classifier says, so that a person can read why candidates fail: Raccuglia et al., Nature 533 (2016)
73, doi:10.1038/nature17439. With few failures, or failures that the features do not explain, every
candidate of an adsorbate gets the same chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from sklearn.pipeline import Pipeline
    from sklearn.tree import DecisionTreeRegressor

    Array = NDArray[np.float64]

FEWEST = 5
"""Of successes and of failures: with fewer of either nothing is learned."""
FOLDS = 5
SLOPE_STD = 1.0
"""Standard deviation of the half-normal prior of the logistic curve's slope, per unit of the decision."""
ASSUMED = (4.0, 1.0)
"""Successes and failures that the base rate starts from: before anything is known, most succeed."""
PSEUDO_COUNT = 1.0
"""Successes, and failures, that the curve starts from."""
TREE_DEPTH, TREE_LEAF_SHARE = 3, 0.05
"""Depth of the tree, and the least share of the calculations in one of its leaves."""


class SuccessModel:
    """Probability that a candidate's calculation gives an adsorption energy.

    Parameters
    ----------
    seed
        Of the folds.

    Attributes
    ----------
    base_rate_
        Share of successes, those of :data:`ASSUMED` among them.
    slope_, offset_
        Of the logistic curve over the classifier's decision; the slope is 0 when nothing was learned.
    fidelity_
        Share of the variance of the classifier's probabilities that the tree reproduces; None without one.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, features: Array, succeeded: ArrayLike, groups: Sequence[object]) -> Self:
        """Learn from finished calculations.

        Parameters
        ----------
        features
            Of shape (n, n_features); NaN where a feature is not known.
        succeeded
            Whether each gave an adsorption energy, of shape (n,).
        groups
            Bulk of each: probabilities are learned on bulks that the classifier has not seen.

        Raises
        ------
        ValueError
            If the lengths differ.
        """
        ok = np.asarray(succeeded, dtype=bool)
        if not len(features) == len(ok) == len(groups):
            message = f"{len(features)} rows of features, {len(ok)} outcomes, {len(groups)} groups"
            raise ValueError(message)
        self.n_success_, self.n_failure_ = int(ok.sum()), int((~ok).sum())
        self.base_rate_ = (self.n_success_ + ASSUMED[0]) / (len(ok) + sum(ASSUMED))
        odds = (self.n_success_ + PSEUDO_COUNT) / (self.n_failure_ + PSEUDO_COUNT)
        self.slope_, self.offset_ = 0.0, float(np.log(odds))
        self.tree_: DecisionTreeRegressor | None = None
        self.fidelity_: float | None = None
        if min(self.n_success_, self.n_failure_) < FEWEST or len(set(groups)) < FOLDS:
            return self
        decisions = self._unseen_decisions(features, ok, groups)
        self.slope_, self.offset_ = _logistic(decisions, ok, self.offset_)
        self._classifier = _classifier().fit(features, ok)
        self._distil(features)
        return self

    @property
    def is_informed(self) -> bool:
        """False if every candidate gets the same chance."""
        return self.slope_ > 0.0

    def predict(self, features: Array) -> Array:
        """Probability of success, of shape (n,)."""
        if not self.is_informed:
            return np.full(len(features), self.base_rate_)
        return _sigmoid(self.slope_ * self._classifier.decision_function(features) + self.offset_)

    def rules(self, names: Sequence[str]) -> list[str]:
        """Write the tree as indented lines; empty when nothing was learned.

        Parameters
        ----------
        names
            Of the features, in their order.
        """
        if self.tree_ is None:
            return []
        tree = self.tree_.tree_
        lines: list[str] = []

        def tell(node: int, depth: int) -> None:
            indent = "  " * depth
            if tree.children_left[node] == tree.children_right[node]:
                share, n = float(tree.value[node].item()), int(tree.n_node_samples[node])
                lines.append(f"{indent}{share:.0%} succeed ({n} calculations)")
                return
            name, threshold = names[tree.feature[node]], tree.threshold[node]
            lines.append(f"{indent}{name} at most {threshold:.3g}:")
            tell(int(tree.children_left[node]), depth + 1)
            lines.append(f"{indent}{name} above {threshold:.3g}:")
            tell(int(tree.children_right[node]), depth + 1)

        tell(0, 0)
        return lines

    def record(self) -> dict[str, Any]:
        """Plain values that say what was learned."""
        return {
            "n_success": self.n_success_,
            "n_failure": self.n_failure_,
            "base_rate": self.base_rate_,
            "slope": self.slope_,
            "tree_fidelity": self.fidelity_,
        }

    def _unseen_decisions(self, features: Array, ok: NDArray[np.bool_], groups: Sequence[object]) -> Array:
        """Decisions on every row by a classifier that saw no row of its group."""
        from sklearn.model_selection import StratifiedGroupKFold

        decisions = np.zeros(len(ok))
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=self.seed)
        names = np.unique([str(group) for group in groups], return_inverse=True)[1]
        for train, test in folds.split(features, ok, groups=names):
            if ok[train].all() or not ok[train].any():
                continue  # all failures are of one group: its decision stays undecided
            decisions[test] = _classifier().fit(features[train], ok[train]).decision_function(features[test])
        return decisions

    def _distil(self, features: Array) -> None:
        from sklearn.tree import DecisionTreeRegressor

        said = self.predict(features)
        if said.std() < 1e-3:
            return
        leaf = max(2, int(TREE_LEAF_SHARE * len(features)))
        tree = DecisionTreeRegressor(max_depth=TREE_DEPTH, min_samples_leaf=leaf, random_state=self.seed)
        self.tree_ = tree.fit(features, said)
        self.fidelity_ = float(tree.score(features, said))


def _classifier() -> Pipeline:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    imputer = SimpleImputer(keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), SVC(class_weight="balanced"))


def _logistic(decisions: Array, ok: NDArray[np.bool_], offset: float) -> tuple[float, float]:
    """Slope and offset of greatest posterior likelihood; the slope is not negative."""
    from scipy.optimize import minimize

    signs = np.where(ok, 1.0, -1.0)

    def objective(x: Array) -> float:
        fit = np.logaddexp(0.0, -signs * (x[0] * decisions + x[1])).sum()
        return float(fit + 0.5 * (x[0] / SLOPE_STD) ** 2 + 0.5 * (x[1] - offset) ** 2)

    best = minimize(objective, [0.1, offset], method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return float(best.x[0]), float(best.x[1])


def _sigmoid(x: Array) -> Array:
    probability: Array = 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0)))
    return probability
