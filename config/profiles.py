"""Execution profiles: how to run on this or that machine, written once per user and used by name.

The file is ``~/.config/sabatier/profiles.yaml`` (``XDG_CONFIG_HOME`` is honoured), or the one that the
environment variable ``SABATIER_PROFILES`` names. It maps each profile's name to an ``execution`` section.
A campaign file that says ``execution: {profile: NAME}`` is then portable between machines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.errors import ConfigError
from config.execution import ExecutionSettings
from config.explain import Problems, find_problems, quote, report, suggestion
from config.recipe import StrictModel
from config.yaml_text import Lines, parse_mapping, read_text

PROFILES_VARIABLE = "SABATIER_PROFILES"
EXAMPLE = """\
    my-cluster:
      {backend: slurm, partition: xeon40, tasks: 40, setup: [module load gpaw]}"""
EMPTY = f"it maps names to execution sections, such as\n{EXAMPLE}"


class UnknownProfileError(ConfigError):
    """There is no profile of that name."""


class _Section(StrictModel):
    """A profile, under the key that it has in a campaign file."""

    execution: ExecutionSettings


def profiles_path() -> Path:
    """Path of the user's profiles file, which need not exist."""
    named = os.environ.get(PROFILES_VARIABLE)
    if named:
        return Path(named).expanduser()
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # The XDG specification has relative paths ignored.
    folder = configured if configured.is_absolute() else Path("~/.config").expanduser()
    return folder / "sabatier" / "profiles.yaml"


def profile_names() -> list[str]:
    """Names of the user's execution profiles, sorted; none if there is no file.

    Raises
    ------
    ConfigError
        If the file cannot be read; what the profiles hold is not looked at.
    """
    return sorted(_read()[0])


def load_profile(name: str) -> dict[str, Any]:
    """Read an execution profile: an ``execution`` section as plain data, checked, with its ``backend``.

    Raises
    ------
    UnknownProfileError
        If there is no such profile; the message says where profiles are and which there are.
    ConfigError
        If the file, or this profile, is not in order; the message names the file and its lines.
    """
    profiles, lines = _read()
    path = profiles_path()
    if name not in profiles:
        if not path.exists():
            message = f"no profile {name!r}, as there is no file {path}; make it, such as\n{EXAMPLE}"
        else:
            there = ", ".join(sorted(profiles))
            message = f"no profile {name!r}{suggestion(name, profiles)}; {path} has: {there}"
        raise UnknownProfileError(message)
    section = profiles[name]
    problems = _check(name, section)
    if problems:
        raise ConfigError(report(problems, str(path), lines))
    return {"backend": "local", **section}


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put changes on top of a section: key by key, also within ``kinds`` and ``options``."""
    merged = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def resolve_execution(given: Any, problems: Problems) -> Any:
    """Fill in what the ``execution`` section of a campaign file takes from its profile.

    Parameters
    ----------
    problems
        Takes up what is wrong with the section, if anything is.

    Raises
    ------
    ConfigError
        If the profile is not in order; the message names its file and not the campaign's.
    """
    if isinstance(given, str):
        problems["execution",] = (
            f"got {quote(given)}; write it as {{backend: {given}}} or {{profile: {given}}}"
        )
    if not isinstance(given, dict):
        return given
    name = given.get("profile")
    if not isinstance(name, str):
        return {"backend": "local", **given}
    try:
        profile = load_profile(name)
    except UnknownProfileError as error:
        problems["execution", "profile"] = str(error)
        return {"backend": "local"}  # which goes without further complaints
    backend = given.get("backend", profile["backend"])
    if backend != profile["backend"]:
        problems["execution", "backend"] = (
            f"got {quote(backend)}, but profile {name!r} is of backend {profile['backend']}; leave it out"
        )
        return profile
    return merge(profile, given)


def _read() -> tuple[dict[str, Any], Lines]:
    """Read all profiles as plain data, with the lines of their keys; none if there is no file."""
    path = profiles_path()
    if not path.exists():
        return {}, {}
    return parse_mapping(read_text(path), str(path), when_empty=EMPTY)


def _check(name: str, section: Any) -> Problems:
    """Find what is wrong with a profile, under the paths that it has in the profiles file."""
    if not isinstance(section, dict):
        return {(name,): f"got {quote(section)}; it takes an execution section, such as {{backend: slurm}}"}
    if "profile" in section:
        return {(name, "profile"): "a profile cannot build on another; write out its keys"}
    try:
        data = {"execution": {"backend": "local", **section}}
        _Section.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        return {(name, *path[1:]): text for path, text in find_problems(error).items()}
    return {}
