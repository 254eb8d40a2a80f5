"""Campaign files to settings: YAML in, :class:`CampaignSettings` or one complete error out.

A bad file fails here, before anything is computed. The error lists every problem of the file with its
line, the dotted key, the value given and what is allowed instead, with the closest spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from config.campaign import CampaignSettings
from config.describe import all_keys, describe_field, find_field, section_at, section_model
from config.errors import ConfigError
from config.recipe import RecipeSettings
from config.yaml_text import Lines, dotted, line_of, parse_mapping, read_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PRESETS = Path(__file__).with_name("presets")
RECIPES = Path(__file__).with_name("recipes")
MIN_SIMILARITY = 65.0
"""Names at least this alike (rapidfuzz ratio, 0 to 100) are offered as what was meant."""
VALUE_LENGTH = 60
"""Longest value that an error message quotes, characters."""

Problem = tuple[tuple[int | str, ...], str]
"""Where, and what is wrong there."""


def load_campaign(path_or_preset: str | Path) -> CampaignSettings:
    """Read a campaign file, or a preset by its name.

    Parameters
    ----------
    path_or_preset
        A preset's name, such as ``demo``, or the path of a file; write ``./demo`` for a file that is
        called as a preset is. Paths in ``bulks.files`` count from the file's folder.

    Raises
    ------
    ConfigError
        If there is no such file or preset, or the file is not in order; the message lists all problems.
    """
    path = _campaign_path(path_or_preset)
    return parse_campaign(read_text(path), str(path_or_preset), path.parent)


def parse_campaign(text: str, source: str, folder: Path) -> CampaignSettings:
    """Make settings of the text of a campaign file.

    Parameters
    ----------
    source
        What error messages call the text.
    folder
        Where relative paths in the text start.

    Raises
    ------
    ConfigError
        If the text is not in order; the message lists all problems.
    """
    data, lines = parse_mapping(text, source)
    data = _without_empty_sections(data)
    problems: list[Problem] = []
    if "recipe" in data:
        data["recipe"] = _resolve_recipe(data["recipe"], problems)
    try:
        # Strict, and by way of JSON: no `true` for 1.0 and no "400" for 400, but lists for tuples.
        settings = CampaignSettings.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        known = {path for path, _ in problems}
        found = (_explain(e) for e in error.errors(include_url=False))
        problems += [problem for problem in found if problem[0] not in known]
    if problems:
        raise ConfigError(_report(problems, source, lines))
    return _with_absolute_files(settings, folder)


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
            f"no recipe {name!r}{_suggestion(name, recipe_names())}; there are: {', '.join(recipe_names())}"
        )
        raise ConfigError(message)
    path = RECIPES / f"{name}.yaml"
    data, _ = parse_mapping(read_text(path), path.name)
    return RecipeSettings.model_validate({"name": name, **data})


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that is spelled most like ``name``; None if none is alike."""
    from rapidfuzz import fuzz, process, utils

    match = process.extractOne(
        name,
        list(candidates),
        scorer=fuzz.ratio,
        processor=utils.default_process,
        score_cutoff=MIN_SIMILARITY,
    )
    return match[0] if match else None


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
        message = f"no campaign file {name!r}{_suggestion(name, siblings)}; {listed}"
    else:
        message = f"no campaign file or preset {name!r}{_suggestion(name, preset_names())}; {listed}"
    raise ConfigError(message)


def _without_empty_sections(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out optional sections without any key: what is left when all their keys are comments."""
    optional = {
        key
        for key, field in CampaignSettings.model_fields.items()
        if section_model(field) is not None and not field.is_required()
    }
    return {key: value for key, value in data.items() if value is not None or key not in optional}


def _resolve_recipe(given: Any, problems: list[Problem]) -> Any:
    """Replace a recipe's name, or base and overrides, by all its settings."""
    path: tuple[int | str, ...] = ("recipe",)
    if isinstance(given, dict):
        overrides = dict(given)
        if "base" not in overrides:
            names = ", ".join(recipe_names())
            problems.append((path, f"needs the key 'base', the recipe to start from: one of {names}"))
            return overrides
        name, path = overrides.pop("base"), ("recipe", "base")
    else:
        name, overrides = given, {}
    if not isinstance(name, str) or name not in recipe_names():
        hint = _suggestion(name, recipe_names()) if isinstance(name, str) else ""
        problems.append((path, f"got {_quote(name)}{hint}; allowed: {', '.join(recipe_names())}"))
        return overrides
    named = f"{name}+overrides" if overrides else name
    return {**load_recipe(name).model_dump(mode="json"), "name": named, **overrides}


def _with_absolute_files(settings: CampaignSettings, folder: Path) -> CampaignSettings:
    files = tuple(str((folder / Path(file).expanduser()).resolve()) for file in settings.bulks.files)
    bulks = settings.bulks.model_copy(update={"files": files})
    return settings.model_copy(update={"bulks": bulks})


def _report(problems: Sequence[Problem], source: str, lines: Lines) -> str:
    """Write the problems of a file, in the order of its lines."""
    located = sorted(((line_of(path, lines) or 0), dotted(path), text) for path, text in problems)
    told = [
        (f"line {line}: " if line else "") + (f"{key}: " if key else "") + text for line, key, text in located
    ]
    if len(told) == 1:
        return f"{source}, {told[0]}" if located[0][0] else f"{source}: {told[0]}"
    return "\n  ".join([f"{source} has {len(told)} problems:", *told])


def _explain(error: ErrorDetails) -> Problem:
    """Say in plain words what pydantic found wrong."""
    path = error["loc"]
    if error["type"] == "extra_forbidden":
        return path, _explain_unknown_key(path)
    if error["type"] == "missing" and not isinstance(path[-1], int):
        field = find_field(CampaignSettings, path)
        takes = f" ({describe_field(field)})" if field is not None else ""
        return path, f"is missing{takes}"
    if error["type"] in {"value_error", "assertion_error"}:
        told = error["msg"].removeprefix("Value error, ")
        return path, f"got {_quote(error['input'])}; {told}" if isinstance(error["input"], str) else told
    field = find_field(CampaignSettings, path)
    given = _quote(error["input"])
    if field is None:
        return path, f"got {given}: {error['msg']}"
    hint = _suggestion(error["input"], _choices(error)) if isinstance(error["input"], str) else ""
    return path, f"got {given}{hint}; allowed: {describe_field(field)}"


def _explain_unknown_key(path: Sequence[int | str]) -> str:
    key = str(path[-1])
    section = section_at(CampaignSettings, path[:-1])
    keys = list(section.model_fields) if section is not None else []
    if section is RecipeSettings:
        keys.insert(0, "base")
    elsewhere = [name for name, _ in all_keys(CampaignSettings) if name.rpartition(".")[2] == key]
    hint = _suggestion(key, keys) or _suggestion_of(elsewhere[0] if elsewhere else None)
    return f"unknown key{hint}; allowed: {', '.join(keys)}"


def _choices(error: ErrorDetails) -> list[str]:
    """Choices that a key offers, as pydantic lists them: ``'a', 'b' or 'c'``."""
    return str(error.get("ctx", {}).get("expected", "")).split("'")[1::2]


def _suggestion(name: str, candidates: Iterable[str]) -> str:
    return _suggestion_of(closest(name, candidates))


def _suggestion_of(match: str | None) -> str:
    return f" (did you mean {match!r}?)" if match is not None else ""


def _quote(value: Any) -> str:
    """Write a value as in the file, shortened; text in quotes, to tell "400" from 400."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"//[^/@]*@", "//***@", text)  # a database address may hold a password
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"
