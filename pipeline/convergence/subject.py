"""Choosing what a convergence study looks at: one bulk, surface, site and adsorbate, and where to start.

Units: eV, Å.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ConfigError
from pipeline.convergence.study import Subject
from pipeline.home import STUDY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.campaign import CampaignSettings, MillerIndex
    from pipeline.domain import Bulk, Site, Surface

DEPTH_A = 40.0
"""How deep the surface is cut: room for the layers of any series."""
NO_LIMIT = 10**6
MAX_NAME = 60


def starting_campaign(source: str, profile: str | None) -> dict[str, Any]:
    """Find the recipe, slab settings, execution and adsorbates that a study starts from.

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
        return {"recipe": load_recipe(source), "surfaces": slabs_of(source), **execution}
    if source not in preset_names() and not Path(source).exists():
        message = (
            f"--recipe {source!r} is neither a recipe nor a campaign file; recipes: "
            f"{', '.join(recipe_names())}"
        )
        raise ConfigError(message)
    settings = load_campaign(source, profile)
    return {key: getattr(settings, key) for key in ("recipe", "surfaces", "execution", "adsorbates")}


def study_settings(
    bulk: str, miller: MillerIndex, adsorbate: str, start: dict[str, Any], cpu_hours: float
) -> CampaignSettings:
    """Make the campaign that a study is, at its starting recipe.

    Raises
    ------
    ConfigError
        If something in it is not allowed.
    """
    from pydantic import ValidationError

    from config.campaign import CampaignSettings
    from config.explain import find_problems
    from config.yaml_text import dotted

    surfaces = start["surfaces"].model_copy(update={"miller_indices": (), "max_atoms": 1000}).model_dump()
    try:
        return CampaignSettings.model_validate(
            {
                **start,
                "name": _name(bulk, miller, adsorbate, start["recipe"].name),
                "bulks": _selection(bulk),
                "surfaces": {**surfaces, "miller_indices": [miller]},
                "adsorbates": {adsorbate: start.get("adsorbates", {}).get(adsorbate, {})},
                "budget": {"rounds": 0, "cpu_hours": cpu_hours},
            }
        )
    except ValidationError as error:
        problems = (f"{dotted(path)}: {text}" for path, text in find_problems(error).items())
        raise ConfigError("; ".join(problems)) from error


def _name(bulk: str, miller: MillerIndex, adsorbate: str, recipe: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(bulk).stem if _is_file(bulk) else bulk).strip("-.")
    tail = f"-{''.join(map(str, miller))}-{adsorbate}-{recipe.replace('+', '-')}"
    room = max(1, MAX_NAME - len(STUDY_PREFIX) - len(tail))
    return f"{STUDY_PREFIX}{stem[:room]}{tail}"[:MAX_NAME]


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


def choose_subject(
    settings: CampaignSettings, surface: str | None, site: str | None
) -> tuple[Subject, list[str]]:
    """Find the surface and the site to look at.

    Parameters
    ----------
    surface
        Id, its unique beginning, or label of one of the facet's terminations; the first when left out.
    site
        Id, its unique beginning, label, or kind; the most coordinated when left out.

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
    found = _choose(_of_kind(sites, site), site, "site") if site else _most_coordinated(sites)
    (adsorbate,) = settings.adsorbates
    notes = []
    if len(surfaces) > 1 and surface is None:
        notes.append(_choice("termination", chosen, surfaces, "--surface"))
    if len(sites) > 1 and site is None:
        notes.append(_choice("site", found, sites, "--site"))
    return Subject(bulk, chosen, found, tuple(sites), adsorbate), notes


def _one_bulk(settings: CampaignSettings) -> Bulk:
    from pipeline.enumeration import select_bulks

    bulks = select_bulks(settings, Path())
    if len(bulks) > 1:
        given = (*settings.bulks.ids, *settings.bulks.files)[0]
        message = f"{given} holds {len(bulks)} crystals; a study looks at one: give a file of one"
        raise ConfigError(message)
    return bulks[0]


def _of_kind(sites: Sequence[Site], given: str | None) -> list[Site]:
    """Sites of a kind, the most coordinated of them alone, if a kind was given; else all."""
    same = [s for s in sites if s.kind == given]
    return [_most_coordinated(same)] if same else list(sites)


def _most_coordinated(sites: Sequence[Site]) -> Site:
    return max(sites, key=lambda s: sum(n for _, n in s.first_shell))


def _choose(things: Sequence[Any], given: str, what: str) -> Any:
    if what == "site" and len(things) == 1 and things[0].kind == given:
        return things[0]
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
