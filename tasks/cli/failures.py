"""``sabatier failures``: which candidates fail, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import ConfigError
from tasks.cli.common import (
    AdsorbateOption,
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    adsorbates_of,
    check_picture,
    guarded,
    opened,
    print_json,
    stderr,
    stdout,
)


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    adsorbate: AdsorbateOption = None,
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
    from pipeline.failures import draw_tree, failures_document, learned, outcomes

    if plot is not None:
        check_picture(plot, "--plot")
    with opened(name, home) as campaign:
        wanted = adsorbates_of(campaign, adsorbate)
        if plot is not None and len(wanted) > 1:
            message = f"--plot draws one adsorbate: choose with -a one of {', '.join(wanted)}"
            raise ConfigError(message)
        found = {a: outcomes(campaign, a) for a in wanted}
        models = {a: learned(campaign, found[a]) for a in wanted}
    documents = [failures_document(a, found[a], models[a]) for a in wanted]
    if plot is not None and models[wanted[0]].tree_ is None:
        stderr().print(f"nothing was learned of {wanted[0]}: {plot} was not written", markup=False)
    elif plot is not None:
        draw_tree(models[wanted[0]], plot)
    if as_json:
        print_json({"campaign": campaign.name, "failures": documents})
        return
    for document in documents:
        _print(document)


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
