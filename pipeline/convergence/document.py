"""A convergence study as one document, and what a person pastes into a campaign. Units: eV, CPU-seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from config.campaign import SurfaceSettings
from config.loader import load_campaign, load_recipe, preset_names, recipe_names
from config.recipe import LABELS
from pipeline.convergence.report import RecipeFinding, recommend, series_results
from pipeline.convergence.ruler import Ruler
from pipeline.convergence.series import PARAMETERS, Setting, base_name
from pipeline.convergence.study import equilibrium_scale, measure
from pipeline.domain import TERMINAL
from pipeline.structures.ids import slab_geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.convergence.report import Recommendation, SeriesResult
    from pipeline.convergence.series import Parameter, Point
    from pipeline.convergence.study import Measured, StudyCampaign

LIMITS = frozenset({"max_steps", "scf_max_iterations"})
"""Settings that no finished calculation depends on."""


def study_results(campaign: StudyCampaign, ruler: Ruler, tolerance_ev: float) -> list[SeriesResult]:
    """Read what came of every point, meshes as the ruler tells them."""
    study = campaign.study
    measured = {p.setting: measure(campaign, p.setting) for s in study.series for p in s.points}
    series = [
        replace(
            s,
            points=tuple(ruler.measure(s.parameter, p.setting, is_start=p.is_start) for p in s.points),
        )
        for s in study.series
    ]
    return series_results(series, measured, tolerance_ev)


def study_document(campaign: StudyCampaign, tolerance_ev: float) -> dict[str, Any]:
    """Everything that a study has found, as plain JSON values."""
    study, subject = campaign.study, campaign.study.subject
    ruler = Ruler(subject.surface, equilibrium_scale(campaign))
    results = study_results(campaign, ruler, tolerance_ev)
    best = recommend(study.start, results)
    calculations = campaign.calculations()
    n_left = sum(c.state not in TERMINAL for c in calculations)
    return {
        "study": campaign.name,
        "home": str(campaign.home.path),
        "bulk": {"id": subject.bulk.id, "source": subject.bulk.source_id, "formula": subject.bulk.formula},
        "surface": {"id": subject.surface.id, "label": subject.surface.label},
        "site": {"id": subject.site.id, "label": subject.site.label},
        "adsorbate": subject.adsorbate,
        "tolerance_ev": tolerance_ev,
        "start": {"recipe": study.start.recipe.name, "surfaces": slab_geometry(study.start.surfaces)},
        "series": [_series_document(result) for result in results],
        "recommended": _recommended_document(best, tolerance_ev, is_complete=n_left == 0),
        "recipes": [_recipe_document(f) for f in recipe_findings(study.start, ruler, results, tolerance_ev)],
        "calculations": len(calculations),
        "calculations_left": n_left,
        "cpu_hours": campaign.cpu_hours_spent(),
        "yaml": yaml_text(best.setting),
    }


def _series_document(result: SeriesResult) -> dict[str, Any]:
    known = result.known
    return {
        "parameter": result.parameter.name,
        "title": result.parameter.title,
        "axis": result.parameter.axis,
        "section": result.parameter.section,
        "key": result.parameter.key,
        "points": [_point_document(result, p, m) for p, m in result.points],
        "reference": result.reference.label if result.reference else None,
        "is_converged": result.is_converged,
        "meets_from": known[result.first][0].label if result.is_converged else None,
    }


def _point_document(result: SeriesResult, point: Point, measured: Measured) -> dict[str, Any]:
    error = result.error_ev(measured)
    return {
        "label": point.label,
        "x": point.x,
        "setting": point.setting.given(result.parameter),
        "is_start": point.is_start,
        "delta_e_ev": measured.delta_e_ev,
        "error_ev": error,
        "meets": None if error is None else result.find(point.level).verdict.value,
        "cpu_seconds": measured.cpu_seconds,
        "atoms": measured.n_atoms,
        "calculation_id": measured.calculation_id,
        "state": measured.state.value,
        "code": measured.code.value if measured.code else None,
        "message": measured.message,
    }


def _recommended_document(best: Recommendation, tolerance_ev: float, *, is_complete: bool) -> dict[str, Any]:
    total = sum(map(abs, best.errors_ev.values()))
    return {
        "settings": {name: point.label for name, point in best.chosen.items()},
        "errors_ev": dict(best.errors_ev),
        "errors_add_up_to_ev": total,
        "meets": is_complete and best.is_shown and total <= tolerance_ev,
    }


def _recipe_document(finding: RecipeFinding) -> dict[str, Any]:
    return {
        "recipe": finding.name,
        "meets": finding.verdict.value,
        "errors_add_up_to_ev": finding.errors_add_up_to_ev,
        "parameters": {
            name: {"label": point.label, "meets": f.verdict.value, "error_ev": f.error_ev}
            for name, (point, f) in finding.findings.items()
        },
        "differs_in": list(finding.differs_in),
    }


def recipe_findings(
    start: Setting, ruler: Ruler, results: Sequence[SeriesResult], tolerance_ev: float
) -> list[RecipeFinding]:
    """Judge the start and every shipped recipe of the same engine by what was computed.

    A recipe goes with the slab settings of the preset of its name, or with the default ones.
    """
    shipped = {name: Setting(load_recipe(name), slabs_of(name)) for name in recipe_names()}
    same = next((name for name, setting in shipped.items() if setting.is_same_as(start)), None)
    settings = {f"{same or start.recipe.name} (the start)": start}
    others = (n for n, s in shipped.items() if n != same and s.recipe.engine == start.recipe.engine)
    settings |= {name: shipped[name] for name in others}
    varied = {key for r in results for key in r.parameter.keys}
    return [
        RecipeFinding(
            name=name,
            findings={
                r.parameter.name: (point, r.find(point.level))
                for r in results
                for point in [_point(ruler, r.parameter, setting, start)]
            },
            tolerance_ev=tolerance_ev,
            differs_in=_differences(start, setting, varied),
        )
        for name, setting in settings.items()
    ]


def _point(ruler: Ruler, parameter: Parameter, setting: Setting, start: Setting) -> Point:
    """Measure a recipe's setting; its mesh is told together with its supercell if that is another one."""
    point = ruler.measure(parameter, setting)
    cell = ruler.measure(PARAMETERS["supercell"], setting).label
    if parameter.name == "kpoints" and cell != ruler.measure(PARAMETERS["supercell"], start).label:
        return replace(point, label=f"{point.label} on {cell}")
    return point


def slabs_of(recipe: str) -> SurfaceSettings:
    """Slab settings that go with a shipped recipe: its preset's, or the default ones."""
    return load_campaign(recipe).surfaces if recipe in preset_names() else SurfaceSettings()


def _differences(start: Setting, other: Setting, varied: set[str]) -> tuple[str, ...]:
    """Keys outside ``varied`` that two settings do not have in common."""
    pairs = {
        name: (getattr(start.recipe, name), getattr(other.recipe, name))
        for name in type(start.recipe).model_fields
        if name not in LABELS | LIMITS
    }
    first, second = slab_geometry(start.surfaces), slab_geometry(other.surfaces)
    pairs |= {name: (first[name], second[name]) for name in first}
    return tuple(name for name, (a, b) in pairs.items() if a != b and name not in varied)


def yaml_text(setting: Setting) -> str:
    """Write a setting as the ``recipe`` and ``surfaces`` of a campaign file."""
    base = load_recipe(base_name(setting.recipe))
    lines = ["recipe:", f"  base: {base.name}"]
    for name in type(base).model_fields:
        value = getattr(setting.recipe, name)
        if name not in LABELS and value != getattr(base, name):
            lines.append(f"  {name}: {json.dumps(value)}")
    lines.append("surfaces:")
    lines += [f"  {name}: {json.dumps(value)}" for name, value in slab_geometry(setting.surfaces).items()]
    return "\n".join(lines) + "\n"
