"""``sabatier failures``: which candidates fail, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.cli.common import (
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    guarded,
    one_of,
    opened,
    print_json,
    stderr,
    stdout,
)

SUFFIXES = (".png", ".svg", ".pdf")


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    adsorbate: Annotated[
        str | None, typer.Option("--adsorbate", "-a", help="Only this adsorbate.", metavar="NAME")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the tree of one adsorbate (-a) into this file.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which candidates gave no adsorption energy, and what they have in common."""
    guarded(lambda: _failures(campaign, home, adsorbate, plot, as_json=as_json))


def _failures(
    name: str | None, home: Path | None, adsorbate: str | None, plot: Path | None, *, as_json: bool
) -> None:
    from pipeline.failures import failures_document

    if plot is not None:
        _check_plot(plot)
    with opened(name, home) as campaign:
        known = list(campaign.settings.adsorbates)
        wanted = known if adsorbate is None else [one_of(adsorbate, known, "adsorbate")]
        documents = [failures_document(campaign, a) for a in wanted]
        if plot is not None:
            _plot(campaign, wanted, plot)
    if as_json:
        print_json({"campaign": campaign.name, "failures": documents})
        return
    for document in documents:
        _print(document)


def _check_plot(path: Path) -> None:
    from config.errors import ConfigError

    if path.suffix.lower() not in SUFFIXES:
        message = f"--plot {path}: the file's name must end with one of {', '.join(SUFFIXES)}"
        raise ConfigError(message)
    if not path.absolute().parent.is_dir():
        message = f"--plot {path}: there is no folder {path.absolute().parent}"
        raise ConfigError(message)


def _plot(campaign: Any, wanted: list[str], path: Path) -> None:
    from config.errors import ConfigError
    from pipeline.failures import draw_tree, learned

    if len(wanted) > 1:
        message = f"--plot draws one adsorbate: choose with -a one of {', '.join(wanted)}"
        raise ConfigError(message)
    model = learned(campaign, wanted[0])
    if model.tree_ is None:
        stderr().print(f"nothing was learned of {wanted[0]}: {path} was not written", markup=False)
        return
    draw_tree(model, path)


def _print(document: dict[str, Any]) -> None:
    n_ok, n_bad = document["n_success"], document["n_failure"]
    lines = [f"{document['adsorbate']}: {n_ok} gave an adsorption energy, {n_bad} did not"]
    lines += [f"  {code}: {n}" for code, n in document["codes"].items()]
    if document["rules"]:
        lines.append(f"  in short (the tree tells {document['tree_fidelity']:.0%} of what was learned):")
        lines += [f"    {rule}" for rule in document["rules"]]
    elif n_bad:
        lines.append("  too few, or nothing that they have in common: every candidate keeps the same chance")
    for line in lines:
        stdout().print(line, markup=False, highlight=False, soft_wrap=True)
