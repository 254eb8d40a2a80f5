"""Properties of crystals: tables to learn them from, predictions, bulks to leave out by them.

The descriptors and the model are :mod:`surrogate.fragments` and :mod:`surrogate.property_model`. Units are
those of the table that a model was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from config.errors import ConfigError, StructureError
from pipeline.csv_rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms

    from config.campaign import BulkSelection, PropertyScreen
    from pipeline.domain import Bulk
    from surrogate.property_model import PropertyModel

YES_AND_NO = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}
"""Words of a column that holds a class."""
IMPORTANCES_TOLD = 10


@dataclass(frozen=True)
class PropertyTable:
    """What a table says of one property."""

    ids: tuple[str, ...]
    """What the table calls each crystal."""
    rows: tuple[int, ...]
    """Line of each in the file."""
    values: tuple[float, ...]
    is_class: bool
    """True if the column holds nothing but yes and no."""
    n_empty: int
    """Rows left out as they say nothing of the property."""


@dataclass(frozen=True)
class LeftOut:
    """A bulk that a screen leaves out of a campaign."""

    bulk: Bulk
    reason: str


def read_table(path: Path, target: str, id_column: str) -> PropertyTable:
    """Read one property of the crystals in a CSV file; its first line names the columns.

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks a column, or holds something that is neither a number nor yes or no;
        the message names the row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            columns, rows = read_rows(lines)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{path}: cannot be read as a CSV table ({why})"
        raise ConfigError(message) from error
    for column in (id_column, target):
        if column not in columns:
            message = f"{path}: has no column {column!r}; it has: {', '.join(columns) or 'none'}"
            raise ConfigError(message)
        if columns.count(column) > 1:
            message = f"{path}: column {column!r} occurs {columns.count(column)} times; keep one"
            raise ConfigError(message)
    told = [(n, row[id_column], row[target]) for n, row in rows]
    given = [entry for entry in told if entry[2]]
    words = {value.lower() for _, _, value in given}
    is_class = bool(words) and words <= set(YES_AND_NO)
    for line, name, _ in given:
        if not name:
            message = f"{path}, line {line}: {id_column} is empty; give the crystal's id"
            raise ConfigError(message)
    values = [_number(path, line, target, value, is_class=is_class) for line, _, value in given]
    return PropertyTable(
        ids=tuple(name for _, name, _ in given),
        rows=tuple(line for line, _, _ in given),
        values=tuple(values),
        is_class=is_class,
        n_empty=len(told) - len(given),
    )


def _number(path: Path, line: int, column: str, text: str, *, is_class: bool) -> float:
    if is_class:
        return YES_AND_NO[text.lower()]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        message = (
            f"{path}, line {line}: {column} is {text!r}; allowed: a number, or nothing where it is unknown, "
            "or true and false throughout the column"
        )
        raise ConfigError(message)
    return value


def table_crystals(path: Path, table: PropertyTable, folder: Path | None) -> list[Atoms]:
    """Crystals of a table: from structure files named after the ids, or from the built-in library.

    Raises
    ------
    ConfigError
        If an id stands for nothing; the message names the row.
    StructureError
        If a file is no crystal.
    """
    if folder is None:
        from pipeline.structures.library import library

        for line, name in zip(table.rows, table.ids, strict=True):
            if name not in library():
                message = (
                    f"{path}, line {line}: {name!r} is not in the built-in library of {len(library())} "
                    "bulks; give the structure files of other crystals with --structures"
                )
                raise ConfigError(message)
        return [library()[name].atoms() for name in table.ids]
    files = {file.name: file for file in structure_files(folder)}
    files |= {file.stem: file for file in files.values() if file.stem not in files}
    for line, name in zip(table.rows, table.ids, strict=True):
        if name not in files:
            message = (
                f"{path}, line {line}: {folder} holds no structure file for {name!r}, such as {name}.cif"
            )
            raise ConfigError(message)
    return [read_crystal(files[name]) for name in table.ids]


def structure_files(folder: Path) -> list[Path]:
    """Structure files of a folder, sorted.

    Raises
    ------
    StructureError
        If there is no such folder.
    """
    from pipeline.structures.sources import SUFFIXES

    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise StructureError(message)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def read_crystal(path: Path) -> Atoms:
    """Read the one structure of a file: a crystal, be it of layers or molecules.

    Raises
    ------
    StructureError
        If it cannot be read or has no three-dimensional cell.
    """
    from ase.io import read

    from pipeline.structures.sources import FORMATS

    try:
        frames = read(path, index=":")
    except Exception as error:  # every reader of ASE raises what it likes
        message = f"{path}: cannot be read as a structure; allowed: {FORMATS}"
        raise StructureError(message) from error
    if len(frames) != 1:
        message = f"{path}: holds {len(frames)} structures; give one in a file"
        raise StructureError(message)
    atoms = cast("Atoms", frames[0])
    if len(atoms) == 0 or not atoms.pbc.all() or atoms.cell.rank < 3:
        message = f"{path}: is no crystal, periodic in three directions"
        raise StructureError(message)
    return atoms


def train(table: PropertyTable, crystals: Sequence[Atoms], target: str, seed: int) -> PropertyModel:
    """Learn a property.

    Raises
    ------
    ConfigError
        If there are too few crystals.
    StructureError
        If a crystal cannot be described.
    """
    import numpy as np

    from surrogate.fragments import crystal_descriptors
    from surrogate.property_model import PropertyModel

    model = PropertyModel(target, is_class=table.is_class, seed=seed)
    systems = ["-".join(sorted(set(atoms.get_chemical_symbols()))) for atoms in crystals]
    return model.fit(crystal_descriptors(crystals), np.array(table.values), systems, table.ids)


def training_document(model: PropertyModel, table: PropertyTable, out: Path) -> dict[str, Any]:
    """What was learned, as plain JSON values."""
    told = {key: value for key, value in model.record().items() if key != "training_ids"}
    return {
        **told,
        "importances": dict(list(model.importances_.items())[:IMPORTANCES_TOLD]),
        "rows_without_value": table.n_empty,
        "model": str(out),
    }


def predictions(model: PropertyModel, named: Iterable[tuple[str, Atoms]]) -> list[dict[str, Any]]:
    """Predicted property of crystals by name, in order, as plain JSON values."""
    from surrogate.fragments import crystal_descriptors

    pairs = list(named)
    values, std = model.predict(crystal_descriptors(atoms for _, atoms in pairs))
    return [
        {
            "crystal": name,
            "formula": atoms.get_chemical_formula(mode="hill", empirical=True),
            "value": float(value),
            "std": float(deviation),
        }
        for (name, atoms), value, deviation in zip(pairs, values, std, strict=True)
    ]


def screened(bulks: Sequence[Bulk], selection: BulkSelection) -> tuple[list[Bulk], list[LeftOut]]:
    """Part bulks into those that pass every screen of a campaign and those that do not.

    Pure elements pass when they were added as references.

    Raises
    ------
    ConfigError
        If a screen's model cannot be used, or no compound is left.
    """
    if not selection.screen:
        return list(bulks), []
    from surrogate.fragments import crystal_descriptors

    judged = [b for b in bulks if not (selection.with_pure_elements and b.is_element)]
    descriptors = crystal_descriptors(b.atoms for b in judged)
    reasons: dict[str, str] = {}
    for screen in selection.screen:
        model = _model_of(screen)
        if not judged:  # references only
            continue
        values, _ = model.predict(descriptors)
        for bulk, value in zip(judged, values, strict=True):
            if reason := _reason(screen, model.property_name, float(value)):
                reasons.setdefault(bulk.id, reason)
    if judged and len(reasons) == len(judged):
        message = f"bulks.screen leaves no bulk: the first of {len(judged)} fails as {reasons[judged[0].id]}"
        raise ConfigError(message)
    kept = [b for b in bulks if b.id not in reasons]
    return kept, [LeftOut(b, reasons[b.id]) for b in bulks if b.id in reasons]


def _model_of(screen: PropertyScreen) -> PropertyModel:
    from surrogate.property_model import load_property_model

    try:
        model = load_property_model(Path(screen.model))
    except ConfigError as error:
        message = f"bulks.screen: {error}"
        raise ConfigError(message) from error
    if screen.property not in {None, model.property_name}:
        message = f"bulks.screen: {screen.model} predicts {model.property_name}, not {screen.property}"
        raise ConfigError(message)
    return model


def _reason(screen: PropertyScreen, name: str, value: float) -> str | None:
    if screen.min is not None and value < screen.min:
        return f"{name} {value:.3g} is predicted, below {screen.min:g}"
    if screen.max is not None and value > screen.max:
        return f"{name} {value:.3g} is predicted, above {screen.max:g}"
    return None
