"""Adsorbates as data: what ships is sound, and what a campaign changes is what changes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st

from config.adsorbates import (
    REFERENCE_MOLECULES,
    SPECIES_KEYS,
    AdsorbateSettings,
    composition,
    presets,
    problems,
    shipped,
    species,
)

NUMBERS = st.floats(-3.0, 3.0).filter(lambda x: abs(x) > 1.0e-3)
BONDS = {
    # adsorbate: (molecule of the G2 set, its atoms in the order of the adsorbate's)
    "OH": ("OH", (0, 1)),
    "OOH": ("H2O2", (1, 0, 2)),
    "CHO": ("HCO", (0, 2, 1)),
    "COOH": ("HCOOH", (1, 2, 0, 3)),
}


def wanted(**keys: object) -> AdsorbateSettings:
    return AdsorbateSettings.model_validate({"target_ev": 0.0, **keys})


def test_these_ship() -> None:
    assert set(presets()) == {"H", "CO", "C", "N", "O", "OH", "OOH", "CHO", "COOH", "NO"}
    targets = {name: keys["target_ev"] for name, keys in shipped().items() if "target_ev" in keys}
    assert targets == {"CO": -0.67, "H": -0.27}  # Tran and Ulissi, Nature Catalysis 1 (2018) 696


@pytest.mark.parametrize("name", presets())
def test_what_ships_has_no_problem_and_a_reference_with_its_atoms(name: str) -> None:
    assert list(problems(name, wanted())) == []
    adsorbate = presets()[name]
    assert set(adsorbate.reference) <= set(REFERENCE_MOLECULES)
    atoms = {s: float(adsorbate.symbols.count(s)) for s in adsorbate.symbols}
    assert {s: n for s, n in composition(adsorbate.reference).items() if n} == atoms
    assert adsorbate.key == name
    assert adsorbate.positions[0] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", BONDS)
def test_shapes_are_those_of_the_molecules_that_the_table_names(name: str) -> None:
    source, order = BONDS[name]
    atoms = molecule(source)[list(order)]
    assert tuple(atoms.symbols) == presets()[name].symbols
    ours = molecule(source)[list(order)]
    ours.positions = presets()[name].positions
    pairs = itertools.permutations(range(len(atoms)), 2)
    bonds = {pair for pair in pairs if atoms.get_distance(*pair) < 1.6}
    for bond in bonds:
        assert ours.get_distance(*bond) == pytest.approx(atoms.get_distance(*bond), abs=0.02)
    for i, j, k in itertools.permutations(range(len(atoms)), 3):
        if {(i, j), (j, k)} <= bonds:
            assert ours.get_angle(i, j, k) == pytest.approx(atoms.get_angle(i, j, k), abs=3.0)


def test_keys_that_are_given_replace_those_that_ship_and_only_those() -> None:
    changed = species("CO", wanted(reference={"CO": 1.0}, binding_atom=1, orientation=[0, 0, -1]))
    assert changed.symbols == ("O", "C")
    assert changed.positions[1] == pytest.approx((0.0, 0.0, 1.16))
    assert changed.reference == presets()["CO"].reference


@pytest.mark.parametrize("keys", [{}, {"target_ev": 3.0}, {"window_ev": 1.0}, {"reaction": "x"}])
def test_what_is_wanted_of_an_adsorbate_leaves_its_key_alone(keys: dict[str, object]) -> None:
    assert species("CO", wanted(**keys)).key == "CO"


@pytest.mark.parametrize("key", SPECIES_KEYS)
def test_every_change_of_what_is_computed_changes_the_key(key: str) -> None:
    changes = {
        "atoms": ["C", "S"],
        "positions_a": [[0, 0, 0], [0, 0, 1.2]],
        "binding_atom": 1,
        "orientation": [0, 1, 1],
        "rotation_deg": 30.0,
        "reference": {"CH4": 1.0, "H2O": 1.0, "H2": -3.0},
    }
    assert species("CO", wanted(**{key: changes[key]})).key.startswith("CO-")


def test_a_shipped_adsorbate_spelled_out_in_full_is_the_shipped_one() -> None:
    keys = {k: v for k, v in shipped()["OH"].items() if k in SPECIES_KEYS}
    assert species("OH", wanted(**keys)).key == "OH"


@given(
    shift=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    up=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    binding=st.integers(0, 3),
)
def test_origin_and_frame_of_the_positions_do_not_matter_for_the_shape(
    shift: tuple[float, float, float], up: tuple[float, float, float], binding: int
) -> None:
    keys = shipped()["COOH"]
    moved = [[x + d for x, d in zip(p, shift, strict=True)] for p in keys["positions_a"]]
    adsorbate = species("COOH", wanted(positions_a=moved, orientation=up, binding_atom=binding))
    order = [binding, *(i for i in range(4) if i != binding)]
    assert adsorbate.positions[0] == pytest.approx((0.0, 0.0, 0.0))
    for i in range(4):
        for j in range(i):
            before = math.dist(keys["positions_a"][order[i]], keys["positions_a"][order[j]])
            assert math.dist(adsorbate.positions[i], adsorbate.positions[j]) == pytest.approx(before)
    # Heights above the binding atom are the parts along the direction that was called up.
    length = math.hypot(*up)
    for i, (_, _, height) in zip(order, adsorbate.positions, strict=True):
        offset = [a - b for a, b in zip(moved[i], moved[binding], strict=True)]
        along = sum(a * b for a, b in zip(offset, up, strict=True)) / length
        assert height == pytest.approx(along, abs=1.0e-9)


def test_the_turn_is_part_of_the_key_only_where_it_is_given() -> None:
    bent = presets()["OH"]
    assert replace(bent, rotation_deg=0.0).key != bent.key
