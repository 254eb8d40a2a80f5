"""What a settings key takes, in plain words: for error messages, the template and the reference."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

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


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a path leads to in the settings models."""

    path: tuple[int | str, ...]
    """The path as in the file."""
    takes: str
    """What may be written there; empty if nothing is known of it."""
    section: type[BaseModel] | None
    """Model of the section there, or of the section that an unknown key is in."""
    tag: str = ""
    """Back-end of that section, if there are several."""
    alternatives: Mapping[str, type[BaseModel]] = dataclasses.field(default_factory=dict)
    """Models of that section by their back-ends, if there are several."""


def section_models(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """Models of the section that a key opens, by their back-ends; empty if it takes a plain value.

    A section of one model has it under an empty name.
    """
    annotation = field.annotation
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    members = [a for a in get_args(annotation) or (annotation,) if _is_model(a)]
    if field.discriminator is None:
        return {"": members[0]} if members else {}
    tags = [member.model_fields[str(field.discriminator)].annotation for member in members]
    return {get_args(tag)[0]: member for tag, member in zip(tags, members, strict=True)}


def is_named_section(field: FieldInfo) -> bool:
    """Tell whether a key holds sections under names of the user's choice, as ``adsorbates`` does."""
    return get_origin(field.annotation) is dict


def locate(model: type[BaseModel], location: Path) -> Place:
    """Follow a location as pydantic gives it, which names a union's members too, through the models."""
    place = Place((), "", model)
    named: FieldInfo | None = None
    for part in location:
        path = (*place.path, part)
        if isinstance(part, int):
            place = dataclasses.replace(place, path=path)
        elif place.alternatives and not place.tag:
            place = dataclasses.replace(place, section=place.alternatives[part], tag=part)
        elif named is not None:
            value = get_args(named.annotation)[1]
            place, named = Place(path, _type_words(value), section_models(named).get("")), None
        elif place.section is None or part == "[key]":
            continue  # the member of a union of plain values, or that a key is wrong and not its value
        elif (known := place.section.model_fields.get(part)) is None:
            place = dataclasses.replace(place, path=path, takes="")
        else:
            models = section_models(known)
            named = known if is_named_section(known) else None
            several = {} if "" in models else models
            place = Place(path, describe_field(known), models.get(""), alternatives=several)
    return place


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a model as dotted name and field, in the order of declaration."""
    for key, field in model.model_fields.items():
        name = f"{prefix}{key}"
        yield name, field
        for section in section_models(field).values():
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
        return " or ".join(dict.fromkeys(_type_words(a) for a in arguments if a is not type(None)))
    if origin is tuple:
        return _list_words(arguments)
    if origin is dict:
        names, values = arguments
        keys = ", ".join(get_args(names))
        each = "" if _is_model(values) else f": {_type_words(values)}"
        return f"section with keys {keys}" if keys else f"section with a key for each name{each}"
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


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
