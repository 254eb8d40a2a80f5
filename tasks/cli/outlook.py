"""What ``sabatier status`` says of the surrogate: what it promises, and how its predictions turned out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_outlook(console: Console, document: dict[str, Any]) -> None:
    """Print a line on the last round's promise, and one on each adsorbate's latest results."""
    if document["prospects"] is not None:
        _say(console, f"  {_promise(document['prospects'])}")
    from pipeline.drift import in_words
    from surrogate.drift import Drift

    for of_one in document["drift"]:
        if of_one["recent"] is not None:
            figures = Drift(**of_one["recent"])
            is_off = figures.is_coverage_off or figures.is_biased
            _say(console, f"  {in_words(of_one['adsorbate'], figures)}", "yellow" if is_off else None)


def _promise(prospects: dict[str, Any]) -> str:
    rate, least = prospects["hits_per_cpu_hour"], prospects["least_hits_per_cpu_hour"]
    each = f", {rate:.2g} for each CPU-hour" if rate is not None else ""
    stop = f" (below {least:g} the campaign stops)" if least is not None else ""
    return (
        f"round {prospects['round']} promised {prospects['hits']:.2g} hits{each}{stop}; "
        f"about {prospects['hits_left']:.2g} more are expected among the candidates left"
    )


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)
