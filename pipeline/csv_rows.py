"""Rows of CSV tables that people give, read so that no value ends up in another's place."""

from __future__ import annotations

import csv
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_rows(lines: Iterable[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the names of the columns in the first line, and number and values of each line that follows.

    Values are stripped, and empty where a line is short; lines without any are left out, as are columns
    without a name.

    Raises
    ------
    ValueError
        If columns are not separated by commas, a line has values beyond the last column, as one with a
        decimal comma does, or a quotation mark is not closed, which would swallow the lines below.
    """
    reader = csv.reader(lines, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    columns: list[str] = []
    first = 1
    try:
        columns = [name.strip() for name in next(reader, [])]
        if len(columns) == 1 and any(separator in columns[0] for separator in ";\t|"):
            message = f"columns must be separated by commas; its first line is {columns[0]!r}"
            raise ValueError(message)
        first = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells[len(columns) :]):
                message = (
                    f"line {first} has {len(cells)} values, the first line names {len(columns)} columns: "
                    "write decimals with a point, and text with a comma in quotation marks"
                )
                raise ValueError(message)
            if cells:
                named = zip_longest(columns, cells[: len(columns)], fillvalue="")
                rows.append((reader.line_num, {name: value.strip() for name, value in named if name}))
            first = reader.line_num + 1
    except csv.Error as error:
        message = f"line {first}: {error}; is a quotation mark not closed, or a value no text?"
        raise ValueError(message) from error
    return columns, rows
