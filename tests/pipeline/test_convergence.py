"""Convergence studies: what is varied, what is shared, and what the results are said to show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.campaign import SurfaceSettings
from config.errors import ConfigError
from config.loader import load_recipe, parse_campaign
from config.profiles import PROFILES_VARIABLE
from dft.jobs import CalculationKind
from pipeline.candidates import Planner
from pipeline.convergence.document import slabs_of, yaml_text
from pipeline.convergence.plot import plot_study
from pipeline.convergence.report import SeriesResult, Verdict, recommend
from pipeline.convergence.ruler import Ruler
from pipeline.convergence.series import PARAMETERS, Point, Setting
from pipeline.convergence.study import Measured, Study
from pipeline.convergence.subject import (
    choose_subject,
    make_study,
    parse_miller,
    starting_campaign,
    study_settings,
)
from pipeline.domain import CalculationState
from pipeline.structures.slabs import build_slab, repetition

TOLERANCE_EV = 0.05


def study_of(bulk: str, wanted: dict[str, list[float] | None], recipe: str = "demo") -> Study:
    """Make a study of H on the (111) or (110) face of a library bulk."""
    miller = (1, 1, 0) if bulk == "mp-1018029" else (1, 1, 1)
    settings = study_settings(bulk, miller, "H", starting_campaign(recipe, None), 1.0)
    return make_study(settings, None, None, wanted)[0]


@pytest.mark.parametrize("bulk", ["mp-30", "mp-1018029"])
def test_slabs_have_the_layers_and_cells_that_were_asked_for(bulk: str) -> None:
    study = study_of(bulk, {"layers": [2, 3, 4, 5, 6, 7], "supercell": [1, 2, 3]})
    layers, supercell = study.series
    surface = study.subject.surface
    for n, point in zip(range(2, 8), layers.points, strict=True):
        assert build_slab(surface, 1.0, point.setting.surfaces).get_tags().max() == n
        assert point.label == f"{n} layers"
    shortest = min(surface.atoms.cell.lengths()[:2])
    for n, point in zip((1, 2, 3), supercell.points, strict=True):
        plane = surface.atoms.cell.array[:2, :2]
        repeats = repetition(plane, point.setting.surfaces.min_lateral_a)
        assert min(repeats * surface.atoms.cell.lengths()[:2]) == pytest.approx(n * shortest)


def test_values_that_come_to_the_same_calculation_are_one_point() -> None:
    (series,) = study_of("mp-30", {"kpoints": [1.65, 1.69, 1.6, 2.0]}).series
    assert [p.label for p in series.points] == ["5×5", "6×6"]
    (start,) = (p for p in series.points if p.is_start)
    assert start.setting.recipe == load_recipe("demo")


def test_a_series_of_the_start_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--cutoff: all values come to 400 eV"):
        study_of("mp-30", {"cutoff": [400.0]})


@pytest.mark.parametrize("count", [0, -1, 2.5, float("nan"), float("inf")])
def test_layers_and_cells_are_counted(count: float) -> None:
    for name in ("layers", "supercell"):
        with pytest.raises(ConfigError, match=f"--{name} .*must be a whole number from 1"):
            study_of("mp-30", {name: [count]})


def test_slabs_lower_than_a_campaign_may_have_are_refused_and_no_default() -> None:
    settings = study_settings("mp-30", (2, 1, 1), "H", starting_campaign("demo", None), 1.0)
    with pytest.raises(ConfigError, match=r"--layers 3: is 1\.5 Å high here"):
        make_study(settings, None, None, {"layers": [3]})
    low = settings.model_copy(update={"surfaces": settings.surfaces.model_copy(update={"min_height_a": 2.0})})
    (series,) = make_study(low, None, None, {"layers": None})[0].series
    assert series.points[0].is_start
    assert series.points[0].label == "4 layers"


def test_the_budget_is_what_the_study_takes() -> None:
    study = study_of("mp-30", {"vacuum": [12], "layers": [4]})
    assert study.settings.budget.calculations == len(study.adslab_ids) == 3


def test_defaults_vary_every_parameter_around_the_start() -> None:
    for recipe in ("demo", "screening", "gaspy"):
        for series in study_of("mp-30", dict.fromkeys(PARAMETERS), recipe).series:
            levels = [p.level for p in series.points]
            assert levels == sorted(set(levels))
            assert len(levels) >= 3
            assert [p.is_start for p in series.points].count(True) == 1
            assert not series.points[-1].is_start, "something is denser than the start"


@pytest.mark.parametrize("name", ["smearing", "fmax"])
def test_smaller_smearings_and_forces_are_the_denser_ones(name: str) -> None:
    (series,) = study_of("mp-30", {name: [0.01, 0.3]}).series
    values = [getattr(p.setting.recipe, PARAMETERS[name].key) for p in series.points]
    start = getattr(load_recipe("demo"), PARAMETERS[name].key)
    assert values == [0.3, start, 0.01]
    assert [p.label for p in series.points] == [f"{v:g} {PARAMETERS[name].unit}" for v in values]
    for places in ([p.level for p in series.points], [p.x for p in series.points]):
        assert places == sorted(places)


def test_every_energy_has_its_slab_and_gas_at_identical_settings() -> None:
    study = study_of("mp-30", {"cutoff": [300, 500], "kpoints": [2, 3], "vacuum": [12], "supercell": [2]})
    points = [p for s in study.series for p in s.points]
    for point in points:
        adslab = study.calculations[study.adslab_id(point.setting)]
        needed = [study.calculations[i] for i in adslab.requires]
        assert {c.kind for c in needed} == {CalculationKind.SLAB, CalculationKind.GAS}
        for c in needed:
            own, reference = study.settings_of[adslab.id], study.settings_of[c.id]
            assert reference.recipe.cutoff_ev == own.recipe.cutoff_ev == point.setting.recipe.cutoff_ev
            if c.kind is CalculationKind.SLAB:
                assert (reference.recipe, reference.surfaces) == (own.recipe, own.surfaces)
    assert len(study.adslab_ids) == len({p.setting for p in points}) == 7


def test_what_a_parameter_does_not_touch_is_computed_once() -> None:
    def count(name: str, values: list[float]) -> dict[str, int]:
        kinds = [c.kind for c in study_of("mp-30", {name: values}).calculations.values()]
        return {kind.value: kinds.count(kind) for kind in CalculationKind}

    assert count("cutoff", [300, 500]) == {"gas": 3, "bulk": 3, "slab": 3, "adslab": 3}
    for name, values in {"kpoints": [2.0, 3.0], "layers": [4.0, 5.0], "vacuum": [12.0, 16.0]}.items():
        assert count(name, values) == {"gas": 1, "bulk": 1, "slab": 3, "adslab": 3}, name


def test_the_start_is_the_same_calculation_as_in_a_campaign() -> None:
    study = study_of("mp-30", {"kpoints": [2, 3]})
    planner = Planner(study.settings)
    (candidate,) = planner.candidates([study.subject.site])
    usual = planner.calculations(candidate, study.subject.surface, study.subject.bulk)
    assert [c.id for c in usual] == list(study.calculations)[:4]


# -- what results show ------------------------------------------------------------------------------


def result_of(
    energies: list[float | None], name: str = "cutoff", tolerance_ev: float = TOLERANCE_EV
) -> SeriesResult:
    """Make a series of made-up energies at 100, 200, ... (any unit), the first being the start."""
    setting = Setting(load_recipe("demo"), SurfaceSettings())
    parameter = PARAMETERS[name]
    points = []
    for i, energy in enumerate(energies, start=1):
        changed = setting.with_value(parameter, 150.0 * i if name == "cutoff" else 4.0 * i)
        point = Point(f"{i}", 100.0 * i, 100.0 * i, changed, is_start=i == 1)
        state = CalculationState.VALID if energy is not None else CalculationState.FAILED
        points.append((point, Measured(f"calc-{i}", state, None, "", energy, 1.0, 4)))
    return SeriesResult(parameter, tuple(points), tolerance_ev)


def verdicts(result: SeriesResult, levels: list[float]) -> list[str]:
    return [result.find(level).verdict.value for level in levels]


def test_settings_between_and_beyond_those_computed_are_judged_only_as_far_as_known() -> None:
    result = result_of([0.3, 0.2, 0.03, 0.01, 0.0])
    assert result.is_converged
    assert result.known[result.first][0].level == 300
    assert verdicts(result, [100, 150, 200]) == ["no"] * 3
    assert verdicts(result, [250]) == ["unknown"]
    assert verdicts(result, [300, 350, 500, 900]) == ["yes"] * 4
    assert result.find(350).error_ev == pytest.approx(0.03)
    assert verdicts(result_of([0.01, 0.0]), [50]) == ["unknown"]


def test_being_right_by_chance_does_not_count() -> None:
    result = result_of([0.01, 0.2, 0.0, -0.01])
    assert verdicts(result, [100, 200, 300]) == ["no", "no", "yes"]


def test_a_series_whose_last_step_is_too_large_shows_nothing() -> None:
    result = result_of([0.3, 0.1, 0.0])
    assert not result.is_converged
    assert verdicts(result, [200, 300, 400]) == ["no", "unknown", "unknown"]


def test_points_without_an_energy_are_left_out_even_the_densest() -> None:
    result = result_of([0.02, None, 0.0, None])
    assert result.reference is not None
    assert result.reference.level == 300
    assert result.errors_ev == pytest.approx([0.02, 0.0])
    assert result.is_converged
    nothing = result_of([None, None])
    assert (nothing.reference, nothing.is_converged, nothing.known) == (None, False, [])
    assert nothing.find(100).verdict is Verdict.UNKNOWN


energies = st.lists(st.floats(-1, 1), min_size=2, max_size=7)


@given(energies, st.floats(0.001, 1.0))
def test_a_setting_that_meets_has_none_denser_that_does_not(values: list[float], tolerance_ev: float) -> None:
    result = result_of(list(values), "vacuum", tolerance_ev)
    told = verdicts(result, [p.level for p, _ in result.points])
    if "yes" in told:
        assert set(told[told.index("yes") :]) == {"yes"}
        assert all(abs(e) <= tolerance_ev for e in result.errors_ev[told.index("yes") :])


@given(energies, energies, st.floats(0.001, 1.0))
def test_recommended_settings_meet_the_tolerance_together(
    first: list[float], second: list[float], tolerance_ev: float
) -> None:
    results = [
        result_of(list(first), "cutoff", tolerance_ev),
        result_of(list(second), "vacuum", tolerance_ev),
    ]
    start = results[0].points[0][0].setting
    best = recommend(start, results)
    assert sum(map(abs, best.errors_ev.values())) <= tolerance_ev
    assert best.setting.recipe.cutoff_ev == best.chosen["cutoff"].setting.recipe.cutoff_ev
    assert best.setting.surfaces.vacuum_a == best.chosen["vacuum"].setting.surfaces.vacuum_a
    assert best.is_shown == all(r.is_converged for r in results)


def test_settings_are_refined_until_their_errors_add_up_to_less_than_the_tolerance() -> None:
    results = [result_of([0.04, 0.01, 0.0]), result_of([0.03, 0.02, 0.0], "vacuum")]
    best = recommend(results[0].points[0][0].setting, results)
    assert best.errors_ev == pytest.approx({"cutoff": 0.01, "vacuum": 0.03})


@pytest.mark.parametrize("recipe", ["demo", "screening", "gaspy"])
def test_what_is_to_be_pasted_into_a_campaign_means_the_recommended_settings(recipe: str) -> None:
    start = Setting(load_recipe(recipe), slabs_of(recipe))
    changed = start.with_value(PARAMETERS["kpoints"], 2.25).with_value(PARAMETERS["layers"], 8.3)
    for setting in (start, changed):
        text = f"name: pasted\nbulks: {{ids: [mp-30]}}\nadsorbates: {{H: {{}}}}\n{yaml_text(setting)}"
        campaign = parse_campaign(text, "pasted", Path())
        assert Setting(campaign.recipe, campaign.surfaces).is_same_as(setting)
        assert campaign.recipe.slab_kpoint_mesh == setting.recipe.slab_kpoint_mesh


def test_a_density_takes_the_place_of_a_fixed_mesh() -> None:
    (series,) = study_of("mp-30", {"kpoints": [4.0]}, "gaspy").series
    start, denser = series.points
    assert start.setting.recipe.slab_kpoint_mesh == (4, 4)
    assert (denser.setting.recipe.slab_kpoint_mesh, denser.label) == (None, "6×6")


def test_points_without_an_energy_do_not_spoil_the_picture(tmp_path: Path) -> None:
    from pipeline.convergence.document import _series_document

    series = [_series_document(r) for r in (result_of([0.1, None, 0.0]), result_of([None, None]))]
    document = {
        "series": series, "tolerance_ev": 0.05, "adsorbate": "H",
        "site": {"label": "Cu(111) hollow"}, "start": {"recipe": "demo"},
    }  # fmt: skip
    path = plot_study(document, tmp_path / "plot.png")
    assert path.read_bytes().startswith(b"\x89PNG")


# -- what a person gives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "miller"),
    [("111", (1, 1, 1)), ("1-10", (1, -1, 0)), ("1,-1,0", (1, -1, 0)), ("[2 1 1]", (2, 1, 1))],
)
def test_miller_indices_are_read_as_people_write_them(text: str, miller: tuple[int, int, int]) -> None:
    assert parse_miller(text) == miller


@pytest.mark.parametrize("text", ["", "11", "1111", "000", "abc", "1,1,11", "1.5,1,1"])
def test_what_is_no_miller_index_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--miller"):
        parse_miller(text)


def test_the_most_coordinated_site_is_taken_unless_a_person_says_otherwise() -> None:
    settings = study_settings("mp-30", (1, 1, 1), "H", starting_campaign("demo", None), 1.0)
    subject, notes = choose_subject(settings, None, None)
    assert sum(n for _, n in subject.site.first_shell) == 3
    assert len(notes) == 1
    top, _ = choose_subject(settings, None, "top")
    assert top.site.kind == "top"
    by_id, notes = choose_subject(settings, None, top.site.id[:-1])
    assert (by_id.site.id, notes) == (top.site.id, [])


def test_a_site_is_known_by_its_label_as_rankings_show_it() -> None:
    settings = study_settings("mp-1018029", (1, 1, 1), "H", starting_campaign("demo", None), 1.0)
    for terminated, site in (("Cu", "hollow Cu2Pd"), ("Pd", "hollow Pd3")):
        surface = f"CuPd(111) {terminated}-terminated"
        for label in (site, f"{surface} {site}"):
            subject, _ = choose_subject(settings, surface, label)
            assert subject.site.label == f"{surface} {site}"


def test_a_study_needs_no_target() -> None:
    settings = study_settings("mp-30", (1, 1, 1), "OOH", starting_campaign("demo", None), 1.0)
    assert list(settings.adsorbates) == ["OOH"]
    published = study_settings("mp-30", (1, 1, 1), "CO", starting_campaign("demo", None), 1.0)
    assert published.adsorbates["CO"].target_ev == -0.67


@pytest.mark.parametrize("name", ["h", "../x", "X x"])
def test_an_adsorbate_that_is_none_is_all_that_is_complained_of(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^adsorbates.{name}: unknown adsorbate"):
        study_settings("mp-30", (1, 1, 1), name, starting_campaign("demo", None), 1.0)


def test_studies_from_different_campaign_files_do_not_share_a_name(tmp_path: Path) -> None:
    names = set()
    for source, height in (("thin", 4.0), ("thick", 9.0)):
        path = tmp_path / f"{source}.yaml"
        path.write_text(
            f"name: {source}\nbulks: {{ids: [mp-30]}}\nadsorbates: {{H: {{}}}}\nrecipe: demo\n"
            f"surfaces: {{min_height_a: {height}}}\n"
        )
        start = starting_campaign(str(path), None)
        names.add(study_settings("mp-30", (1, 1, 1), "H", start, 1.0).name)
    assert names == {"converge-mp-30-111-H-thin", "converge-mp-30-111-H-thick"}


def test_a_study_keeps_its_name_short_enough_for_a_campaign() -> None:
    start = starting_campaign("screening", None)
    settings = study_settings("mp-30", (1, 1, 1), "H", start, 1.0)
    assert settings.name == "converge-mp-30-111-H-screening"
    for name in ("screening", "s" * 60):
        long = study_settings("mp-1018029" * 9, (10, -10, 10), "CO", {**start, "name": name}, 1.0)
        assert len(long.name) <= 60


def test_more_series_keep_the_calculations_of_fewer() -> None:
    fewer, more = study_of("mp-30", {"vacuum": [12]}), study_of("mp-30", {"vacuum": [12, 16], "layers": [4]})
    assert set(fewer.calculations) < set(more.calculations)


def test_a_study_runs_where_a_profile_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text("cluster: {backend: slurm, partition: short}\n")
    monkeypatch.setenv(PROFILES_VARIABLE, str(profiles))
    for source in ("demo", "screening"):
        settings = study_settings("mp-30", (1, 1, 1), "H", starting_campaign(source, "cluster"), 1.0)
        assert (settings.execution.backend, settings.execution.profile) == ("slurm", "cluster")


def test_meshes_are_compared_per_surface_cell() -> None:
    study = study_of("mp-30", {"kpoints": [2.0]})
    ruler = Ruler(study.subject.surface)
    wide = study.start.with_value(PARAMETERS["supercell"], 5.0)
    narrow, folded = (ruler.measure(PARAMETERS["kpoints"], s) for s in (study.start, wide))
    assert (narrow.label, folded.label) == ("5×5", "3×3")
    assert (narrow.level, folded.level) == (25, 36), "3×3 of a 2×2 cell samples like 6×6 of one cell"
