"""What pydantic finds wrong with a file, in plain words and with the file's own lines and keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from config.campaign import CampaignSettings
from config.describe import Place, all_keys, locate
from config.recipe import RecipeSettings
from config.yaml_text import Lines, dotted, line_of

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MIN_SIMILARITY = 65.0
"""Names at least this alike (rapidfuzz ratio, 0 to 100) are offered as what was meant."""
VALUE_LENGTH = 60
"""Longest value that an error message quotes, characters."""

KeyPath = tuple[int | str, ...]
"""Where something is in a file: keys and list positions, outermost first."""
Problems = dict[KeyPath, str]
"""Where, and what is wrong there: one thing for each place."""


def find_problems(error: ValidationError) -> Problems:
    """Say in plain words what is wrong with the sections of a campaign file."""
    problems: Problems = {}
    for details in error.errors(include_url=False):
        path, text = _explain(details)
        problems.setdefault(path, text)  # a union reports once for each of its members
    return problems


def report(problems: Problems, source: str, lines: Lines) -> str:
    """Write the problems of a file, in the order of its lines."""
    located = sorted(((line_of(path, lines) or 0), dotted(path), text) for path, text in problems.items())
    told = [
        (f"line {line}: " if line else "") + (f"{key}: " if key else "") + text for line, key, text in located
    ]
    if len(told) == 1:
        return f"{source}, {told[0]}" if located[0][0] else f"{source}: {told[0]}"
    return "\n  ".join([f"{source} has {len(told)} problems:", *told])


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


def suggestion(name: Any, candidates: Iterable[str]) -> str:
    """Ask whether the candidate most like ``name`` was meant; empty if none is."""
    return _did_you_mean(closest(name, candidates) if isinstance(name, str) else None)


def quote(value: Any) -> str:
    """Write a value as in the file, shortened; text in quotes, to tell "400" from 400."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    # A database address may hold a password, as user's or as an option.
    text = re.sub(r"//\S*@", "//***@", text)
    text = re.sub(r"(?i)(password|passphrase|session_token)([=:])[^&\"]*", r"\1\2***", text)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def _explain(error: ErrorDetails) -> tuple[KeyPath, str]:
    kind, given = error["type"], error["input"]
    place = locate(CampaignSettings, error["loc"])
    if kind.startswith("union_tag"):
        return _explain_backend(place, given)
    if kind == "extra_forbidden":
        text = _explain_unknown_key(place)
    elif kind == "missing" and not isinstance(place.path[-1], int):
        text = "is missing" + (f" ({place.takes})" if place.takes else "")
    elif kind in {"value_error", "assertion_error"}:
        told = error["msg"].removeprefix("Value error, ")
        text = f"got {quote(given)}; {told}" if isinstance(given, str) else told
    elif error["loc"][-1] == "[key]":
        names = _choices(error)
        text = f"unknown name{suggestion(given, names)}; allowed: {', '.join(names)}"
    elif place.takes:
        text = f"got {quote(given)}{suggestion(given, _choices(error))}; allowed: {place.takes}"
    else:
        text = f"got {quote(given)}: {error['msg']}"
    return place.path, text


def _explain_unknown_key(place: Place) -> str:
    key = str(place.path[-1])
    owners = [tag for tag, model in place.alternatives.items() if key in model.model_fields]
    if owners:
        return f"belongs to backend {' and '.join(owners)}; the backend here is {place.tag}"
    keys = list(place.section.model_fields) if place.section is not None else []
    if place.section is RecipeSettings:
        keys.insert(0, "base")
    own = getattr(place.section, "OWN_OPTIONS", {})
    if key in own:  # an option of the scheduler, written as it is on the command line
        return f"unknown key; {own[key]}"
    elsewhere = [name for name, _ in all_keys(CampaignSettings) if name.rpartition(".")[2] == key]
    hint = suggestion(key, keys) or _did_you_mean(elsewhere[0] if elsewhere else None)
    more = "; other options of the scheduler go under 'options'" if "options" in keys else ""
    return f"unknown key{hint}; allowed: {', '.join(keys)}{more}"


def _explain_backend(place: Place, given: Any) -> tuple[KeyPath, str]:
    backend, known = given.get("backend"), list(place.alternatives)
    hint = suggestion(backend, known)
    return (*place.path, "backend"), f"got {quote(backend)}{hint}; allowed: one of {', '.join(known)}"


def _choices(error: ErrorDetails) -> Sequence[str]:
    """Choices that a key offers, as pydantic lists them: ``'a', 'b' or 'c'``."""
    return str(error.get("ctx", {}).get("expected", "")).split("'")[1::2]


def _did_you_mean(match: str | None) -> str:
    return f" (did you mean {match!r}?)" if match is not None else ""
