"""Verdicts on adslabs whose fate is known, and what must not change a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100, fcc111, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from dft.codes import FailureCode
from dft.geometry import BROKEN_BOND, binding_ratio, largest_displacement
from dft.validation import (
    SLAB_DISPLACEMENT_A,
    UNBOUND,
    Outcome,
    SiteImage,
    judge_adslab,
    judge_slab,
    longest_bond_ratio,
    resting_site,
)

N_LAYERS, N_REPEAT = 3, 2
N_SLAB = N_LAYERS * N_REPEAT**2
TOP, BRIDGE, FCC, HCP = (0.0, 0.0), (0.5, 0.0), (1 / 3, 1 / 3), (2 / 3, 2 / 3)
OTHER_BRIDGES = ((0.0, 0.5), (0.5, 0.5))


def cu111() -> Atoms:
    return fcc111("Cu", (N_REPEAT, N_REPEAT, N_LAYERS), a=3.61, vacuum=6.0, periodic=True)


def site_images() -> list[SiteImage]:
    """Every copy of the four sites of Cu(111), found from the top layer of the slab itself."""
    slab = cu111()
    origin = slab.get_scaled_positions()[N_SLAB - N_REPEAT**2, :2]
    sites = {"top": (TOP,), "bridge": (BRIDGE, *OTHER_BRIDGES), "fcc": (FCC,), "hcp": (HCP,)}
    return [
        SiteImage(name, (origin[0] + (x + i) / N_REPEAT, origin[1] + (y + j) / N_REPEAT))
        for name, places in sites.items()
        for x, y in places
        for i in range(N_REPEAT)
        for j in range(N_REPEAT)
    ]


def adslab(adsorbate: str, xy: tuple[float, float], height: float) -> Atoms:
    """``adsorbate`` above Cu(111); ``xy`` in units of the 1x1 cell, from a top atom."""
    atoms = cu111()
    added = Atoms("H") if adsorbate == "H" else Atoms("CO", [(0, 0, 0), (0, 0, 1.17)])
    place = atoms.positions[N_SLAB - N_REPEAT**2] + (np.array([*xy, 0.0]) / N_REPEAT) @ atoms.cell.array
    added.translate([place[0], place[1], atoms.positions[:, 2].max() + height])
    return atoms + added


def judge(initial: Atoms, final: Atoms, start: str = "fcc", **changed: object) -> Outcome:
    arguments = {"bare_slab": cu111(), "delta_e_ev": -0.2, "sites": site_images(), **changed}
    return judge_adslab(
        initial,
        final,
        len(final) - N_SLAB,
        start_site_id=start,
        **arguments,  # type: ignore[arg-type]
    )


H_FCC = adslab("H", FCC, 0.95)
CO_TOP = adslab("CO", TOP, 1.85)


def test_an_adsorbate_that_stays_on_its_site_is_accepted() -> None:
    outcome = judge(H_FCC, adslab("H", (0.36, 0.30), 0.90))
    assert (outcome.code, outcome.site_id, outcome.message) == (None, "fcc", "")
    assert outcome.details["binding_ratio"] == pytest.approx(1.06, abs=0.05)


def test_an_upright_co_is_accepted() -> None:
    assert judge(CO_TOP, CO_TOP, start="top").code is None


def test_a_tilted_and_stretched_co_is_still_one_molecule() -> None:
    final = CO_TOP.copy()
    final.positions[-1] = final.positions[-2] + [1.1, 0.0, 0.8]  # 1.36 Å, nearly flat
    assert judge(CO_TOP, final, start="top").code is None


def test_a_broken_co_is_dissociated() -> None:
    final = CO_TOP.copy()
    final.positions[-1] = final.positions[-2] + [1.8, 1.0, 0.1]
    outcome = judge(CO_TOP, final, start="top")
    assert (outcome.code, outcome.site_id) == (FailureCode.DISSOCIATED, None)


def test_a_long_walk_of_a_whole_co_is_no_dissociation() -> None:
    assert longest_bond_ratio(CO_TOP, adslab("CO", (1.5, 0.7), 1.5), 2) < 1.0


def test_a_co_split_over_the_cell_boundary_is_whole() -> None:
    final = CO_TOP.copy()
    final.positions[-1] += final.cell[0] - 2 * final.cell[1]
    assert judge(CO_TOP, final, start="top").code is None


def test_an_adsorbate_far_above_the_surface_is_desorbed() -> None:
    outcome = judge(H_FCC, adslab("H", FCC, 3.5))
    assert (outcome.code, outcome.site_id) == (FailureCode.DESORBED, None)
    assert "covalent length" in outcome.message


@pytest.mark.provokes(FailureCode.TURNED_OVER)
def test_a_co_that_holds_on_by_its_oxygen_turned_over() -> None:
    """Stand-in: no relaxation of seconds was found in which it does; from the side it gets up again."""
    final = CO_TOP.copy()
    final.positions[[-2, -1]] = final.positions[[-1, -2]] + [0.0, 0.0, 0.2]
    outcome = judge(CO_TOP, final, start="top")
    assert (outcome.code, outcome.site_id) == (FailureCode.TURNED_OVER, None)
    assert "bound by O instead of C" in outcome.message


def test_an_adsorbate_under_the_slab_is_desorbed() -> None:
    final = H_FCC.copy()
    final.positions[-1, 2] = final.positions[:N_SLAB, 2].min() - 0.9
    outcome = judge(H_FCC, final)
    assert outcome.code is FailureCode.DESORBED
    assert "other side" in outcome.message


def test_a_slab_atom_that_changed_its_place_is_a_reconstruction() -> None:
    final = H_FCC.copy()
    final.positions[N_SLAB - 1] += [0.0, 1.0, 0.9]
    outcome = judge(H_FCC, final)
    assert (outcome.code, outcome.site_id) == (FailureCode.RECONSTRUCTED, None)


def test_ordinary_relaxation_is_no_reconstruction() -> None:
    final = H_FCC.copy()
    final.positions[: N_SLAB - 1] += np.random.default_rng(0).normal(scale=0.05, size=(N_SLAB - 1, 3))
    final.positions[N_SLAB - 1, 2] += 0.4
    assert judge(H_FCC, final).code is None


def test_displacement_is_counted_from_the_bare_slab_where_there_is_one() -> None:
    final = H_FCC.copy()
    final.positions[N_SLAB - 1, 2] += 1.1
    assert judge(H_FCC, final, bare_slab=None).code is FailureCode.RECONSTRUCTED
    assert judge(H_FCC, final, bare_slab=final[:N_SLAB]).code is None


def test_a_shift_of_the_whole_slab_is_no_displacement() -> None:
    slab = cu111()
    shifted = slab.copy()
    shifted.translate([0.7, -9.0, 30.0])
    assert largest_displacement(slab, shifted) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("delta_e_ev", [-5.01, 7.0, float("nan"), float("inf")])
def test_an_impossible_energy_is_rejected(delta_e_ev: float) -> None:
    outcome = judge(H_FCC, H_FCC, delta_e_ev=delta_e_ev)
    assert (outcome.code, outcome.site_id) == (FailureCode.ENERGY_OUT_OF_RANGE, None)


@pytest.mark.parametrize("delta_e_ev", [-5.0, 0.0, 5.0])
def test_energies_within_the_limits_are_accepted(delta_e_ev: float) -> None:
    assert judge(H_FCC, H_FCC, delta_e_ev=delta_e_ev).code is None


def test_an_adsorbate_on_another_site_carries_that_site() -> None:
    outcome = judge(adslab("H", BRIDGE, 1.0), H_FCC, start="bridge")
    assert (outcome.code, outcome.site_id) == (FailureCode.MIGRATED, "fcc")
    assert outcome.details["start_site_distance_a"] == pytest.approx(3.61 / np.sqrt(24), abs=0.01)


def test_a_hop_to_an_equivalent_copy_is_no_migration() -> None:
    outcome = judge(H_FCC, adslab("H", (FCC[0] + 1, FCC[1]), 0.95))
    assert (outcome.code, outcome.site_id) == (None, "fcc")


def test_between_two_sites_the_starting_one_keeps_the_name() -> None:
    assert resting_site({"fcc": 0.40, "hcp": 0.20}, "fcc") == "fcc"
    assert resting_site({"fcc": 0.40, "hcp": 0.10}, "fcc") == "hcp"


def test_an_impossible_energy_on_another_site_is_not_passed_on_to_it() -> None:
    outcome = judge(adslab("H", BRIDGE, 1.0), H_FCC, start="bridge", delta_e_ev=-9.0)
    assert (outcome.code, outcome.site_id) == (FailureCode.ENERGY_OUT_OF_RANGE, None)


def test_dissociation_is_told_before_desorption() -> None:
    final = CO_TOP.copy()
    final.positions[-2:, 2] += [3.0, 5.5]
    assert judge(CO_TOP, final, start="top").code is FailureCode.DISSOCIATED


@pytest.mark.parametrize("spoilt", [0, -1])
def test_a_place_that_is_no_number_is_refused(spoilt: int) -> None:
    final = H_FCC.copy()
    final.positions[spoilt] = np.nan
    with pytest.raises(ValueError, match="no numbers"):
        judge(H_FCC, final)


def test_mismatched_structures_are_refused() -> None:
    with pytest.raises(ValueError, match="different slab atoms"):
        judge(H_FCC, H_FCC, bare_slab=cu111()[:-1])
    with pytest.raises(ValueError, match="different atoms"):
        judge(H_FCC, H_FCC[::-1])
    with pytest.raises(ValueError, match="no copy of the starting site"):
        judge(H_FCC, H_FCC, start="elsewhere")
    with pytest.raises(ValueError, match="different cells"):
        judge(H_FCC, H_FCC, bare_slab=fcc111("Cu", (2, 2, 3), a=3.7, vacuum=6.0, periodic=True))


FINALS = {
    "stays": (H_FCC, adslab("H", (0.36, 0.30), 0.9), "fcc"),
    "migrates": (adslab("H", BRIDGE, 1.0), H_FCC, "bridge"),
    "desorbs": (H_FCC, adslab("H", FCC, 3.5), "fcc"),
    "co": (CO_TOP, adslab("CO", (0.04, 0.02), 1.85), "top"),
}
vectors = st.tuples(*[st.integers(-2, 2)] * 3)


@pytest.mark.parametrize("case", FINALS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_verdict_does_not_depend_on_how_atoms_are_wrapped(case: str, data: st.DataObject) -> None:
    initial, final, start = FINALS[case]
    wrapped = final.copy()
    shifts = data.draw(st.lists(vectors, min_size=len(final), max_size=len(final)))
    wrapped.positions += np.array(shifts) @ final.cell.array
    assert_same(judge(initial, wrapped, start), judge(initial, final, start))


@pytest.mark.parametrize("case", FINALS)
@settings(max_examples=25, deadline=None)
@given(shift=st.tuples(*[st.floats(-30.0, 30.0)] * 3))
def test_the_verdict_does_not_depend_on_a_shift_of_everything(
    case: str, shift: tuple[float, float, float]
) -> None:
    initial, final, start = FINALS[case]
    moved = final.copy()
    moved.translate(shift)
    assert_same(judge(initial, moved, start), judge(initial, final, start))


@pytest.mark.parametrize("case", FINALS)
@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(N_SLAB)))
def test_the_verdict_does_not_depend_on_the_order_of_slab_atoms(case: str, order: list[int]) -> None:
    initial, final, start = FINALS[case]
    whole = [*order, *range(N_SLAB, len(final))]
    permuted = judge(initial[whole], final[whole], start, bare_slab=cu111()[order])
    assert_same(permuted, judge(initial, final, start))


def assert_same(one: Outcome, other: Outcome) -> None:
    assert (one.code, one.site_id) == (other.code, other.site_id)
    assert one.details == pytest.approx(other.details, abs=1e-6)


def test_every_metal_surface_holds_a_sensible_hydrogen() -> None:
    for symbol in ("Ni", "Cu", "Pd", "Pt", "Au", "Al", "Pb"):
        slab = fcc100(symbol, (2, 2, 3), vacuum=6.0, periodic=True)
        add_adsorbate(slab, "H", 0.6, "hollow")
        assert binding_ratio(slab, 1, len(slab) - 1) < UNBOUND


def test_the_gas_phase_molecule_is_whole() -> None:
    co = molecule("CO", vacuum=5.0)
    assert longest_bond_ratio(co, co, 2) < BROKEN_BOND


def test_hydrogen_that_sank_below_the_first_layer_is_absorbed() -> None:
    sunk = adslab("H", FCC, 0.95 - 2.0)  # the octahedral hollow below fcc(111)
    assert judge(H_FCC, sunk).code is FailureCode.ABSORBED


def test_hydrogen_that_settles_into_its_hollow_is_not() -> None:
    assert judge(adslab("H", FCC, 1.5), H_FCC).code is None


def test_a_bare_slab_that_rearranged_is_reconstructed_and_one_that_relaxed_is_not() -> None:
    relaxed, torn = cu111(), cu111()
    relaxed.positions[-1, 2] += 0.2
    torn.positions[-1, 2] += SLAB_DISPLACEMENT_A + 0.2
    assert judge_slab(cu111(), relaxed).code is None
    assert judge_slab(cu111(), torn).code is FailureCode.RECONSTRUCTED
