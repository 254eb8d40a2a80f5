"""``sabatier properties``: learn a property of crystals from a table, predict it for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.cli.common import JsonOption, check_output, guarded, print_json, stdout

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer(
    help="Learn a property of crystals, such as the bulk modulus, and predict it.", no_args_is_help=True
)


@app.command()
def train(
    table: Annotated[Path, typer.Argument(help="CSV file: a crystal's id and its property in each row.")],
    target: Annotated[str, typer.Option("--target", "-t", help="Column to learn.", metavar="COLUMN")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the model.", metavar="MODEL")],
    structures: Annotated[
        Path | None,
        typer.Option(
            "--structures",
            help="Folder with a structure file per id; the built-in library when left out.",
            metavar="DIR",
        ),
    ] = None,
    id_column: Annotated[
        str, typer.Option("--id-column", help="Column with the crystals' ids.", metavar="COLUMN")
    ] = "id",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the folds and trees.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn a number, or a yes or no, from a table; shows how good on chemical systems not seen."""
    guarded(lambda: _train(table, target, out, structures, id_column, seed, as_json=as_json))


def _train(
    path: Path, target: str, out: Path, folder: Path | None, id_column: str, seed: int, *, as_json: bool
) -> None:
    from config.errors import ConfigError
    from pipeline.properties import read_table, table_crystals, training_document
    from pipeline.properties import train as learn

    check_output(out, "--out")
    if out.exists() and path.exists() and out.samefile(path):
        message = f"--out {out}: is the table that is learned from; give the model a file of its own"
        raise ConfigError(message)
    table = read_table(path, target, id_column)
    model = learn(table, table_crystals(path, table, folder), target, seed)
    model.save(out)
    document = training_document(model, table, out)
    if as_json:
        print_json(document)
    else:
        _print_training(document)


def _print_training(document: dict[str, Any]) -> None:
    console, metrics = stdout(), dict(document["metrics"])
    n, systems = metrics.pop("n"), metrics.pop("chemical_systems")
    empty = document["rows_without_value"]
    left = f"; {empty} rows without a value left out" if empty else ""
    console.print(f"{document['property']}: learned from {n:.0f} crystals{left}", markup=False)
    console.print(f"predicted for chemical systems not seen, of {systems:.0f}:")
    for name, value in metrics.items():
        console.print(f"  {name.replace('_', ' '):20s} {value:.4g}", markup=False)
    console.print("what matters: by how much the error grows without it")
    for name, value in document["importances"].items():
        console.print(f"  {name:28s} {value:+.0%}", markup=False)
    console.print(f"written to {document['model']}", markup=False, soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model that 'sabatier properties train' wrote.")],
    crystals: Annotated[
        list[Path] | None, typer.Argument(help="Structure files, or folders of them.", metavar="[FILES]...")
    ] = None,
    bulks: Annotated[
        str | None,
        typer.Option("--bulks", help="Campaign file or preset: its bulks.", metavar="CAMPAIGN"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the property of crystals, with its standard deviation."""
    guarded(lambda: _predict(model, crystals or [], bulks, as_json=as_json))


def _predict(path: Path, files: list[Path], campaign: str | None, *, as_json: bool) -> None:
    from config.errors import ConfigError
    from pipeline.properties import predictions
    from surrogate.property_model import load_property_model

    model = load_property_model(path)
    named = [*_of_files(files), *_of_campaign(campaign)]
    if not named:
        message = "give structure files, folders of them, or --bulks CAMPAIGN"
        raise ConfigError(message)
    rows = predictions(model, named)
    if as_json:
        print_json({"property": model.property_name, "is_class": model.is_class, "predictions": rows})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    what = f"probability of {model.property_name}" if model.is_class else model.property_name
    table = Table("crystal", "formula", what, "±", box=SIMPLE_HEAD, show_edge=False)
    for row in rows:
        table.add_row(row["crystal"], row["formula"], f"{row['value']:.4g}", f"{row['std']:.2g}")
    stdout().print(table)


def _of_files(paths: list[Path]) -> list[tuple[str, Atoms]]:
    from pipeline.properties import read_crystal, structure_files

    listed = [file for path in paths for file in (structure_files(path) if path.is_dir() else [path])]
    return [(file.name, read_crystal(file)) for file in listed]


def _of_campaign(source: str | None) -> list[tuple[str, Atoms]]:
    if source is None:
        return []
    from config.loader import load_campaign
    from pipeline.structures.bulks import load_bulks

    settings = load_campaign(source)
    return [(bulk.source_id, bulk.atoms) for bulk in load_bulks(settings.bulks, Path())]
