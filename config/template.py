"""Texts made from the settings models: the file that ``sabatier init`` writes, and the reference.

``python -m config.template`` prints the reference, which is ``docs/reference/settings.md``.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from config.adsorbates import shipped
from config.campaign import CampaignSettings
from config.describe import default_of, describe_field, docstring, is_named_section, section_models
from config.loader import load_recipe, parse_campaign, preset_names, recipe_names
from config.recipe import RecipeSettings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

COMMENT_WIDTH = 96
NOTHING: tuple[Any, ...] = (None, [], {}, "")
"""Defaults that there is no use in showing."""

HEADER = """\
# A campaign of Sabatier. Check it with 'sabatier plan FILE', start it with 'sabatier run FILE'.
# Required are name, bulks, adsorbates and recipe; any other key may be left out for its default.
"""
REFERENCE_HEADER = """\
# Settings reference

Every key of a campaign file, generated from the models in `config/` by `python -m config.template`.
A campaign file is YAML 1.2. `sabatier init` writes one with comments; `sabatier plan FILE` checks it.
Units: eV, Å, hours and minutes as the keys say.
"""


def render_template(name: str) -> str:
    """Write a commented campaign file.

    Returns
    -------
    str
        YAML that :func:`config.loader.load_campaign` reads back without complaint.

    Raises
    ------
    ConfigError
        If a campaign cannot have this name.
    """
    blocks = [HEADER]
    for key, field in CampaignSettings.model_fields.items():
        blocks.append(_comment(docstring(field)) + _template_key(key, field, name))
    text = "\n".join(blocks)
    parse_campaign(text, "the new campaign file", Path())
    return text


def render_reference() -> str:
    """Write the settings reference as Markdown."""
    parts = [REFERENCE_HEADER, _table("## Campaign", CampaignSettings, "")]
    for key, field in CampaignSettings.model_fields.items():
        parts += _tables("##", key, field)
    parts.append(_recipes())
    parts.append("## Presets\n\n" + "\n".join(f"- `{name}`" for name in preset_names()) + "\n")
    return "\n".join(parts)


def _template_key(key: str, field: FieldInfo, name: str) -> str:
    """One top-level key of the template with everything below it."""
    if key == "name":
        return f"name: {_scalar(name)}\n"
    if key == "recipe":
        names = ", ".join(recipe_names())
        lines = [
            f"recipe: screening  # one of {names}",
            "# recipe:",
            "#   base: screening",
            "#   cutoff_ev: 500.0",
        ]
        return "\n".join(lines) + "\n"
    sections = section_models(field)
    if is_named_section(field):
        return f"{key}:\n" + "".join(
            f"  {adsorbate}:\n" + _section(sections[""], 4, {"target_ev": keys["target_ev"]})
            for adsorbate, keys in shipped().items()
            if "target_ev" in keys
        )
    if not sections:
        return _line(key, field, default_of(field))
    chosen = {"elements": ["Cu", "Pd"], "max_components": 2} if key == "bulks" else {}
    used, *others = (f"{key}:\n" + _section(section, 2, chosen) for section in sections.values())
    return used + "".join("#\n" + textwrap.indent(other, "# ") for other in others)


def _section(model: type[BaseModel], indent: int, chosen: dict[str, Any]) -> str:
    """Keys of a section with comments; ``chosen`` values go before defaults."""
    text = "".join(
        _comment(docstring(field)) + _line(key, field, chosen.get(key, default_of(field)))
        for key, field in model.model_fields.items()
    )
    return textwrap.indent(text, " " * indent)


def _line(key: str, field: FieldInfo, value: Any) -> str:
    """Key with its value; a comment when there is nothing to show but that the key exists."""
    limits = describe_field(field)
    if value in NOTHING:
        example = f"{_scalar(field.examples[0])}  # {limits}" if field.examples else f" # {limits}"
        return f"# {key}: {example}\n"
    if value is PydanticUndefined:  # the back-end of a section: the one choice there is
        value = limits
    return f"{key}: {_scalar(value)}  # {limits}\n"


def _scalar(value: Any) -> str:
    """Write a value as YAML; text without quotes wherever YAML reads it as text."""
    if isinstance(value, list):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_scalar(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return value if _is_plain_text(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _is_plain_text(value: str) -> bool:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return bool(YAML(typ="safe", pure=True).load(f"a: [{value}]") == {"a": [value]})
    except (YAMLError, ValueError):
        return False


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _tables(level: str, name: str, field: FieldInfo) -> list[str]:
    """Tables of the section that a key opens, one for each back-end, and of the sections in it."""
    tables = []
    title = f"{level} `{name}`\n\n{docstring(field)}"
    prefix = f"{name}.<name>." if is_named_section(field) else f"{name}."
    sections = section_models(field)
    if len(sections) > 1:
        tables.append(f"{title}\n")
    for backend, section in sections.items():
        about = f"{level}# `{name}` with `backend: {backend}`\n\n{inspect.getdoc(section)}"
        tables.append(_table(about if backend else title, section, prefix))
        for key, inner in section.model_fields.items():
            tables += _tables(f"{level}#", prefix + key, inner)
    return tables


def _table(title: str, model: type[BaseModel], prefix: str) -> str:
    rows = [title, "", "| key | takes | default | meaning |", "|---|---|---|---|"]
    for key, field in model.model_fields.items():
        takes = describe_field(field).replace("|", "\\|")
        rows.append(f"| `{prefix}{key}` | {takes} | {_default_cell(field)} | {docstring(field)} |")
    return "\n".join(rows) + "\n"


def _default_cell(field: FieldInfo) -> str:
    value = default_of(field)
    if value is PydanticUndefined:
        return "required"
    if value in NOTHING:
        return "none"
    return "see below" if isinstance(value, dict) else f"`{_scalar(value)}`"


def _recipes() -> str:
    """Write what the named recipes set, side by side."""
    recipes = [load_recipe(name) for name in recipe_names()]
    rows = ["## Named recipes", "", *(f"- `{r.name}`: {r.description}" for r in recipes), ""]
    rows += [
        "| key | " + " | ".join(f"`{r.name}`" for r in recipes) + " |",
        "|---" * (len(recipes) + 1) + "|",
    ]
    for key in RecipeSettings.model_fields:
        if key not in {"name", "description"}:
            given = [recipe.model_dump(mode="json")[key] for recipe in recipes]
            values = " | ".join("none" if value in NOTHING else _scalar(value) for value in given)
            rows.append(f"| `{key}` | {values} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
