r"""Why the surrogate predicts what it predicts, in facts about sites; for any model of ΔE.

**One site.** The facts of :mod:`surrogate.hybrids` play a game: the worth of a set :math:`S` of facts is the
mean prediction of hybrids that have these facts of the site and all others of a background site,

.. math:: v(S) = \frac{1}{n} \sum_{b=1}^{n} f(\mathrm{hybrid}(x, b, S)),

and the contribution of a fact is its Shapley value, the mean over all orders in which the facts may be
told of what it adds [1]_ [2]_. Contributions sum exactly to the prediction less the mean over the
background, the *typical* site; a fact that the model does not look at contributes nothing.

**All sites.** How much a fact matters is the mean size of its contributions. How ΔE depends on it is what
becomes of the typical site when it is given this fact of one site after another (partial dependence, [3]_).
Both say what the *model* makes of the facts. Whether it is right to is told by how much its errors on
crystals that it has not seen grow when a fact is taken from another site [4]_.

None of this is a cause: elements, coordination and crystal go together in what was computed. Energies in eV.

References
----------
.. [1] Štrumbelj and Kononenko, Knowl. Inf. Syst. 41, 647 (2014), doi:10.1007/s10115-013-0679-x.
.. [2] Lundberg and Lee, Adv. Neural Inf. Process. Syst. 30, 4765 (2017), arXiv:1705.07874.
.. [3] Friedman, Ann. Stat. 29, 1189 (2001), doi:10.1214/aos/1013203451.
.. [4] Breiman, Mach. Learn. 45, 5 (2001), doi:10.1023/A:1010933404324.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from surrogate.cross_fit import grouped_folds
from surrogate.crystals import volume_against_pure
from surrogate.element_properties import UNITS, element_property
from surrogate.elements import atomic_number
from surrogate.hybrids import (
    AROUND,
    BINDERS,
    COORDINATION,
    CRYSTAL,
    FACTS,
    KIND,
    hybrid,
    with_binders,
    with_one_binder,
    with_one_neighbour,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from surrogate.models import AdsorptionSurrogate
    from surrogate.sites import Shell, SiteEnvironment
    from surrogate.transfer import Source

    Array = NDArray[np.float64]
    MeanAndStd = tuple[Array, Array]
    Predict = Callable[[Sequence[SiteEnvironment]], MeanAndStd]

ENOUGH_HELD_OUT = 200
"""Held-out sites that are enough to tell which facts matter; training once more for others costs time."""


@dataclass(frozen=True)
class Contributions:
    """What the facts of one site add to its prediction."""

    predicted_ev: float
    std_ev: float
    typical_ev: float
    """Mean prediction of the background."""
    by_fact: Mapping[str, float]
    """Contribution of every fact of :data:`surrogate.hybrids.FACTS`, eV."""


def explain(predict: Predict, site: SiteEnvironment, background: Sequence[SiteEnvironment]) -> Contributions:
    """Divide a prediction among the facts of a site.

    Parameters
    ----------
    predict
        Mean and standard deviation of ΔE of environments, each of shape (n,).
    background
        What the site is compared with; a few dozen sites of the same campaign.

    Raises
    ------
    ValueError
        If there is no background.
    """
    worth = _worths(predict, site, background).mean(axis=0)
    (mean,), (std,) = predict([site])
    contributions = shapley_values(worth)
    by_fact = {fact: float(x) for fact, x in zip(FACTS, contributions, strict=True)}
    return Contributions(float(mean), float(std), float(worth[0]), by_fact)


def shapley_values(worth: Array) -> Array:
    """Shapley value of every player.

    Parameters
    ----------
    worth
        Worth of every set of players, of shape (..., 2**n_players); bit ``i`` of the index tells whether
        player ``i`` is in.

    Returns
    -------
    ndarray
        Of shape (..., n_players).
    """
    n = worth.shape[-1].bit_length() - 1
    sets = np.arange(2**n)
    size = ((sets[:, None] >> np.arange(n)) & 1).sum(axis=1)
    values = []
    for i in range(n):
        without = sets[(sets >> i) & 1 == 0]
        weight = np.array([1.0 / (n * comb(n - 1, int(k))) for k in size[without]])
        values.append((worth[..., without | (1 << i)] - worth[..., without]) @ weight)
    return np.stack(values, axis=-1)


def _worths(predict: Predict, site: SiteEnvironment, background: Sequence[SiteEnvironment]) -> Array:
    """Prediction of every hybrid, of shape (n_background, 2**n_facts)."""
    if not background:
        message = "there is no site to compare with"
        raise ValueError(message)
    sets = [{fact for i, fact in enumerate(FACTS) if (s >> i) & 1} for s in range(2 ** len(FACTS))]
    mean, _ = predict([hybrid(site, other, taken) for other in background for taken in sets])
    return mean.reshape(len(background), len(sets))


class Substitution(NamedTuple):
    """What an atom of another element would do to a site."""

    is_binding: bool
    """In the first shell; among its neighbours otherwise."""
    old: str
    new: str
    delta_e_ev: float
    std_ev: float
    change_ev: float


def substitutions(predict: Predict, site: SiteEnvironment, elements: Iterable[str]) -> list[Substitution]:
    """Exchange one atom, binding or next to that, for each of the elements; the greatest change first."""
    swaps, environments = [], [site]
    for is_binding, shell in ((True, site.first_shell), (False, site.second_shell)):
        swap = with_one_binder if is_binding else with_one_neighbour
        for old, _ in shell:
            for new in sorted(set(elements) - {old}):
                swaps.append((is_binding, old, new))
                environments.append(swap(site, old, new))
    mean, std = (values.tolist() for values in predict(environments))
    rows = [Substitution(*swap, mean[i], std[i], mean[i] - mean[0]) for i, swap in enumerate(swaps, start=1)]
    return sorted(rows, key=lambda row: (-abs(row.change_ev), row.old, row.new))


@dataclass(frozen=True)
class Survey:
    """What the facts of many sites do, in the order of :data:`surrogate.hybrids.FACTS`."""

    contributions: Array
    """Of each site's facts, eV, of shape (n_sites, n_facts)."""
    dependence: Array
    """Mean prediction of the sites when all have a fact of one background site; (n_background, n_facts)."""

    def importances(self) -> dict[str, float]:
        """Mean size of the contributions of each fact, eV."""
        sizes = np.abs(self.contributions).mean(axis=0)
        return {fact: float(size) for fact, size in zip(FACTS, sizes, strict=True)}


def survey(
    predict: Predict, sites: Sequence[SiteEnvironment], background: Sequence[SiteEnvironment]
) -> Survey:
    """Explain several sites at once.

    Raises
    ------
    ValueError
        If there are no sites, or there is no background.
    """
    if not sites:
        message = "there is no site to explain"
        raise ValueError(message)
    n = len(FACTS)
    all_but = (2**n - 1) ^ (1 << np.arange(n))
    contributions, dependence = [], np.zeros((len(background), n))
    for site in sites:
        worths = _worths(predict, site, background)
        contributions.append(shapley_values(worths.mean(axis=0)))
        dependence += worths[:, all_but] / len(sites)
    return Survey(np.array(contributions), dependence)


def element_dependence(
    predict: Predict, sites: Sequence[SiteEnvironment], elements: Sequence[str]
) -> dict[str, float]:
    """Mean prediction of the sites, eV, when all binding atoms are of one element; for each element."""
    mean, _ = predict([with_binders(site, element) for element in elements for site in sites])
    by_element = mean.reshape(len(elements), len(sites)).mean(axis=1)
    return {element: float(x) for element, x in zip(elements, by_element, strict=True)}


def held_out_importances(
    factory: Callable[[], AdsorptionSurrogate],
    environments: Sequence[SiteEnvironment],
    delta_e: Array,
    groups: Sequence[str],
    seed: int = 0,
    sources: Sequence[Source] = (),
) -> dict[str, float] | None:
    """By how much the mean absolute error on unseen bulks grows when a fact is of another site, eV.

    Parameters
    ----------
    factory
        Makes an untrained surrogate.
    delta_e
        Observed ΔE, eV, of shape (n_environments,).
    groups
        Bulk of each observation.
    seed
        Deals the bulks into folds and the facts to sites. Folds are left out until there are
        :data:`ENOUGH_HELD_OUT` predictions.

    sources
        Energies from elsewhere that the surrogates may use.

    Returns
    -------
    dict or None
        None when there are too few bulks to leave any out.
    """
    labels = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].ravel().astype(np.int64)
    folds = grouped_folds(labels, seed)
    if folds is None:
        return None
    rng = np.random.default_rng(seed)
    growth, n_seen = np.zeros(len(FACTS)), 0
    for fold in np.unique(folds):
        inside, outside = (np.flatnonzero(side).tolist() for side in (folds != fold, folds == fold))
        surrogate = factory().fit(
            [environments[i] for i in inside], delta_e[inside], [groups[i] for i in inside], sources
        )
        held_out = [environments[i] for i in outside]
        asked = list(held_out)
        for fact in FACTS:
            givers = rng.permutation(len(held_out))
            asked += [hybrid(held_out[j], held_out[i], {fact}) for i, j in enumerate(givers.tolist())]
        errors = np.abs(surrogate.predict(asked)[0].reshape(-1, len(outside)) - delta_e[outside])
        growth += (errors[1:] - errors[0]).sum(axis=1)
        n_seen += len(outside)
        if n_seen >= ENOUGH_HELD_OUT:
            break
    return {fact: float(x) / n_seen for fact, x in zip(FACTS, growth, strict=True)}


@dataclass(frozen=True)
class Descriptor:
    """A number that a chemist orders sites by, and the fact that it belongs to."""

    fact: str
    words: str
    unit: str
    of: Callable[[SiteEnvironment], float | None]


def _elemental(fact: str, words: str, name: str, shell: Callable[[SiteEnvironment], Shell]) -> Descriptor:
    def mean(site: SiteEnvironment) -> float | None:
        values = [(n, element_property(name)[atomic_number(symbol) - 1]) for symbol, n in shell(site)]
        total = sum(n for n, _ in values)
        return float(sum(n * x for n, x in values)) / total if total else None

    return Descriptor(fact, f"{words} of the {fact}", UNITS[name], mean)


def _neighbours_each(site: SiteEnvironment) -> float | None:
    totals = [sum(n for _, n in shell) for _, shell in site.neighbours]
    return float(np.mean(totals)) if totals else None


DESCRIPTORS = (
    _elemental(BINDERS, "d-band filling", "d_filling", lambda site: site.first_shell),
    _elemental(BINDERS, "electronegativity", "electronegativity", lambda site: site.first_shell),
    _elemental(BINDERS, "work function", "work_function", lambda site: site.first_shell),
    _elemental(AROUND, "d-band filling", "d_filling", lambda site: site.second_shell),
    _elemental(AROUND, "electronegativity", "electronegativity", lambda site: site.second_shell),
    Descriptor(KIND, "binding atoms", "", lambda site: float(sum(n for _, n in site.first_shell))),
    Descriptor(COORDINATION, "neighbours of a binding atom", "", _neighbours_each),
    Descriptor(
        CRYSTAL,
        "volume of the crystal against its elements",
        "",
        lambda site: None if site.bulk is None else volume_against_pure(site.bulk),
    ),
)
"""What the dependences are drawn against."""
