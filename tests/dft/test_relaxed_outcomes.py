"""Verdicts on real relaxations; how they were made is in ``data/make_relaxations.py``."""

from __future__ import annotations

import re
from itertools import groupby
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st

from dft.codes import FailureCode as Code
from dft.geometry import neighbours
from dft.validation import Outcome, SiteImage, judge_adslab

if TYPE_CHECKING:
    from ase import Atoms

FILE = Path(__file__).parent / "data" / "relaxations.extxyz"
RELAXATIONS = {
    case: {frame.info["role"]: frame for frame in frames}
    for case, frames in groupby(read(FILE, ":"), key=lambda frame: frame.info["case"])
}
N_ADSORBATE = {"h": 1, "n": 1, "co": 2, "ooh": 3, "cooh": 4}
PLACES = {
    "top": [(0.0, 0.0)],
    "bridge": [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)],
    "hcp": [(2 / 3, 2 / 3)],
    "fcc": [(1 / 3, 1 / 3)],
}
"""Sites of fcc(111) in units of the 1x1 cell, from a top atom."""
EXPECTED = {
    "h_stays": ("fcc", None, ""),
    "h_stays_on_bridge": ("bridge", None, ""),
    "h_slides_back": ("top", None, ""),
    "h_rolls_off_bridge": ("bridge", Code.MIGRATED, "moved from bridge to .*: bound to Al2, then Al3"),
    "h_sinks": ("fcc", Code.ABSORBED, "lies 1.* covalent lengths under slab atoms"),
    "co_stays": ("top", None, ""),
    "co_gets_up": ("top", None, ""),
    "co_desorbs": ("top", Code.DESORBED, "C is 2.18 times the covalent length from the slab"),
    "ooh_stays": ("top", None, ""),
    "ooh_falls_apart": ("bridge", Code.DISSOCIATED, r"became O \+ HO: O-O at 2.17 times"),
    "n_upsets_adatom": ("top", Code.RECONSTRUCTED, "a slab atom moved 1.48 Å"),
}
"""Starting site, code and message of each case."""


def n_adsorbate_atoms(case: str) -> int:
    return N_ADSORBATE[case.split("_", maxsplit=1)[0]]


def sites(slab: Atoms) -> list[SiteImage]:
    """Every copy of the sites of an fcc(111) slab, from its top layer."""
    top = np.flatnonzero(slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1)
    n = isqrt(len(top))
    x, y, _ = slab.get_scaled_positions()[top[0]]
    return [
        SiteImage(name, (x + (u + i) / n, y + (v + j) / n))
        for name, places in PLACES.items()
        for u, v in places
        for i in range(n)
        for j in range(n)
    ]


def judge(case: str, initial: Atoms, final: Atoms, start: str, turned_deg: float = 0.0) -> Outcome:
    n = n_adsorbate_atoms(case)
    bare = RELAXATIONS[case].get("bare")
    if bare is not None:
        bare = bare.copy()
        bare.rotate(turned_deg, "z", rotate_cell=True)
    return judge_adslab(initial, final, n, sites(initial[:-n]), start, bare, delta_e_ev=-0.3)


@pytest.mark.parametrize("case", EXPECTED)
def test_a_real_relaxation_is_judged_by_what_became_of_it(case: str) -> None:
    start, code, message = EXPECTED[case]
    outcome = judge(case, RELAXATIONS[case]["initial"], RELAXATIONS[case]["final"], start)
    assert outcome.code is code, outcome
    assert re.match(message, outcome.message), outcome.message
    assert (outcome.site_id is None) == (code not in {None, Code.MIGRATED})


def test_every_relaxation_kept_is_looked_at() -> None:
    assert set(RELAXATIONS) == set(EXPECTED)


@pytest.mark.parametrize("case", EXPECTED)
@settings(max_examples=10, deadline=None)
@given(angle=st.floats(0.0, 360.0))
def test_the_verdict_does_not_depend_on_how_everything_is_turned_about_the_normal(
    case: str, angle: float
) -> None:
    frames = [RELAXATIONS[case][role].copy() for role in ("initial", "final")]
    straight = judge(case, *frames, EXPECTED[case][0])
    for frame in frames:
        frame.rotate(angle, "z", rotate_cell=True)
    turned = judge(case, *frames, EXPECTED[case][0], angle)
    assert (turned.code, turned.site_id) == (straight.code, straight.site_id)
    assert turned.details == pytest.approx(straight.details, abs=1e-6)


def test_a_hollow_of_the_smallest_cell_has_three_neighbours() -> None:
    final = RELAXATIONS["h_stays"]["final"]
    assert len(neighbours(final, len(final) - 1, len(final) - 1)) == 3
