"""One value of every kind, with every field filled, for the tests of the store."""

from __future__ import annotations

from ase.build import bulk as ase_bulk
from ase.build import fcc111
from ase.constraints import FixAtoms

from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline.domain import Bulk, Calculation, CalculationState, Observation, Site, Surface
from pipeline.store.records import ModelRecord, RoundRecord, Selection


def a_bulk(number: int = 1) -> Bulk:
    atoms = ase_bulk("Cu", cubic=True)
    return Bulk(f"bulk-{number:04d}", "mp-30", "Cu", ("Cu",), atoms, source="file")


def a_surface(number: int = 1, bulk_id: str = "bulk-0001", height: int = 3) -> Surface:
    atoms = fcc111("Cu", (1, 1, height), vacuum=None)
    atoms.set_constraint(FixAtoms(indices=[0]))
    return Surface(f"surface-{number:04d}", bulk_id, (1, -1, 1), 0.25, "bottom", "Cu(111)", atoms)


def a_site(number: int = 1, surface_id: str = "surface-0001") -> Site:
    return Site(
        id=f"site-{number:04d}",
        surface_id=surface_id,
        bulk_id="bulk-0001",
        kind="hollow",
        label=f"Cu(111) hollow Cu3 #{number}",
        position=(0.1, 0.2, 4.3),
        images=((1 / 3, 1 / 3), (2 / 3, 2 / 3)),
        first_shell=(("Cu", 3),),
        second_shell=(("Cu", 6), ("Pd", 3)),
    )


def a_calculation(
    number: int = 1,
    state: CalculationState = CalculationState.PLANNED,
    kind: CalculationKind = CalculationKind.ADSLAB,
    cpu_seconds: float = 12.5,
) -> Calculation:
    return Calculation(
        id=f"calc-{number:04d}",
        kind=kind,
        label="adslab CO on Cu(111) hollow",
        state=state,
        bulk_id="bulk-0001",
        surface_id="surface-0001",
        site_id="site-0001",
        adsorbate="CO",
        gas="CO",
        requires=("calc-9001", "calc-9002"),
        recipe_digest="0123456789abcdef",
        code=FailureCode.DESORBED,
        message="left the surface",
        energy=-12.75,
        attempt=2,
        job_dir="/somewhere/jobs/calc/attempt-2",
        job_id="123@456.7",
        cpu_seconds=cpu_seconds,
    )


def an_observation(number: int = 1, **changes: object) -> Observation:
    values = {
        "calculation_id": f"calc-{number:04d}",
        "site_id": "site-0002",
        "start_site_id": "site-0001",
        "surface_id": "surface-0001",
        "bulk_id": "bulk-0001",
        "adsorbate": "CO",
        "delta_e_ev": -0.67,
        "recipe_digest": "0123456789abcdef",
        "round": 3,
    }
    return Observation(**{**values, **changes})  # type: ignore[arg-type]


def a_round(number: int = 0, seed: int = 7) -> RoundRecord:
    selections = (
        Selection("calc-0002", "site-0002", "CO", 0.9, -0.6, 0.2),
        Selection("calc-0001", "site-0001", "H"),
    )
    return RoundRecord("campaign", number, selections, seed, "fedcba9876543210", {"gpaw": "26.7.0"})


def a_model(round_number: int = 0, adsorbate: str = "CO") -> ModelRecord:
    record = {"model": "gaussian_process", "parameters": {"length.scale": [1.0, 2.0]}}
    return ModelRecord("campaign", round_number, adsorbate, record, {"mae_ev": 0.2}, ("calc-0001",))
