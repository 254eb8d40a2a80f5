"""What a campaign's failures teach about the candidates that are left.

A calculation *succeeds* if it gives an adsorption energy, be it of a neighbouring site. What a lost node, a
time limit or a failed slab did to it says nothing about the candidate and does not count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline.domain import CalculationState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from surrogate.failures import SuccessModel
    from surrogate.sites import SiteEnvironment

TELLING = frozenset(FailureCode) - {
    FailureCode.MISSING_SETUP, FailureCode.OUT_OF_MEMORY, FailureCode.TIMEOUT, FailureCode.WORKER_LOST,
    FailureCode.NODE_FAIL, FailureCode.PREEMPTED, FailureCode.INVALID_RESULT, FailureCode.CRASHED,
    FailureCode.DEPENDENCY_FAILED, FailureCode.MIGRATED,
}  # fmt: skip
"""Codes that say something about the candidate itself."""
FEATURE_GROUPS = ("first", "second", "sizes", "coordination")


@dataclass(frozen=True)
class Outcomes:
    """Finished candidates of one adsorbate."""

    environments: list[SiteEnvironment]
    succeeded: NDArray[np.bool_]
    bulks: list[str]
    codes: Counter[str]
    """How often each code that counts as a failure occurred."""


def outcomes(campaign: Campaign, adsorbate: str) -> Outcomes:
    """Gather which candidates gave an adsorption energy and which did not."""
    rows = []
    for c in campaign.store.calculations(ids=campaign.chosen_ids()):
        if c.kind is not CalculationKind.ADSLAB or c.adsorbate != adsorbate:
            continue
        is_success = c.state is CalculationState.VALID or c.code is FailureCode.MIGRATED
        is_failure = c.state in {CalculationState.REJECTED, CalculationState.FAILED} and c.code in TELLING
        if is_success or is_failure:
            rows.append((c, is_success))
    return Outcomes(
        environments=[campaign.environments[str(c.site_id)] for c, _ in rows],
        succeeded=np.array([ok for _, ok in rows], dtype=bool),
        bulks=[str(c.bulk_id) for c, _ in rows],
        codes=Counter(str(c.code) for c, ok in rows if not ok),
    )


def learned(campaign: Campaign, found: Outcomes) -> SuccessModel:
    """Train on what has come of an adsorbate's candidates so far."""
    from surrogate.failures import SuccessModel

    model = SuccessModel(campaign.settings.seed)
    return model.fit(features(found.environments), found.succeeded, found.bulks)


def features(environments: Sequence[SiteEnvironment]) -> NDArray[np.float64]:
    """Describe sites for :class:`surrogate.failures.SuccessModel`, of shape (n, n_features)."""
    from surrogate.features import SiteFeatures

    if not environments:
        return np.empty((0, len(feature_names())))
    return SiteFeatures(FEATURE_GROUPS).transform(environments).astype(float)


def feature_names() -> list[str]:
    """Names of the features in the field's words, with units."""
    from surrogate.features import SiteFeatures
    from surrogate.words import in_words

    chosen = SiteFeatures(FEATURE_GROUPS)
    return [in_words(*pair) for pair in zip(chosen.get_feature_names_out(), chosen.units(), strict=True)]


def failures_document(adsorbate: str, found: Outcomes, model: SuccessModel) -> dict[str, Any]:
    """What was learned of one adsorbate's failures, as plain JSON values."""
    return {
        "adsorbate": adsorbate,
        **model.record(),
        "codes": dict(found.codes.most_common()),
        "rules": model.rules(feature_names()),
    }


def draw_tree(model: SuccessModel, path: Path) -> None:
    """Draw the tree of a model that has learned something; the format is that of the file's suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.tree import plot_tree

    assert model.tree_ is not None
    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)  # scikit-learn measures its boxes
    axes = figure.subplots()
    look = {"filled": True, "impurity": False, "precision": 2, "fontsize": 8}
    names = ["\n".join(wrap(name, 30)) for name in feature_names()]
    plot_tree(model.tree_, feature_names=names, ax=axes, **look)
    axes.set_title("chance that a calculation gives an adsorption energy ('value')")
    figure.savefig(path, dpi=130)
