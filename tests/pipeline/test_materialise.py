"""Structures that calculations start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.campaign import BulkSelection
from config.loader import load_campaign
from dft.jobs import AtomsRecord, CalculationKind, JobResult, ResultState
from pipeline.campaign import Campaign
from pipeline.domain import CalculationState as State
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pipeline.domain import Calculation
    from pipeline.store.repository import Store


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on copper."""
    settings = load_campaign("emt").model_copy(update={"bulks": BulkSelection(ids=("mp-30",))})
    return enumerated(settings, store, tmp_path)


def finish(campaign: Campaign, calculation: Calculation, atoms: AtomsRecord, energy: float) -> None:
    """Put a finished calculation into the store."""
    campaign.store.plan([calculation])
    done = JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=1,
        state=ResultState.DONE,
        energy=energy,
        atoms=atoms,
    )
    campaign.store.save_result(done)
    for before, after in [
        (State.PLANNED, State.SUBMITTING),
        (State.SUBMITTING, State.DONE),
        (State.DONE, State.VALID),
    ]:
        assert campaign.store.transition(calculation.id, before, after, energy=energy)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 1)], ids=["as-computed", "in-another-cell"])
@pytest.mark.parametrize("scale", [0.97, 1.0, 1.02])
def test_slabs_are_cut_at_the_equilibrium_lattice_whatever_cell_it_was_computed_in(
    campaign: Campaign, scale: float, repeat: tuple[int, int, int]
) -> None:
    candidate = campaign.candidates[0]
    surface, bulk = campaign.surface(candidate.site.surface_id), campaign.bulks[0]
    calculations = campaign.planner.calculations(candidate, surface, bulk)
    by_kind = {c.kind: c for c in calculations}
    equilibrium = bulk.atoms.repeat(repeat)
    equilibrium.set_cell(equilibrium.cell * scale, scale_atoms=True)
    finish(campaign, by_kind[CalculationKind.BULK], AtomsRecord.from_atoms(equilibrium), -1.0)
    slab = campaign.materialiser.job_spec(by_kind[CalculationKind.SLAB], 1).atoms.to_atoms()
    reference = surface.atoms.cell.lengths()[:2]
    assert slab.cell.lengths()[:2] / reference == pytest.approx([scale, scale])


def test_an_adslab_starts_from_the_relaxed_slab_with_the_adsorbate_last(campaign: Campaign) -> None:
    candidate = next(c for c in campaign.candidates if c.adsorbate == "CO")
    surface, bulk = campaign.surface(candidate.site.surface_id), campaign.bulks[0]
    by_kind = {c.kind: c for c in campaign.planner.calculations(candidate, surface, bulk)}
    finish(campaign, by_kind[CalculationKind.BULK], AtomsRecord.from_atoms(bulk.atoms), -1.0)
    relaxed = campaign.materialiser.job_spec(by_kind[CalculationKind.SLAB], 1).atoms.to_atoms()
    relaxed.set_constraint()
    relaxed.positions[0, 0] += 0.01
    finish(campaign, by_kind[CalculationKind.SLAB], AtomsRecord.from_atoms(relaxed), -2.0)
    spec = campaign.materialiser.job_spec(by_kind[CalculationKind.ADSLAB], 1)
    adslab = spec.atoms.to_atoms()
    assert spec.n_adsorbate_atoms == 2
    assert adslab.get_chemical_symbols()[-2:] == ["C", "O"]
    assert adslab.positions[:-2] == pytest.approx(relaxed.positions)
    assert adslab.positions[-1, 2] > adslab.positions[-2, 2] > relaxed.positions[:, 2].max()


def test_candidates_of_a_surface_share_their_slab_bulk_and_gas(campaign: Campaign) -> None:
    surface = campaign.surface(campaign.candidates[0].site.surface_id)
    mine = [c for c in campaign.candidates if c.site.surface_id == surface.id and c.adsorbate == "H"]
    assert len(mine) > 1
    chains = [campaign.planner.calculations(c, surface, campaign.bulks[0]) for c in mine]
    shared = [{c.id for c in chain if c.kind is not CalculationKind.ADSLAB} for chain in chains]
    assert all(ids == shared[0] for ids in shared)
    assert len({chain[-1].id for chain in chains}) == len(mine)
