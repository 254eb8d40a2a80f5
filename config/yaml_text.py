"""YAML 1.2 text to plain data, with the line of every key, and one-line errors.

``NO`` and ``no`` stay text, as YAML 1.2 has it (nobelium, nitric oxide), ``1e3`` is a number, and a key
given twice is refused.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ConfigError

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import Node

CAMPAIGN_HINT = "'sabatier init' writes a campaign file to start from"

Lines = dict[tuple[int | str, ...], int]
"""Line (from 1) of every key and list item, by its path."""


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises
    ------
    ConfigError
        If there is no such file, or it is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except IsADirectoryError as error:
        message = f"{path} is a directory, not a file"
        raise ConfigError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text (byte {error.start + 1})"
        raise ConfigError(message) from error
    except (OSError, ValueError) as error:
        message = f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(message) from error


def parse_mapping(text: str, source: str, when_empty: str = CAMPAIGN_HINT) -> tuple[dict[str, Any], Lines]:
    """Parse a YAML text that holds one mapping.

    Parameters
    ----------
    source
        What error messages call the text: the file's name.
    when_empty
        What the message of an empty text adds.

    Returns
    -------
    dict, Lines
        Plain data (whole numbers as int, however written), and the lines of its keys.

    Raises
    ------
    ConfigError
        If the text is no YAML, holds no mapping, or holds values that have no plain form.
    """
    from ruamel.yaml.error import YAMLError

    try:
        node = _yaml().compose(text)
        lines: Lines = {}
        _collect_lines(node, (), lines, set())
        data = _yaml().load(text)
        if data is None:
            message = f"{source} is empty; {when_empty}"
            raise ConfigError(message)
        if not isinstance(data, dict):
            what = "a list" if isinstance(data, list) else "a single value"
            message = f"{source} holds {what}; it must hold keys with their values"
            raise ConfigError(message)
        plain: dict[str, Any] = _plain(data, (), lines, source)
    except YAMLError as error:
        raise ConfigError(_explain(error, source)) from error
    except RecursionError as error:
        message = f"{source} is nested too deeply"
        raise ConfigError(message) from error
    except ValueError as error:  # impossible dates and numbers, from the YAML library
        message = f"{source}: {error}"
        raise ConfigError(message) from error
    return plain, lines


def line_of(path: tuple[int | str, ...], lines: Lines) -> int | None:
    """Line of the innermost part of a path that is in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    # The pure Python parser: the C one knows only YAML 1.1.
    return YAML(typ="safe", pure=True)


def _collect_lines(node: Node | None, path: tuple[int | str, ...], lines: Lines, seen: set[int]) -> None:
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    if id(node) in seen:  # an alias: its lines are those of the anchor
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            lines[inner] = key.start_mark.line + 1
            _collect_lines(value, inner, lines, seen)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            lines[*path, index] = value.start_mark.line + 1
            _collect_lines(value, (*path, index), lines, seen)


def _plain(value: Any, path: tuple[int | str, ...], lines: Lines, source: str) -> Any:
    """Copy to dicts with text keys, lists, text, finite numbers, booleans and None."""
    if isinstance(value, dict):
        return {
            _text_key(k, path, lines, source): _plain(v, (*path, str(k)), lines, source)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_plain(item, (*path, i), lines, source) for i, item in enumerate(value)]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    hint = "must be a finite number" if isinstance(value, float) else "put quotes around it if it is text"
    message = f"{_where(source, path, lines)}{dotted(path)}: cannot use {value!s}; {hint}"
    raise ConfigError(message)


def _text_key(key: Any, path: tuple[int | str, ...], lines: Lines, source: str) -> str:
    if isinstance(key, str):
        return key
    message = f"{_where(source, (*path, str(key)), lines)}the key {key!r} is not text"
    raise ConfigError(message)


def dotted(path: tuple[int | str, ...]) -> str:
    """Write a path as people do: ``bulks.ids[2]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _where(source: str, path: tuple[int | str, ...], lines: Lines) -> str:
    line = line_of(path, lines)
    return f"{source}, line {line}: " if line else f"{source}: "


def _explain(error: Exception, source: str) -> str:
    """Put a complaint of the YAML library on one line."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    where = f"{source}, line {mark.line + 1}" if mark is not None else source
    if "duplicate key" in problem:
        key = problem.split('"')[1]
        return f"{where}: the key {key!r} is given twice"
    if "'\\t'" in problem:
        return f"{where}: a tab; YAML is indented with spaces"
    return f"{where}: not valid YAML: {problem}"
