"""Campaign files to settings: YAML in, :class:`CampaignSettings` or one complete error out.

A bad file fails here, before anything is computed. The error lists every problem of the file with its
line, the dotted key, the value given and what is allowed instead, with the closest spelling.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.campaign import PATH_KEYS, CampaignSettings
from config.describe import section_models
from config.errors import ConfigError
from config.explain import KeyPath, Problems, find_problems, quote, report, suggestion
from config.profiles import load_profile, resolve_execution
from config.recipe import RecipeSettings
from config.yaml_text import parse_mapping, read_text

PRESETS = Path(__file__).with_name("presets")
RECIPES = Path(__file__).with_name("recipes")


def load_campaign(path_or_preset: str | Path, profile: str | None = None) -> CampaignSettings:
    """Read a campaign file, or a preset by its name.

    Parameters
    ----------
    path_or_preset
        A preset's name, such as ``demo``, or the path of a file; write ``./demo`` for a file that is
        called as a preset is. Paths in ``bulks.files`` and ``store`` count from the file's folder.
    profile
        Execution profile to use instead of the whole ``execution`` section of the file, which is not
        even looked at: its keys are those of another machine.

    Raises
    ------
    ConfigError
        If there is no such file, preset or profile, or one is not in order; the message lists all
        problems.
    """
    path = _campaign_path(path_or_preset)
    return parse_campaign(read_text(path), str(path_or_preset), path.parent, profile)


def parse_campaign(text: str, source: str, folder: Path, profile: str | None = None) -> CampaignSettings:
    """Make settings of the text of a campaign file.

    Parameters
    ----------
    source
        What error messages call the text.
    folder
        Where relative paths in the text start.
    profile
        As for :func:`load_campaign`.

    Raises
    ------
    ConfigError
        If the text or the profile is not in order; the message lists all problems.
    """
    data, lines = parse_mapping(text, source)
    data = _without_empty_sections(data)
    problems: Problems = {}
    if "recipe" in data:
        data["recipe"] = _resolve_recipe(data["recipe"], problems)
    if profile is not None:
        data["execution"] = {**load_profile(profile), "profile": profile}
    elif "execution" in data:
        data["execution"] = resolve_execution(data["execution"], problems)
    try:
        # Strict, and by way of JSON: no `true` for 1.0 and no "400" for 400, but lists for tuples.
        settings = CampaignSettings.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = find_problems(error) | problems
    if problems:
        raise ConfigError(report(problems, source, lines))
    return _with_absolute_paths(settings, folder)


def preset_names() -> list[str]:
    """Names of the campaigns that come with Sabatier."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def recipe_names() -> list[str]:
    """Names of the recipes that come with Sabatier."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


@cache
def load_recipe(name: str) -> RecipeSettings:
    """Read a recipe by its name.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    if name not in recipe_names():
        message = (
            f"no recipe {name!r}{suggestion(name, recipe_names())}; there are: {', '.join(recipe_names())}"
        )
        raise ConfigError(message)
    path = RECIPES / f"{name}.yaml"
    data, _ = parse_mapping(read_text(path), path.name)
    return RecipeSettings.model_validate({"name": name, **data})


def _campaign_path(path_or_preset: str | Path) -> Path:
    """Path of a campaign file or preset."""
    name = str(path_or_preset)
    if name in preset_names() and not isinstance(path_or_preset, Path):
        return PRESETS / f"{name}.yaml"
    path = Path(path_or_preset)
    if path.exists():
        return path
    listed = f"presets: {', '.join(preset_names())}"
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        siblings = [str(p) for p in path.parent.glob("*") if p.suffix in {".yaml", ".yml"}]
        message = f"no campaign file {name!r}{suggestion(name, siblings)}; {listed}"
    else:
        message = f"no campaign file or preset {name!r}{suggestion(name, preset_names())}; {listed}"
    raise ConfigError(message)


def _without_empty_sections(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out optional sections without any key: what is left when all their keys are comments."""
    optional = {
        key
        for key, field in CampaignSettings.model_fields.items()
        if section_models(field) and not field.is_required()
    }
    return {key: value for key, value in data.items() if value is not None or key not in optional}


def _resolve_recipe(given: Any, problems: Problems) -> Any:
    """Replace a recipe's name, or base and overrides, by all its settings."""
    path: KeyPath = ("recipe",)
    if isinstance(given, dict):
        overrides = dict(given)
        if "base" not in overrides:
            names = ", ".join(recipe_names())
            problems[path] = f"needs the key 'base', the recipe to start from: one of {names}"
            return overrides
        name, path = overrides.pop("base"), ("recipe", "base")
    else:
        name, overrides = given, {}
    if not isinstance(name, str) or name not in recipe_names():
        hint = suggestion(name, recipe_names())
        problems[path] = f"got {quote(name)}{hint}; allowed: {', '.join(recipe_names())}"
        return overrides
    named = f"{name}+overrides" if overrides else name
    return {**load_recipe(name).model_dump(mode="json"), "name": named, **overrides}


def _with_absolute_paths(settings: CampaignSettings, folder: Path) -> CampaignSettings:
    def absolute(key: str, path: str) -> str:
        try:
            return str((folder / Path(path).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such ~user, a zero byte
            message = f"{key}: {path!r} is not the path of a file ({error})"
            raise ConfigError(message) from error

    files = tuple(absolute("bulks.files", file) for file in settings.bulks.files)
    screen = tuple(
        s.model_copy(update={"model": absolute("bulks.screen", s.model)}) for s in settings.bulks.screen
    )
    sources = tuple(
        s.model_copy(update={"file": absolute("surrogate.sources", s.file)})
        for s in settings.surrogate.sources
    )
    given = {key: getattr(settings.store, key) for key in PATH_KEYS}
    paths = {key: absolute(f"store.{key}", path) for key, path in given.items() if path is not None}
    changed = {
        "bulks": settings.bulks.model_copy(update={"files": files, "screen": screen}),
        "store": settings.store.model_copy(update=paths),
        "surrogate": settings.surrogate.model_copy(update={"sources": sources}),
    }
    return settings.model_copy(update=changed)
