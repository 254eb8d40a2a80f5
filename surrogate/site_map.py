"""A map of sites on which those that are described alike lie close together.

t-distributed stochastic neighbour embedding (van der Maaten and Hinton, J. Mach. Learn. Res. 9, 2579 (2008))
of the standardised features (:mod:`surrogate.features`), as Tran and Ulissi draw it, Nature Catalysis 1, 696
(2018). It starts from the principal components, which keeps its large-scale order meaningful and the same
from run to run: Kobak and Berens, Nat. Commun. 10, 5416 (2019), doi:10.1038/s41467-019-13056-x. Axes have no
unit, and distances between far groups no meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from surrogate.sites import SiteEnvironment

FEWEST = 10
"""Sites below which there is nothing to see."""
_PERPLEXITY = 30.0
"""Neighbours that every site is to keep."""
_SHARE = 4
"""With few sites, a share of one in so many of them instead."""


def site_map(environments: Sequence[SiteEnvironment], seed: int = 0) -> NDArray[np.float64]:
    """Place sites in the plane; of shape (n_environments, 2).

    Parameters
    ----------
    environments
        At least :data:`FEWEST`, all different.
    seed
        Of what is random in the embedding.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if len(environments) < FEWEST:
        message = f"{len(environments)} sites are too few for a map; at least {FEWEST}"
        raise ValueError(message)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    from surrogate.features import SiteFeatures

    features = _standardised(SiteFeatures().transform(environments).astype(float))
    perplexity = min(_PERPLEXITY, len(environments) / _SHARE)
    embedding = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    with threadpool_limits(limits=1):  # calculations run on the other cores
        places: NDArray[np.float64] = embedding.fit_transform(features).astype(float)
    return places


def _standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and variance 1 of what is known, 0 for what is the same everywhere and what is not known."""
    from sklearn.preprocessing import StandardScaler

    is_known = ~np.isnan(features).all(axis=0)
    scaled: NDArray[np.float64] = np.nan_to_num(StandardScaler().fit_transform(features[:, is_known]))
    return scaled
