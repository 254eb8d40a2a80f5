"""What a settings key takes, in plain words: for error messages, the template and the reference."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Path = Sequence[int | str]
"""Where a value is in a file: keys and list positions, outermost first."""

NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def describe_field(field: FieldInfo) -> str:
    """Say what a key takes, such as ``number, 150 to 2000``."""
    return ", ".join(filter(None, [_type_words(field.annotation), _limit_words(field.metadata)]))


def docstring(field: FieldInfo) -> str:
    """Return a key's docstring on one line."""
    return " ".join((field.description or "").split())


def section_model(field: FieldInfo) -> type[BaseModel] | None:
    """Model of the section that a key opens; None if it takes a plain value."""
    annotation = field.annotation
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def is_named_section(field: FieldInfo) -> bool:
    """Tell whether a key holds sections under names of the user's choice, as ``adsorbates`` does."""
    return get_origin(field.annotation) is dict


def find_field(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """Field that a path leads to, list positions left out; None if the path names no known key."""
    field: FieldInfo | None = None
    section: type[BaseModel] | None = model
    named = False
    for part in path:
        if isinstance(part, int):
            continue
        if named:
            named = False
        elif section is None or part not in section.model_fields:
            return None
        else:
            field = section.model_fields[part]
            section, named = section_model(field), is_named_section(field)
    return field


def section_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Model of the section that a path leads to; None if there is none."""
    field = find_field(model, path)
    return section_model(field) if field is not None else model


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a model as dotted name and field, in the order of declaration."""
    for key, field in model.model_fields.items():
        name = f"{prefix}{key}"
        yield name, field
        section = section_model(field)
        if section is not None:
            yield from all_keys(section, f"{name}.<name>." if is_named_section(field) else f"{name}.")


def default_of(field: FieldInfo) -> Any:
    """Return a key's default as plain data; ``PydanticUndefined`` if it must be given."""
    default = field.default
    if default is PydanticUndefined:
        return default
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json")
    return list(default) if isinstance(default, tuple) else default


def _type_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        listed = ", ".join(str(choice) for choice in arguments)
        return f"one of {listed}" if len(arguments) > 1 else listed
    if origin in {Union, types.UnionType}:
        return " or ".join(_type_words(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return _list_words(arguments)
    if origin is dict:
        return "section with a key for each name"
    return NAMES.get(annotation, "section with keys of its own")


def _list_words(items: tuple[Any, ...]) -> str:
    if Ellipsis in items:
        return f"list, each a {_type_words(items[0])}"
    return f"list of {len(items)} {_type_words(items[0])}s"


def _limit_words(metadata: Sequence[Any]) -> str:
    low = high = ""
    inclusive = 0
    for limit in metadata:
        if isinstance(limit, Ge):
            low, inclusive = _number(limit.ge), inclusive + 1
        elif isinstance(limit, Gt):
            low = f"above {_number(limit.gt)}"
        elif isinstance(limit, Le):
            high, inclusive = _number(limit.le), inclusive + 1
        elif isinstance(limit, Lt):
            high = f"below {_number(limit.lt)}"
        elif isinstance(limit, MinLen):
            low = f"at least {limit.min_length} of them"
        elif isinstance(limit, MaxLen):
            high = f"at most {limit.max_length} characters"
    if low and high:
        return f"{low} to {high}" if inclusive == 2 else f"{low}, up to {high}"
    if inclusive:
        return f"at least {low}" if low else f"at most {high}"
    return low or high


def _number(bound: Any) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
