"""What goes into the store comes out; campaigns do not mix; everything may be done twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms

from config.errors import StoreError
from dft.jobs import CalculationKind
from pipeline.domain import CalculationState
from pipeline.store import documents
from pipeline.store.records import RoundState

from . import examples

if TYPE_CHECKING:
    from pipeline.store.repository import Store


def same_atoms(one: Atoms, other: Atoms) -> bool:
    constraints = [[c.get_indices().tolist() for c in atoms.constraints] for atoms in (one, other)]
    return bool(
        one == other and (one.get_tags() == other.get_tags()).all() and constraints[0] == constraints[1]
    )


def test_bulk_comes_back_as_it_was(store: Store) -> None:
    bulk = examples.a_bulk()
    store.save_bulks("one", [bulk])
    found = store.bulks("one")
    assert found == [bulk]
    assert store.bulk("one", bulk.id) == bulk
    assert same_atoms(found[0].atoms, bulk.atoms)


def test_surface_comes_back_as_it_was(store: Store) -> None:
    surface = examples.a_surface()
    store.save_surfaces("one", [surface])
    found = store.surface("one", surface.id)
    assert found == surface
    assert same_atoms(found.atoms, surface.atoms)


def test_site_comes_back_as_it_was(store: Store) -> None:
    site = examples.a_site()
    store.save_sites("one", [site])
    assert store.sites("one") == [site]
    assert store.site("one", site.id) == site


def test_numpy_numbers_are_stored_as_numbers(store: Store) -> None:
    site = replace(
        examples.a_site(), position=tuple(np.array([0.1, 0.2, 4.3])), images=((np.float64(0.5), 0.5),)
    )
    store.save_sites("one", [site])
    assert store.sites("one") == [site]


def test_calculation_comes_back_as_it_was(store: Store) -> None:
    calculation = examples.a_calculation()
    store.plan([calculation])
    assert store.calculation(calculation.id) == calculation


def test_observation_comes_back_as_it_was(store: Store) -> None:
    store.save_observation(examples.an_observation())
    assert store.observations() == [examples.an_observation()]


def test_round_comes_back_as_it_was(store: Store) -> None:
    record = examples.a_round()
    assert store.create_round(record) == record
    assert store.round("campaign", 0) == record


def test_model_comes_back_as_it_was(store: Store) -> None:
    record = examples.a_model()
    store.save_model(record)
    assert store.models("campaign") == [record]


def test_campaign_comes_back_as_it_was(store: Store) -> None:
    settings = {"name": "one", "seed": 3, "adsorbates": {"CO": {"target_ev": -0.67}}}
    saved = store.save_campaign("one", settings, "digest", Path("/homes/one"))
    assert store.campaign("one") == saved
    assert (saved.settings, saved.digest, saved.home) == (settings, "digest", "/homes/one")
    assert store.campaigns() == [saved]


def test_what_is_not_there_is_none_or_empty(store: Store) -> None:
    assert store.campaign("none") is None
    assert store.bulk("none", "x") is store.surface("none", "x") is store.site("none", "x") is None
    assert store.calculation("none") is None
    assert store.round("none", 0) is None
    assert store.stage("none", "bulks") is None
    assert store.bulks("none") == store.surfaces("none") == store.sites("none") == store.rounds("none") == []
    assert store.history("none") == ()
    assert store.cpu_seconds([]) == 0.0
    assert store.plan([]) == 0


def test_campaigns_of_one_database_do_not_mix(store: Store) -> None:
    """The same surface, cut at different heights by two campaigns, stays two structures."""
    store.save_surfaces("one", [examples.a_surface(height=3)])
    store.save_surfaces("two", [examples.a_surface(height=5)])
    heights = [len(store.surface(name, "surface-0001").atoms) for name in ("one", "two")]
    assert heights == [3, 5]
    store.save_sites("two", [examples.a_site()])
    assert (store.count("one", "sites"), store.count("two", "sites")) == (0, 1)


def test_saving_again_changes_nothing(store: Store) -> None:
    sites = [examples.a_site(n) for n in range(20)]
    store.save_sites("one", sites)
    store.save_sites("one", reversed(sites))
    assert store.count("one", "sites") == 20
    assert store.sites("one") == sites


def test_lists_narrow_to_the_parent(store: Store) -> None:
    store.save_surfaces("one", [examples.a_surface(n, bulk_id=f"bulk-{n % 2}") for n in range(4)])
    store.save_sites("one", [examples.a_site(n, surface_id=f"surface-{n % 2}") for n in range(4)])
    assert [s.id for s in store.surfaces("one", "bulk-1")] == ["surface-0001", "surface-0003"]
    assert [s.id for s in store.sites("one", "surface-0")] == ["site-0000", "site-0002"]


def test_a_campaign_saved_again_keeps_its_age_and_stages(store: Store) -> None:
    first = store.save_campaign("one", {"seed": 1}, "a", Path("/old"))
    store.mark_stage("one", "bulks", 5)
    second = store.save_campaign("one", {"seed": 2}, "b", Path("/new"))
    assert second.created_at == first.created_at
    assert (second.settings, second.home, second.stages) == ({"seed": 2}, "/new", {"bulks": 5})


def test_a_stage_of_an_unknown_campaign_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no campaign 'typo'"):
        store.mark_stage("typo", "bulks", 5)


def test_an_empty_stage_is_still_finished(store: Store) -> None:
    store.save_campaign("one", {"seed": 1}, "a", Path("/home"))
    assert store.stage("one", "sites") is None
    store.mark_stage("one", "sites", 0)
    assert store.stage("one", "sites") == 0


def test_elapsed_time_never_goes_down(store: Store) -> None:
    store.save_campaign("one", {"seed": 1}, "a", Path("/home"))
    store.record_elapsed("one", 20.0)
    store.record_elapsed("one", 10.0)
    assert store.campaign("one").elapsed_seconds == 20.0


def test_credentials_of_the_settings_are_not_stored(store: Store) -> None:
    settings = {"store": {"uri": "mongodb://ann:secret@host:27017/?tls=true", "database": "x"}}
    saved = store.save_campaign("one", settings, "a", Path("/home"))
    assert saved.settings == {"store": {"uri": "mongodb://host:27017/", "database": "x"}}


def test_a_round_is_chosen_once(store: Store) -> None:
    first = store.create_round(examples.a_round(seed=1))
    second = store.create_round(examples.a_round(seed=2))
    assert second == first
    assert store.rounds("campaign") == [first]


def test_rounds_are_ordered_by_number(store: Store) -> None:
    for number in (10, 2, 0):
        store.create_round(examples.a_round(number))
    assert [r.number for r in store.rounds("campaign")] == [0, 2, 10]


def test_a_round_closed_twice_keeps_its_time(store: Store) -> None:
    store.create_round(examples.a_round())
    closed = store.close_round("campaign", 0)
    assert closed.state is RoundState.CLOSED
    assert closed.closed_at is not None
    assert store.close_round("campaign", 0) == closed
    with pytest.raises(StoreError, match="no round 5"):
        store.close_round("campaign", 5)


def test_a_model_saved_again_is_replaced(store: Store) -> None:
    store.save_model(examples.a_model())
    store.save_model(examples.a_model())
    store.save_model(examples.a_model(adsorbate="H"))
    assert [m.adsorbate for m in store.models("campaign")] == ["CO", "H"]


def test_the_first_observation_of_a_calculation_stays(store: Store) -> None:
    store.save_observation(examples.an_observation(round=1))
    store.save_observation(examples.an_observation(round=2))
    assert [o.round for o in store.observations()] == [1]


def test_the_observation_of_a_later_attempt_replaces_and_outlives_an_earlier_ones(store: Store) -> None:
    for attempt in (1, 2, 1):
        store.save_observation(examples.an_observation(attempt=attempt, delta_e_ev=-float(attempt)))
    assert [o.delta_e_ev for o in store.observations()] == [-2.0]
    store.delete_observation("calc-0001", 1)
    assert len(store.observations()) == 1, "one that came since the person asked is kept"
    store.delete_observation("calc-0001", 2)
    assert store.observations() == []


def test_observations_meet_every_condition(store: Store) -> None:
    store.save_observation(examples.an_observation(1))
    store.save_observation(examples.an_observation(2, adsorbate="H"))
    store.save_observation(examples.an_observation(3, surface_id="surface-0002"))
    store.save_observation(examples.an_observation(4, recipe_digest="other"))
    conditions: list[tuple[dict[str, Any], list[int]]] = [
        ({"recipe_digest": "0123456789abcdef"}, [1, 2, 3]),
        ({"adsorbate": "H"}, [2]),
        ({"surface_ids": ["surface-0002"]}, [3]),
        ({"recipe_digest": "0123456789abcdef", "adsorbate": "CO", "surface_ids": ["surface-0001"]}, [1]),
        ({"calculation_ids": ["calc-0004", "calc-0001"]}, [1, 4]),
        ({"surface_ids": []}, []),
    ]
    for condition, numbers in conditions:
        assert [int(o.calculation_id[-4:]) for o in store.observations(**condition)] == numbers


def test_an_id_is_found_by_its_beginning(store: Store) -> None:
    store.save_bulks("one", [examples.a_bulk(1)])
    store.save_surfaces("one", [examples.a_surface(1)])
    store.save_sites("one", [examples.a_site(1), examples.a_site(10), examples.a_site(100)])
    store.save_sites("two", [examples.a_site(1)])
    store.plan([examples.a_calculation(1)])
    assert store.resolve_id("bulk-") == [("bulk", "bulk-0001")]
    assert store.resolve_id("surface-0") == [("surface", "surface-0001")]
    assert store.resolve_id("site-00") == [("site", "site-0001"), ("site", "site-0010")]
    assert store.resolve_id("site-01", "two") == []
    assert store.resolve_id("calc-0001") == [("calculation", "calc-0001")]
    assert store.resolve_id("") == store.resolve_id("nothing") == store.resolve_id("site.") == []


def test_a_whole_id_is_unique_even_if_it_begins_another(store: Store) -> None:
    store.save_sites("one", [examples.a_site(1), examples.a_site(12)])
    store.save_sites("one", [replace(examples.a_site(1), id="site-00")])
    assert store.resolve_id("site-00") == [("site", "site-00")]


def test_a_value_that_does_not_fit_the_schema_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"SiteDocument one/site-0001.*kind"):
        store.save_sites("one", [replace(examples.a_site(), kind="cellar")])
    assert store.sites("one") == []


def test_every_declared_index_exists(store: Store) -> None:
    database = store.connection.database
    for document in documents.ALL_DOCUMENTS:
        existing = [list(i["key"].items()) for i in database[document._get_collection_name()].list_indexes()]
        for index in document._meta["index_specs"] or ():
            assert index["fields"] in existing


def test_a_list_of_unfinished_calculations_uses_an_index(store: Store) -> None:
    store.plan([examples.a_calculation(n) for n in range(10)])
    plan = store.connection.database["calculations"].find({"state": "RUNNING"}).explain()
    assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])


def test_calculations_meet_every_condition(store: Store) -> None:
    store.plan(
        [
            examples.a_calculation(1),
            examples.a_calculation(2, state=CalculationState.VALID),
            examples.a_calculation(3, kind=CalculationKind.SLAB),
        ]
    )
    assert [c.id for c in store.calculations(states=[CalculationState.VALID])] == ["calc-0002"]
    assert [c.id for c in store.calculations(kinds=[CalculationKind.SLAB])] == ["calc-0003"]
    assert [c.id for c in store.calculations(["calc-0003", "none", "calc-0001"])] == [
        "calc-0003",
        "calc-0001",
    ]
    assert store.calculations(ids=[]) == []
    assert store.tally(["calc-0001", "calc-0002"]) == {
        (CalculationKind.ADSLAB, CalculationState.PLANNED): 1,
        (CalculationKind.ADSLAB, CalculationState.VALID): 1,
    }


@pytest.mark.parametrize("ids_at_once", [1, 2, 5000])
def test_what_is_required_follows_what_was_asked_for_each_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, ids_at_once: int
) -> None:
    monkeypatch.setattr("pipeline.store.calculations.IDS_AT_ONCE", ids_at_once)
    requires = {1: (8, 5), 2: (6, 5), 3: (8,), 8: (9,), 6: (7,)}
    calculations = [examples.a_calculation(n) for n in range(1, 10)]
    names = {n: c.id for n, c in enumerate(calculations, start=1)}
    needs = [tuple(names[i] for i in requires.get(n, ())) for n in names]
    store.plan(replace(c, requires=n) for c, n in zip(calculations, needs, strict=True))
    asked = [names[3], "unknown", names[2], names[1], names[3]]
    expected = [names[3], "unknown", *(names[n] for n in (2, 1, 8, 6, 5, 9, 7))]
    assert store.closure(iter(asked)) == expected
    assert store.closure([]) == []


def test_cpu_time_is_summed(store: Store) -> None:
    store.plan([examples.a_calculation(n, cpu_seconds=float(n)) for n in range(1, 5)])
    assert store.cpu_seconds() == 10.0
    assert store.cpu_seconds(["calc-0001", "calc-0004", "calc-0004"]) == 5.0
