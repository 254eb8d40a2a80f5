"""Giving up early what desorbs, so that a molecule that is leaving is not followed to where no force is left.

A relaxation is given up when its last frames all lie beyond what
:func:`dft.validation.judge_adslab` takes for bound, each farther out than the one before, and nothing pulls
the molecule back. Its last geometry goes to that same verdict, which is ``DESORBED`` by the same distance;
its energy is evidence and no adsorption energy. Units: Å, eV/Å.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dft.geometry import binding_atom, binding_ratio
from dft.validation import UNBOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

FRAMES = 3
"""So many frames must agree."""
PULL_EV_PER_A = 0.05
"""A net force on the adsorbate towards the slab larger than this may bring it back."""


def is_desorbing(frames: Sequence[Atoms]) -> bool:
    """Tell whether an adsorbate is clearly leaving its slab.

    Parameters
    ----------
    frames
        The relaxation so far, with forces; the adsorbate's atoms are last, with tag 0 on a slab of other
        tags. Structures without are never desorbing.
    """
    last = frames[-FRAMES:]
    n_adsorbate = int((last[-1].get_tags() == 0).sum())
    if len(last) < FRAMES or not 0 < n_adsorbate < len(last[-1]):
        return False
    ratios = [binding_ratio(frame, n_adsorbate, binding_atom(frame, n_adsorbate)) for frame in last]
    pulls = [float(np.sum(frame.get_forces(apply_constraint=False)[-n_adsorbate:, 2])) for frame in last]
    return (
        min(ratios) > UNBOUND
        and all(before < after for before, after in pairwise(ratios))
        and min(pulls) > -PULL_EV_PER_A
    )
