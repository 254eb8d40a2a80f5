"""Files of adsorption energies that a campaign starts from.

A file is what ``sabatier export`` wrote of another campaign (CSV or JSON), or a CSV table whose first line
names its columns (:data:`COLUMNS`). Values that cannot be read are refused with file, line and column; rows
that say nothing of a site are left out, and told of. What is made of
them: :mod:`pipeline.sources`. Units: eV.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ConfigError
from pipeline.csv_rows import read_rows
from surrogate.elements import SYMBOLS
from surrogate.sites import Shell, SiteEnvironment, shell_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.campaign import CampaignSettings
    from config.surrogate import SourceSettings
    from pipeline.domain import Site

COLUMNS = {
    "energy": ("delta_e_ev", "energy_ev"),
    "bulk": ("bulk_source", "mpid"),
    "formula": ("formula", "bulk"),
    "adsorbate": ("adsorbate",),
    "miller": ("miller",),
    "coordination": ("coordination",),
    "neighborcoord": ("neighborcoord",),
    "second_shell": ("second_shell",),
    "beneath": ("beneath",),
}
"""What is read, and the columns that may hold it; capitals do not matter. ``h``, ``k``, ``l`` stand for
``miller``."""
LARGEST_EV = 5.0
"""Energies beyond are no adsorption energies."""
MILLER_DIGITS = 3
"""An index with more, its sign among them, is none."""
PROBLEMS_TOLD = 5
NOTHING = "none"
"""In ``beneath``: there is no atom; empty: it is not known."""
_READ = {*"hkl", *(name for names in COLUMNS.values() for name in names)}
_SYMBOLS = frozenset(SYMBOLS)


@dataclass(frozen=True)
class SourceRow:
    """One energy of a file."""

    adsorbate: str
    bulk: str
    """Its name, by which rows of one bulk belong together."""
    formula: str
    site: SiteEnvironment
    """Without its crystal."""
    delta_e_ev: float


@dataclass(frozen=True, eq=False)
class SourceTable:
    """What a file holds of a campaign's adsorbates."""

    name: str
    file: str
    sha256: str
    """Hash of the file's content."""
    rows: tuple[SourceRow, ...]
    left_out: tuple[str, ...]
    """Rows that say nothing of a site, and why."""

    def document(self) -> dict[str, Any]:
        """Plain values for records and reports."""
        counts = Counter(row.adsorbate for row in self.rows)
        return {
            "name": self.name,
            "file": self.file,
            "sha256": self.sha256,
            "energies": dict(counts),
            "bulks": len({row.bulk for row in self.rows}),
            "left_out": list(self.left_out),
        }


def read_sources(settings: CampaignSettings) -> list[SourceTable]:
    """Read every file of ``surrogate.sources``.

    Raises
    ------
    ConfigError
        If one cannot be read, or nothing of it is of use; the message names file, line, column and value.
    """
    names = tuple(settings.adsorbates)
    return [_read(source, names) for source in settings.surrogate.sources]


def describe(table: SourceTable) -> list[str]:
    """Say what a file holds, in lines for people."""
    told = table.document()
    counts = ", ".join(f"{n} energies of {name}" for name, n in told["energies"].items())
    lines = [f"{table.name}: {counts} on {told['bulks']} bulks"]
    if table.left_out:
        shown = "; ".join(table.left_out[:PROBLEMS_TOLD])
        more = len(table.left_out) - PROBLEMS_TOLD
        lines.append(
            f"  {len(table.left_out)} rows left out: {shown}" + (f"; and {more} more" if more > 0 else "")
        )
    return lines


def site_columns(site: Site) -> dict[str, str]:
    """Spell a site out so that it can be read back as the surrogate sees it."""
    around = [f"{symbol}:{_spelt(shell)}" for symbol, shell in site.neighbours]
    return {
        "coordination": _spelt(site.first_shell),
        "second_shell": _spelt(site.second_shell),
        "neighborcoord": "|".join(around),
        "beneath": "" if site.beneath is None else _spelt(site.beneath) or NOTHING,
    }


def _spelt(shell: Shell) -> str:
    return "-".join(symbol for symbol, count in shell for _ in range(count))


def composition_of(formula: str) -> Shell:
    """Elements and their numbers in the reduced formula; empty where it is none."""
    from ase.formula import Formula

    if not re.fullmatch(r"[A-Za-z0-9()]+", formula):
        return ()
    try:
        counts = Formula(formula).count()  # Al(CoSi)2 as well
    except ValueError:
        return ()
    if not set(counts) <= _SYMBOLS or not all(counts.values()):
        return ()
    divisor = math.gcd(*counts.values())
    return tuple(sorted((symbol, n // divisor) for symbol, n in counts.items()))


def _read(source: SourceSettings, adsorbates: tuple[str, ...]) -> SourceTable:
    path = Path(source.file)
    try:
        return _parsed(source, adsorbates, path.read_bytes())
    except (OSError, EOFError, zlib.error, RecursionError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"surrogate.sources: {path} cannot be read ({why}); allowed: CSV, or an export of Sabatier"
        raise ConfigError(message) from error


@lru_cache(maxsize=64)
def _parsed(source: SourceSettings, adsorbates: tuple[str, ...], content: bytes) -> SourceTable:
    """Parse a file; the same table for the same content, as what is made of it is kept with it."""
    path = Path(source.file)
    raw = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    reading = _Reading(path, source.adsorbate, adsorbates, list(_records(raw.decode("utf-8-sig"))))
    rows = tuple(reading.rows())
    if reading.problems:
        told = "\n".join(reading.problems[:PROBLEMS_TOLD])
        more = len(reading.problems) - PROBLEMS_TOLD
        message = f"surrogate.sources: {told}" + (f"\nand {more} more" if more > 0 else "")
        raise ConfigError(message)
    if not rows:
        reasons = "; ".join(reading.left_out[:PROBLEMS_TOLD]) or "it has no rows"
        message = f"surrogate.sources: {path} holds no energy that is of use: {reasons}"
        raise ConfigError(message)
    name = source.name or path.name
    digest = hashlib.sha256(content).hexdigest()
    return SourceTable(name, source.file, digest, rows, tuple(reading.left_out))


def _records(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Line, or place in a JSON export, and values of each row; names of columns in small letters."""
    if text.lstrip().startswith("{"):
        rows = json.loads(text).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            message = "as JSON it has no list 'rows' of objects"
            raise ValueError(message)
        for i, row in enumerate(rows, start=1):
            yield (
                f"row {i}",
                {str(key).lower(): "" if value is None else str(value) for key, value in row.items()},
            )
        return
    columns, lines = read_rows(io.StringIO(text, newline=""))
    counts = Counter(column.lower() for column in columns)
    if twice := sorted(column for column in _READ if counts[column] > 1):
        message = f"column {twice[0]!r} occurs {counts[twice[0]]} times; which one counts is not clear"
        raise ValueError(message)
    for number, values in lines:
        yield f"line {number}", {column.lower(): value for column, value in values.items()}


@dataclass
class _Reading:
    """A file while it is read."""

    path: Path
    adsorbate: str | None
    adsorbates: tuple[str, ...]
    records: list[tuple[str, dict[str, str]]]
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Columns that the file has for each thing that is read."""
        there = self.records[0][1] if self.records else {}
        found = {thing: next((c for c in names if c in there), None) for thing, names in COLUMNS.items()}
        return {thing: column for thing, column in found.items() if column is not None}

    def rows(self) -> Iterator[SourceRow]:
        """Yield the rows that are of use, and note what is wrong with others."""
        if not self.records or not self._has_columns():
            return
        first_with: dict[tuple[tuple[str, str], ...], str] = {}
        for line, values in self.records:
            first = first_with.setdefault(tuple(values.items()), line)
            if first != line:
                self.left_out.append(f"{line}: the same as {first}")
                continue
            n_before = len(self.problems)
            named = {thing: values.get(column, "") for thing, column in self.columns.items()}
            row = self._row(line, named, values)
            if row is not None and len(self.problems) == n_before:
                yield row

    def _has_columns(self) -> bool:
        names = list(self.records[0][1])
        has = ", ".join(names)
        for thing in ("energy", "coordination"):
            if thing not in self.columns:
                wanted = " or ".join(COLUMNS[thing])
                self.problems.append(f"{self.path} has no column {wanted}; it has: {has}")
        if not {"bulk", "formula"} & set(self.columns):
            self.problems.append(f"{self.path} has no column mpid, bulk_source or formula; it has: {has}")
        if "adsorbate" not in self.columns and self.adsorbate is None:
            self.problems.append(
                f"{self.path} has no column adsorbate: name it with 'adsorbate' beside 'file'; "
                f"allowed: {', '.join(self.adsorbates)}"
            )
        return not self.problems

    def _row(self, line: str, values: Mapping[str, str], given: Mapping[str, str]) -> SourceRow | None:
        adsorbate = values.get("adsorbate") or self.adsorbate or ""
        bulk = values.get("bulk") or values.get("formula", "")
        reason = self._reason_to_leave_out(adsorbate, bulk, values)
        energy = self._energy(line, values["energy"]) if values["energy"] else None
        if reason is None and energy is not None and abs(energy) > LARGEST_EV:
            reason = f"{energy:g} eV is no adsorption energy"
        if reason is not None:
            self.left_out.append(f"{line}: {reason}")
            return None
        formula = values.get("formula", "")
        if formula and not composition_of(formula) and "bulk" not in values:
            self._wrong(line, "formula", formula, "a formula such as Cu3Pd")
        first = self._shell(line, "coordination", values["coordination"])
        crystal = {symbol for symbol, _ in composition_of(formula)}
        if crystal and (foreign := sorted({symbol for symbol, _ in first} - crystal)):
            self.left_out.append(f"{line}: coordination has {', '.join(foreign)}, which {formula} has not")
            return None
        around = self._neighbours(line, values.get("neighborcoord", ""))
        second = self._shell(line, "second_shell", values.get("second_shell", ""))
        site = SiteEnvironment(
            first_shell=first,
            second_shell=second or shell_of(s for _, shell in around for s, n in shell for _ in range(n)),
            neighbours=around,
            miller=self._miller(line, values.get("miller", ""), given),
            beneath=self._beneath(line, values.get("beneath", "")),
        )
        return None if energy is None else SourceRow(adsorbate, bulk, formula, site, energy)

    def _reason_to_leave_out(self, adsorbate: str, bulk: str, values: Mapping[str, str]) -> str | None:
        if not values["energy"]:
            return "no energy"
        if not values["coordination"]:
            return "coordination is empty"
        if not bulk:
            return "no bulk"
        wanted = (self.adsorbate,) if self.adsorbate else self.adsorbates
        return None if adsorbate in wanted else f"of {adsorbate or 'no adsorbate'}, not {' or '.join(wanted)}"

    def _wrong(self, line: str, thing: str, value: str, allowed: str) -> None:
        column = self.columns.get(thing, thing)
        self.problems.append(f"{self.path}, {line}, {column}: got {value!r}; allowed: {allowed}")

    def _energy(self, line: str, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self._wrong(line, "energy", text, "a number, in eV")
        return None

    def _shell(self, line: str, thing: str, text: str) -> Shell:
        symbols = [symbol.strip() for symbol in text.split("-") if symbol.strip()]
        if (text and not symbols) or not set(symbols) <= _SYMBOLS:
            self._wrong(line, thing, text, "symbols of elements joined by '-', such as Cu-Cu-Pd")
            return ()
        return shell_of(symbols)

    def _beneath(self, line: str, text: str) -> Shell | None:
        if not text:
            return None
        return () if text == NOTHING else self._shell(line, "beneath", text)

    def _neighbours(self, line: str, text: str) -> tuple[tuple[str, Shell], ...]:
        atoms = [part.partition(":") for part in text.split("|") if part]
        if not all(symbol.strip() in _SYMBOLS for symbol, _, _ in atoms):
            self._wrong(
                line, "neighborcoord", text, "each bound atom with its neighbours, such as Cu:Al-Al|Al:Cu-Cu"
            )
            return ()
        shells = [(symbol.strip(), self._shell(line, "neighborcoord", rest)) for symbol, _, rest in atoms]
        return tuple(sorted(shells))

    def _miller(self, line: str, text: str, given: Mapping[str, str]) -> tuple[int, int, int] | None:
        text = text or " ".join(filter(None, (given.get(key) for key in "hkl")))
        if not text:
            return None
        indices = (
            re.findall(r"-?\d", text) if re.fullmatch(r"(-?\d){3}", text) else re.findall(r"-?\d+", text)
        )
        is_face = len(indices) == 3 and any(map(int, indices)) and max(map(len, indices)) <= MILLER_DIGITS
        if not is_face or re.search(r"[^\d\s,()\[\]-]", text):
            self._wrong(line, "miller", text, "three whole numbers, not all zero, such as 1 1 1")
            return None
        h, k, l = map(int, indices)  # noqa: E741  (their names)
        return h, k, l
