"""Making a convergence study of what a person gives: bulk, surface, site, adsorbate, start, values.

Units: eV, Å.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ConfigError
from pipeline.convergence.ruler import Ruler
from pipeline.convergence.series import PARAMETERS, Setting, checked
from pipeline.convergence.study import Study, Subject
from pipeline.home import STUDY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.campaign import CampaignSettings, MillerIndex
    from pipeline.domain import Bulk, Site, Surface

DEPTH_A = 40.0
"""How deep the surface is cut: room for the layers of any series."""
NO_LIMIT = 10**6
MAX_NAME = 60


def starting_campaign(source: str, profile: str | None) -> dict[str, Any]:
    """Find the name, recipe, slab settings, execution and adsorbates that a study starts from.

    Parameters
    ----------
    source
        A shipped recipe, which goes with the slabs of the preset of its name or the default ones; or a
        campaign file.
    profile
        Execution profile to use instead of the campaign file's ``execution``.

    Raises
    ------
    ConfigError
        If there is neither such a recipe nor such a file.
    """
    from config.loader import load_campaign, load_recipe, preset_names, recipe_names
    from config.profiles import load_profile
    from pipeline.convergence.document import slabs_of

    if source in recipe_names():
        execution = {"execution": {**load_profile(profile), "profile": profile}} if profile else {}
        return {"name": source, "recipe": load_recipe(source), "surfaces": slabs_of(source), **execution}
    if source not in preset_names() and not Path(source).exists():
        message = (
            f"--recipe {source!r} is neither a recipe nor a campaign file; recipes: "
            f"{', '.join(recipe_names())}"
        )
        raise ConfigError(message)
    settings = load_campaign(source, profile)
    return {key: getattr(settings, key) for key in ("name", "recipe", "surfaces", "execution", "adsorbates")}


def study_settings(
    bulk: str, miller: MillerIndex, adsorbate: str, start: dict[str, Any], cpu_hours: float
) -> CampaignSettings:
    """Make the campaign that a study is, at its starting recipe.

    Raises
    ------
    ConfigError
        If something in it is not allowed.
    """
    from config.adsorbates import shipped
    from config.campaign import CampaignSettings

    surfaces = start["surfaces"].model_copy(update={"miller_indices": (), "max_atoms": 1000}).model_dump()
    no_target = {} if "target_ev" in shipped().get(adsorbate, {}) else {"target_ev": 0.0}
    return checked(
        CampaignSettings,
        {
            **start,
            "name": _name(bulk, miller, adsorbate, start["name"]),
            "bulks": _selection(bulk),
            "surfaces": {**surfaces, "miller_indices": [miller]},
            # A study aims at nothing: where no target is known, any will do.
            "adsorbates": {adsorbate: start.get("adsorbates", {}).get(adsorbate, no_target)},
            "budget": {"rounds": 0, "cpu_hours": cpu_hours},
        },
    )


def _name(bulk: str, miller: MillerIndex, adsorbate: str, start: str) -> str:
    stem = _plain(Path(bulk).stem if _is_file(bulk) else bulk).strip("-.")
    tail = f"-{''.join(map(str, miller))}-{_plain(adsorbate)}-{_plain(start)}"
    room = max(1, MAX_NAME - len(STUDY_PREFIX) - len(tail))
    return f"{STUDY_PREFIX}{stem[:room]}{tail}"[:MAX_NAME]


def _plain(text: str) -> str:
    """Leave only what the name of a campaign may hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def _is_file(bulk: str) -> bool:
    return Path(bulk).suffix != "" or Path(bulk).exists()


def _selection(bulk: str) -> dict[str, Any]:
    given = {"files": (str(Path(bulk).expanduser().resolve()),)} if _is_file(bulk) else {"ids": (bulk,)}
    return {**given, "with_pure_elements": False}


def parse_miller(text: str) -> MillerIndex:
    """Read a Miller index: ``111``, ``1,-1,0``, ``[2 1 1]``.

    Raises
    ------
    ConfigError
        If it is none.
    """
    from config.campaign import MAX_MILLER_INDEX

    inner = text.strip().strip("()[]")
    parts = re.findall(r"-?\d", inner) if re.fullmatch(r"(-?\d){3}", inner) else re.split(r"[\s,]+", inner)
    try:
        h, k, l = (int(part) for part in parts)  # noqa: E741  (the crystallographers' names)
    except ValueError as error:
        message = f"--miller {text!r} is no Miller index; write it as 111, 1,-1,0 or '1 1 0'"
        raise ConfigError(message) from error
    if not any((h, k, l)) or max(abs(h), abs(k), abs(l)) > MAX_MILLER_INDEX:
        message = f"--miller {text!r}: allowed are -{MAX_MILLER_INDEX} to {MAX_MILLER_INDEX}, not all zero"
        raise ConfigError(message)
    return h, k, l


def make_study(
    settings: CampaignSettings,
    surface: str | None,
    site: str | None,
    wanted: Mapping[str, Sequence[float] | None],
) -> tuple[Study, list[str]]:
    """Put together a study of the surface and site, with a series for each parameter.

    Parameters
    ----------
    settings
        From :func:`study_settings`.
    surface, site
        As :func:`choose_subject` takes them.
    wanted
        Values by name of the parameter; None for the default ones.

    Returns
    -------
    Study, list of str
        And what was chosen among several, in sentences for the user.
    """
    subject, notes = choose_subject(settings, surface, site)
    ruler, start = Ruler(subject.surface), Setting(settings.recipe, settings.surfaces)
    series = tuple(ruler.series(PARAMETERS[name], start, values) for name, values in wanted.items())
    study = Study(subject, settings, series)
    budget = settings.budget.model_copy(update={"calculations": len(study.adslab_ids)})
    return replace(study, settings=settings.model_copy(update={"budget": budget})), notes


def choose_subject(
    settings: CampaignSettings, surface: str | None, site: str | None
) -> tuple[Subject, list[str]]:
    """Find the surface and the site to look at.

    Parameters
    ----------
    surface
        Id, its unique beginning, or label of one of the facet's terminations; the first when left out.
    site
        Id, its unique beginning, label with or without that of the surface, or kind; the most coordinated
        when left out.

    Returns
    -------
    Subject, list of str
        And what was chosen among several, in sentences for the user.

    Raises
    ------
    ConfigError
        If the bulk, surface or site does not exist or is ambiguous.
    StructureError
        If a structure file is unusable.
    """
    from pipeline.enumeration import find_sites
    from pipeline.structures.surfaces import enumerate_surfaces

    bulk = _one_bulk(settings)
    deep = settings.surfaces.model_copy(
        update={"min_height_a": DEPTH_A, "min_lateral_a": 2.0, "max_atoms": NO_LIMIT}
    )
    surfaces = enumerate_surfaces(bulk, deep)
    chosen = _choose(surfaces, surface, "surface") if surface else surfaces[0]
    sites = find_sites([chosen])
    found = _choose_site(sites, site, chosen.label) if site else _most_coordinated(sites)
    (adsorbate,) = settings.adsorbates
    notes = []
    if len(surfaces) > 1 and surface is None:
        notes.append(_choice("termination", chosen, surfaces, "--surface"))
    if len(sites) > 1 and site is None:
        notes.append(_choice("site", found, sites, "--site"))
    return Subject(bulk, chosen, found, tuple(sites), adsorbate), notes


def _one_bulk(settings: CampaignSettings) -> Bulk:
    from pipeline.enumeration import select_bulks

    bulks, _ = select_bulks(settings, Path())
    if len(bulks) > 1:
        given = (*settings.bulks.ids, *settings.bulks.files)[0]
        message = f"{given} holds {len(bulks)} crystals; a study looks at one: give a file of one"
        raise ConfigError(message)
    return bulks[0]


def _choose_site(sites: Sequence[Site], given: str, surface: str) -> Site:
    same = [s for s in sites if s.kind == given]
    if same:
        return _most_coordinated(same)
    whole = [s.label for s in sites if s.label.removeprefix(surface).strip() == given]
    site: Site = _choose(sites, whole[0] if whole else given, "site")
    return site


def _most_coordinated(sites: Sequence[Site]) -> Site:
    return max(sites, key=lambda s: sum(n for _, n in s.first_shell))


def _choose(things: Sequence[Any], given: str, what: str) -> Any:
    found = [t for t in things if t.id.startswith(given) or t.label == given]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{t.id} ({t.label})" for t in things)
    message = (
        f"--{what} {given!r} names {'no' if not found else 'more than one'} {what} here; there are: {listed}"
    )
    raise ConfigError(message)


def _choice(what: str, chosen: Surface | Site, among: Sequence[Surface | Site], option: str) -> str:
    others = "; ".join(f"{t.label} ({t.id})" for t in among if t.id != chosen.id)
    return f"{what}: {chosen.label}; {option} chooses another: {others}"
