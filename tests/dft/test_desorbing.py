"""What desorbs is given up, what may still bind is not; the verdict is the one that a longer run would get.

``data/desorbing.extxyz``: all frames of CO that left a hollow of AlPd(111), Pd-terminated, as the demo
campaign computed it (1x1, three double layers, all held; RPBE, 400 eV, ``fmax`` 0.1 eV/Å).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc111
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read

from config.recipe import RecipeSettings
from dft.codes import FailureCode
from dft.desorbing import FRAMES, PULL_EV_PER_A, is_desorbing
from dft.geometry import binding_ratio
from dft.jobs import AtomsRecord, CalculationKind, JobSpec, ResultState, read_result, write_job
from dft.relaxation import relax
from dft.restart import save_frames
from dft.validation import UNBOUND, SiteImage, judge_adslab
from dft.worker import run_job

RECORDED: list[Atoms] = read(Path(__file__).parent / "data" / "desorbing.extxyz", ":")


def given_up_after(frames: list[Atoms]) -> int | None:
    """Frames after which a relaxation would be given up."""
    return next((n for n in range(1, len(frames) + 1) if is_desorbing(frames[:n])), None)


def verdict(final: Atoms) -> FailureCode | None:
    sites = [SiteImage("top", (1 / 3, 1 / 3))]
    return judge_adslab(RECORDED[0], final, 2, sites, "top", None, 0.5).code


def pulled(frame: Atoms, force: float) -> Atoms:
    """A frame with another net force along the normal on the carbon atom."""
    forces = frame.get_forces(apply_constraint=False)
    forces[-2:, 2] = force, 0.0
    changed = frame.copy()
    changed.calc = SinglePointCalculator(changed, energy=frame.get_potential_energy(), forces=forces)
    return changed


def test_a_recorded_desorption_is_given_up_with_the_verdict_of_its_end():
    n = given_up_after(RECORDED)
    assert n is not None
    assert n <= len(RECORDED) - 5
    assert verdict(RECORDED[n - 1]) is verdict(RECORDED[-1]) is FailureCode.DESORBED


def test_nothing_is_given_up_that_is_bound_comes_closer_or_is_pulled_back():
    n = given_up_after(RECORDED)
    assert n is not None
    last = RECORDED[n - FRAMES : n]
    assert is_desorbing(last)
    assert not is_desorbing(last[1:])
    assert not is_desorbing(last[::-1])
    assert not is_desorbing([*last[:-1], pulled(last[-1], -2 * PULL_EV_PER_A)])
    assert is_desorbing([*last[:-1], pulled(last[-1], 0.0)])
    assert not is_desorbing(RECORDED[:FRAMES])
    bare = [frame[:-2] for frame in last]
    for frame, whole in zip(bare, last, strict=True):
        frame.calc = SinglePointCalculator(frame, forces=whole.get_forces(apply_constraint=False)[:-2])
    assert not is_desorbing(bare)


@pytest.mark.parametrize(("symbol", "height"), [("O", 3.3), ("N", 3.3)])
def test_an_atom_that_starts_beyond_the_bound_and_is_drawn_in_binds(tmp_path, symbol, height):
    slab = fcc111("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    slab.pbc = True
    slab.set_constraint(FixAtoms([0, 1]))
    add_adsorbate(slab, symbol, height, "ontop")
    assert binding_ratio(slab, 1, 3) > UNBOUND
    recipe = RecipeSettings(engine="emt", fmax_ev_per_a=0.05)
    relaxed = relax(recipe, slab, CalculationKind.ADSLAB, tmp_path)
    assert not relaxed.is_given_up
    assert binding_ratio(relaxed.atoms, 1, 3) < 1.0


def test_a_job_that_was_given_up_says_so_and_its_geometry_is_judged(tmp_path):
    n = given_up_after(RECORDED)
    for attempt in (1, 2):
        folder = tmp_path / f"attempt-{attempt}"
        folder.mkdir()
        write_job(
            folder,
            JobSpec(
                calculation_id="calc-000000000001",
                kind=CalculationKind.ADSLAB,
                attempt=attempt,
                label="CO on AlPd(111) hollow",
                recipe=RecipeSettings(engine="emt"),
                atoms=AtomsRecord.from_atoms(RECORDED[0]),
                n_adsorbate_atoms=2,
                restart_from="attempt-1" if attempt == 2 else None,
            ),
        )
    # The first attempt was killed right after the frame that decides.
    save_frames(tmp_path / "attempt-1", RECORDED[:n])
    assert run_job(tmp_path / "attempt-2")
    result = read_result(tmp_path / "attempt-2")
    assert result is not None
    assert result.state is ResultState.DONE
    assert result.details["given_up"] == "desorbing"
    assert result.n_steps == n - 1
    assert result.energy == pytest.approx(RECORDED[n - 1].get_potential_energy())
    assert result.atoms is not None
    assert verdict(result.atoms.to_atoms()) is FailureCode.DESORBED
