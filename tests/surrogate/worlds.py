"""Made-up observations: a known law of ΔE on random environments, for tests of the surrogate."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from surrogate.elements import SYMBOLS, electronegativity
from surrogate.sites import SiteEnvironment

METALS = ("Al", "Ti", "Fe", "Ni", "Cu", "Ga", "Pd", "Ag", "Pt", "Au")


def random_environments(n: int, seed: int = 0) -> list[SiteEnvironment]:
    rng = np.random.default_rng(seed)
    environments = []
    for _ in range(n):
        pair = rng.choice(METALS, size=2, replace=False)
        first = tuple((str(s), int(rng.integers(1, 4))) for s in pair[: rng.integers(1, 3)])
        second = tuple((str(s), int(rng.integers(1, 8))) for s in pair)
        environments.append(SiteEnvironment(first, second))
    return environments


def law(environments: list[SiteEnvironment]) -> np.ndarray:
    """ΔE (eV) that falls with the mean electronegativity of the first shell."""
    energies = []
    for environment in environments:
        total = sum(count for _, count in environment.first_shell)
        mean = sum(electronegativity(s) * count for s, count in environment.first_shell) / total
        energies.append(-1.5 * (mean - 1.9) - 0.3)
    return np.array(energies)


def shells(min_size: int = 1) -> st.SearchStrategy[tuple[tuple[str, int], ...]]:
    return st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 12), min_size=min_size, max_size=3).map(
        lambda counts: tuple(sorted(counts.items()))
    )


def environments() -> st.SearchStrategy[SiteEnvironment]:
    return st.builds(SiteEnvironment, shells(), shells(min_size=0))
