"""The picture of a convergence study: a panel per parameter with error and cost. Units: eV, CPU-seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dft.jobs import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ERROR_COLOUR, COST_COLOUR, BAND_COLOUR = "#0b6e99", "#bc6c25", "#6a994e"
COLUMNS = 3
BAND_ALPHA = 0.18
PANEL_INCHES = (3.9, 3.3)
WIDEST_TITLE = 6.5
"""Width of the narrowest figure that its title and legend fit into, inches."""
MANY_TICKS = 5
"""Labels are slanted beyond so many."""
SMALLEST_RANGE = 1.4
"""The error axis shows at least so many tolerances on both sides."""


def plot_study(document: Mapping[str, Any], path: Path) -> Path:
    """Draw a study's document to a PNG.

    Parameters
    ----------
    document
        From :func:`pipeline.convergence.document.study_document`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = document["series"]
    n_columns = min(COLUMNS, len(series))
    n_rows = math.ceil(len(series) / n_columns)
    width, height = PANEL_INCHES
    figure = Figure(
        figsize=(max(width * n_columns, WIDEST_TITLE), height * n_rows + 0.9), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, one in zip(panels, series, strict=False):
        _draw(axes, one, document["tolerance_ev"])
    for axes in panels[len(series) :]:
        axes.set_visible(False)
    figure.suptitle(
        f"{document['adsorbate']} on {document['site']['label']}, varied from {document['start']['recipe']}",
        fontsize=11,
    )
    figure.legend(handles=_legend(document["tolerance_ev"]), loc="outside lower center", ncols=4, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path


def _legend(tolerance_ev: float) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    error: dict[str, Any] = {"color": ERROR_COLOUR, "marker": "o", "markeredgewidth": 1.4}
    return [
        Line2D([], [], **error, label="meets; the start is larger"),
        Line2D([], [], **error, markerfacecolor="white", label="does not meet, or is not shown to"),
        Patch(color=BAND_COLOUR, alpha=BAND_ALPHA, label=f"±{tolerance_ev:g} eV"),
        Line2D([], [], color=COST_COLOUR, marker="s", ms=4, lw=1, ls="--", label="CPU-seconds"),
    ]


def _draw(axes: Any, series: Mapping[str, Any], tolerance_ev: float) -> None:
    points = [p for p in series["points"] if p["error_ev"] is not None]
    xs, errors = [p["x"] for p in points], [p["error_ev"] for p in points]
    cost = axes.twinx()
    seconds = [p["cpu_seconds"] for p in points]
    cost.plot(xs, seconds, color=COST_COLOUR, marker="s", ms=4, lw=1, ls="--")
    cost.set_ylim(0.0, 1.1 * max(seconds, default=1.0))
    cost.set_ylabel("CPU-seconds of adslab and slab", color=COST_COLOUR, fontsize=8)
    cost.tick_params(axis="y", colors=COST_COLOUR, labelsize=8)
    axes.set_zorder(cost.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.axhspan(-tolerance_ev, tolerance_ev, color=BAND_COLOUR, alpha=BAND_ALPHA, lw=0)
    axes.axhline(0.0, color="0.5", lw=0.8)
    axes.plot(xs, errors, color=ERROR_COLOUR, lw=1.4)
    for point in points:
        is_good = point["meets"] == "yes"
        axes.plot(
            point["x"], point["error_ev"], marker="o", ms=8 if point["is_start"] else 6, color=ERROR_COLOUR,
            markerfacecolor=ERROR_COLOUR if is_good else "white", markeredgewidth=1.4,
        )  # fmt: skip
    _label(axes, series, tolerance_ev, errors)


def _label(axes: Any, series: Mapping[str, Any], tolerance_ev: float, errors: list[float]) -> None:
    points = series["points"]
    largest = max([abs(e) for e in errors] + [SMALLEST_RANGE * tolerance_ev])
    axes.set_ylim(-1.15 * largest, 1.15 * largest)
    axes.set_xticks([p["x"] for p in points], [p["label"].split()[0] for p in points], fontsize=8)
    axes.set_xlabel(series["axis"], fontsize=8)
    if len(points) > MANY_TICKS:
        axes.tick_params(axis="x", rotation=40)
    axes.tick_params(axis="y", labelsize=8, colors=ERROR_COLOUR)
    axes.set_ylabel(f"ΔE − ΔE at {series['reference'] or '?'} (eV)", color=ERROR_COLOUR, fontsize=8)
    told = f"meets from {series['meets_from']}" if series["is_converged"] else "no convergence shown"
    axes.set_title(f"{series['title']}: {told}", fontsize=9)
    for tick, point in zip(axes.get_xticklabels(), points, strict=True):
        if point["is_start"]:
            tick.set_fontweight("bold")
