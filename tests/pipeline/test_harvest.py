"""From finished calculations to an observation: error bars, magnetic states, old stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.errors import StoreError
from dft.ensemble import as_details, members
from dft.jobs import AtomsRecord, CalculationKind, JobResult, ResultState, write_job
from pipeline.domain import Observation
from pipeline.harvest import Judge
from tests.pipeline.store.examples import an_observation
from tests.pipeline.test_materialise import campaign, finish

if TYPE_CHECKING:
    from ase import Atoms

    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation
    from pipeline.store.repository import Store

__all__ = ["campaign"]

RNG = np.random.default_rng(3)
SLAB, GAS, BINDING = (RNG.normal(0.0, size, 32) for size in (20.0, 5.0, 0.2))


def finished(campaign: Campaign, adsorbate: str) -> dict[CalculationKind, Calculation]:
    """Give the calculations of a candidate, bulk, slab, gas and adslab done."""
    candidate = next(c for c in campaign.candidates if c.adsorbate == adsorbate)
    surface, bulk = campaign.surface(candidate.site.surface_id), campaign.bulks[0]
    by_kind = {c.kind: c for c in campaign.planner.calculations(candidate, surface, bulk)}
    finish(campaign, by_kind[CalculationKind.GAS], AtomsRecord.from_atoms(bulk.atoms), -3.0)
    finish(campaign, by_kind[CalculationKind.BULK], AtomsRecord.from_atoms(bulk.atoms), -1.0)
    for kind in (CalculationKind.SLAB, CalculationKind.ADSLAB):
        start = campaign.materialiser.job_spec(by_kind[kind], 1).atoms
        finish(campaign, by_kind[kind], start, -2.0)
    return by_kind


def leave(store: Store, calculation: Calculation, atoms: Atoms, contributions: np.ndarray | None) -> None:
    """Replace what a calculation ended with."""
    details = {} if contributions is None else as_details(list(contributions))
    result = JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=1,
        state=ResultState.DONE,
        energy=-2.0,
        atoms=AtomsRecord.from_atoms(atoms),
        details=details,
    )
    store.save_result(result)


def observed(campaign: Campaign, adslab: Calculation) -> Observation:
    """Judge a finished adslab and return what was stored of it."""
    found = campaign.store.calculation(adslab.id)
    assert found is not None
    write_job(campaign.home.locate(found), campaign.materialiser.job_spec(adslab, 1))
    assert judge(campaign).judge(found).code is None
    (observation,) = campaign.store.observations()
    assert observation.delta_e_ev == pytest.approx(-2.0 - -2.0 - 0.5 * -3.0)
    return observation


def judge(campaign: Campaign) -> Judge:
    return Judge(campaign.store, campaign.materialiser, campaign.home, {})


@pytest.mark.parametrize(("adsorbate", "coefficient"), [("H", 0.5), ("CO", 1.0)])
def test_the_error_bar_is_that_of_the_difference_member_by_member(
    campaign: Campaign, adsorbate: str, coefficient: float
) -> None:
    kinds = finished(campaign, adsorbate)
    adslab = kinds[CalculationKind.ADSLAB]
    assert judge(campaign).ensemble_std(adslab) is None
    for kind, values in [
        (CalculationKind.GAS, GAS),
        (CalculationKind.SLAB, SLAB),
        (CalculationKind.ADSLAB, SLAB + coefficient * GAS + BINDING),
    ]:
        leave(campaign.store, kinds[kind], campaign.materialiser.final_atoms(kinds[kind].id), values)
    assert judge(campaign).ensemble_std(adslab) == pytest.approx(members(BINDING).std())


@pytest.mark.parametrize(
    ("before", "after", "warns"), [(0.6, 0.6, False), (0.6, 0.0, True), (0.6, -0.6, True), (None, 0.6, False)]
)
def test_a_slab_that_changes_its_magnetic_state_under_an_adsorbate_is_told(
    campaign: Campaign, before: float | None, after: float, warns: bool
) -> None:
    kinds = finished(campaign, "H")
    slab = campaign.materialiser.final_atoms(kinds[CalculationKind.SLAB].id)
    adslab = campaign.materialiser.final_atoms(kinds[CalculationKind.ADSLAB].id)
    if before is not None:
        slab.set_initial_magnetic_moments([before] * len(slab))
    adslab.set_initial_magnetic_moments([after] * len(slab) + [0.0])
    leave(campaign.store, kinds[CalculationKind.SLAB], slab, None)
    leave(campaign.store, kinds[CalculationKind.ADSLAB], adslab, None)
    warning = judge(campaign).warning(kinds[CalculationKind.ADSLAB])
    assert ("moment" in warning) is warns


@pytest.mark.parametrize(("second_ev", "warns"), [(None, True), (-1.5, False)])
@pytest.mark.parametrize("kind", [CalculationKind.SLAB, CalculationKind.ADSLAB])
def test_a_lost_moment_that_no_second_start_could_confirm_is_told(
    campaign: Campaign, kind: CalculationKind, second_ev: float | None, warns: bool
) -> None:
    kinds = finished(campaign, "H")
    result = campaign.store.result(kinds[kind].id)
    assert result is not None
    details = {"second_start": {"first_energy_ev": -2.0, "second_energy_ev": second_ev, "kept": "first"}}
    campaign.store.save_result(result.model_copy(update={"details": details}))
    warning = judge(campaign).warning(kinds[CalculationKind.ADSLAB])
    assert warning == (f"the {kind} lost its moments, and its second start failed" if warns else "")


@pytest.mark.parametrize(
    ("slab_details", "says"),
    [
        ({"beef_contributions_ev": [1.0, 2.0]}, "2 finite contributions"),
        ({"beef_contributions_ev": [float("nan")] * 32}, "0 finite contributions"),
        ({"beef_contributions_ev": {"0": 1.0}}, "TypeError"),
        ({"beef_contributions_ev": ["much"] * 32}, "ValueError"),
    ],
)
def test_a_damaged_error_bar_costs_no_adsorption_energy(
    campaign: Campaign, slab_details: dict[str, object], says: str
) -> None:
    kinds = finished(campaign, "H")
    for kind in (CalculationKind.GAS, CalculationKind.ADSLAB):
        leave(campaign.store, kinds[kind], campaign.materialiser.final_atoms(kinds[kind].id), SLAB)
    slab = campaign.store.result(kinds[CalculationKind.SLAB].id)
    assert slab is not None
    campaign.store.save_result(slab.model_copy(update={"details": slab_details}))
    observation = observed(campaign, kinds[CalculationKind.ADSLAB])
    assert observation.ensemble_std_ev is None
    assert observation.warning.startswith("no error bar of the functional: ")
    assert says in observation.warning


def test_a_comparison_that_fails_costs_no_adsorption_energy(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> float:
        raise KeyError("moments")

    monkeypatch.setattr("pipeline.harvest.change_beside_adsorbate", broken)
    observation = observed(campaign, finished(campaign, "H")[CalculationKind.ADSLAB])
    assert observation.warning == "no comparison of magnetic states: KeyError: 'moments'"


def test_a_database_that_does_not_answer_is_no_property_of_the_result(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> float:
        raise StoreError("the database does not answer")

    adslab = finished(campaign, "H")[CalculationKind.ADSLAB]
    monkeypatch.setattr(Judge, "ensemble_std", away)
    with pytest.raises(StoreError):
        observed(campaign, adslab)
    assert campaign.store.observations() == []


def test_an_adslab_starts_with_the_moments_that_its_slab_ended_with(campaign: Campaign) -> None:
    kinds = finished(campaign, "H")
    slab = campaign.materialiser.final_atoms(kinds[CalculationKind.SLAB].id)
    for moment in (0.6, 0.0):
        slab.set_initial_magnetic_moments([moment] * len(slab))
        leave(campaign.store, kinds[CalculationKind.SLAB], slab, None)
        spec = campaign.materialiser.job_spec(kinds[CalculationKind.ADSLAB], 1)
        assert spec.atoms.moments == (moment,) * len(slab) + (0.0,)
    for kind in (CalculationKind.BULK, CalculationKind.SLAB):
        assert campaign.materialiser.job_spec(kinds[kind], 1).atoms.moments == ()


def test_observations_keep_error_bar_and_warning(store: Store) -> None:
    kept: Observation = an_observation(ensemble_std_ev=0.17, warning="look here")
    store.save_observation(kept)
    assert store.observations() == [kept]


def test_observations_of_an_older_version_are_read(store: Store) -> None:
    old: Observation = an_observation()
    store.save_observation(old)
    fields = {"$unset": {"ensemble_std_ev": "", "warning": ""}}
    store.connection.database["observations"].update_one({"_id": old.calculation_id}, fields)
    assert store.observations() == [old]
