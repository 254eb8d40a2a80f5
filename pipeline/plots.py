"""Pictures of a campaign: parity of prediction and DFT, and the learning curve.

Both use predictions made *before* a candidate was computed, so they show what the surrogate could do,
not what it was fitted to. Units: eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dft.jobs import replacing
from pipeline.store.records import SEED_ROUND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from config.adsorbates import AdsorbateSettings

COLOURS = ("#0b6e99", "#d1495b", "#6a994e", "#8d5a97", "#bc6c25", "#4a4e69")
MARKERS = ("o", "s", "^", "D", "v", "P")
Row = dict[str, Any]


def parity(rows: Sequence[Row], path: Path, *, title: str) -> Path:
    """Draw predicted against computed ΔE, one colour per adsorbate; the seed round is hollow."""
    figure = new_figure(5.6, 5.2)
    axes = figure.subplots()
    known = [r for r in rows if _is_comparable(r)]
    for index, adsorbate in enumerate(_adsorbates(rows)):
        for is_seed in (True, False):
            points = [
                r for r in known if r["adsorbate"] == adsorbate and (r["round"] == SEED_ROUND) == is_seed
            ]
            if points:
                _parity_points(
                    axes, points, index, _parity_label(adsorbate, points, is_seed=is_seed), hollow=is_seed
                )
    values = [v for r in known for v in (r["delta_e_ev"], r["predicted_ev"])]
    low, high = min(values, default=-1.0) - 0.3, max(values, default=1.0) + 0.3
    axes.plot([low, high], [low, high], color="0.4", linewidth=1, zorder=0)
    axes.fill_between([low, high], [low - 0.1, high - 0.1], [low + 0.1, high + 0.1], color="0.9", zorder=0)
    axes.set(
        xlim=(low, high), ylim=(low, high), aspect="equal", title=f"{title}: prediction before DFT",
        xlabel="ΔE by DFT (eV)", ylabel="ΔE predicted before (eV)",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return save_figure(figure, path)


def learning_curve(
    rows: Sequence[Row], targets: Mapping[str, AdsorbateSettings], path: Path, *, title: str
) -> Path:
    """Draw, round by round, the error of predictions made before DFT, and the hits found."""
    figure = new_figure(8.4, 3.8)
    errors, hits = figure.subplots(1, 2)
    rounds = sorted({r["round"] for r in rows})
    for index, adsorbate in enumerate(_adsorbates(rows)):
        mine = [r for r in rows if r["adsorbate"] == adsorbate]
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "label": adsorbate,
        }
        errors.plot(rounds, [_mean_error(mine, n) for n in rounds], **style)
        hits.step(rounds, [_hits(mine, targets[adsorbate], n) for n in rounds], where="mid", **style)
    errors.set(
        xlabel="round (0 is the seed)", ylabel="mean |prediction − DFT| (eV)", title="error before DFT"
    )
    errors.set_ylim(bottom=0)
    hits.set(xlabel="round (0 is the seed)", ylabel="surfaces within the window", title="hits found")
    hits.set_ylim(bottom=-0.15)
    for axes in (errors, hits):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)
    hits.yaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    return save_figure(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure without pyplot: no display and no global state are touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all; the format is that of the file's suffix."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return path


def _is_comparable(row: Row) -> bool:
    """Tell whether the prediction was for the site that the energy belongs to: the adsorbate stayed there."""
    return row["predicted_ev"] is not None and bool(row["site"] == row["start_site"])


def _adsorbates(rows: Sequence[Row]) -> list[str]:
    return sorted({r["adsorbate"] for r in rows})


def _parity_points(axes: Any, points: Sequence[Row], index: int, label: str, *, hollow: bool) -> None:
    colour = COLOURS[index % len(COLOURS)]
    axes.errorbar(
        [r["delta_e_ev"] for r in points],
        [r["predicted_ev"] for r in points],
        yerr=None
        if hollow
        else [r["predicted_std_ev"] for r in points],  # a prior's bars would hide all else
        fmt=MARKERS[index % len(MARKERS)],
        color=colour,
        markerfacecolor="white" if hollow else colour,
        markersize=5,
        elinewidth=0.6,
        alpha=0.85,
        label=label,
    )


def _parity_label(adsorbate: str, points: Sequence[Row], *, is_seed: bool) -> str:
    error = np.mean([abs(r["delta_e_ev"] - r["predicted_ev"]) for r in points])
    return f"{adsorbate}, {'seed' if is_seed else 'surrogate'} (n={len(points)}, MAE {error:.2f} eV)"


def _mean_error(rows: Sequence[Row], number: int) -> float:
    gaps = [
        abs(r["delta_e_ev"] - r["predicted_ev"]) for r in rows if r["round"] == number and _is_comparable(r)
    ]
    return float(np.mean(gaps)) if gaps else float("nan")


def _hits(rows: Sequence[Row], target: AdsorbateSettings, number: int) -> int:
    """Count surfaces whose lowest ΔE up to a round lies in the window."""
    lowest: dict[str, float] = {}
    for r in rows:
        if r["round"] <= number:
            lowest[r["surface_id"]] = min(lowest.get(r["surface_id"], float("inf")), r["delta_e_ev"])
    return sum(abs(e - target.target_ev) <= target.window_ev for e in lowest.values())
