"""Pictures of explanations: what facts contribute, what matters on the whole, a map of sites. Units: eV.

They draw the documents of :mod:`pipeline.explaining`; the format is that of the file's suffix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.plots import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    Document = dict[str, Any]

LEAST_EV = 0.005
"""Contributions that are smaller are not shown: they round to 0.00."""
FLAT_EV = 0.005
"""A dependence over a smaller range of ΔE is not drawn."""
_DOWN, _UP, _TARGET = COLOURS[0], COLOURS[1], COLOURS[2]
_MAP_COLOURS = ("#23307a", "#9db4e6", "#1f8a3b", "#f2b28c", "#8c1220")
"""Far too strong, too strong, a hit, too weak, far too weak."""
_MANY = 20
"""Elements whose names do not fit side by side."""
_LONGEST = 34
"""Characters of a label before it goes on in the next line."""


def draw_contributions(documents: Sequence[Document], path: Path, *, title: str) -> Path:
    """Draw how each site's facts lead from the typical prediction to its own; a panel for each site."""
    rows = [_visible(document) for document in documents]
    heights = [1.6 + 0.42 * len(row) for row in rows]
    figure = new_figure(8.0, 0.4 + sum(heights))
    is_one_scale = len({document["adsorbate"] for document in documents}) == 1
    grid = figure.subplots(
        len(documents), 1, squeeze=False, sharex=is_one_scale, gridspec_kw={"height_ratios": heights}
    )
    for axes, document, row in zip(grid[:, 0], documents, rows, strict=True):
        _waterfall(axes, document, row)
        if is_one_scale:
            axes.label_outer()
    figure.suptitle(title)
    return save_figure(figure, path)


def _visible(document: Document) -> list[Document]:
    return [row for row in document["contributions"] if abs(row["contribution_ev"]) >= LEAST_EV]


def _waterfall(axes: Axes, document: Document, rows: Sequence[Document]) -> None:
    target, window = document["target_ev"], document["window_ev"]
    axes.axvspan(target - window, target + window, color=_TARGET, alpha=0.18, linewidth=0, label="target")
    edge = document["typical_ev"]
    for place, row in enumerate(rows, start=1):
        change = row["contribution_ev"]
        axes.barh(place, change, left=edge, height=0.6, color=_UP if change > 0 else _DOWN)
        axes.plot([edge + change] * 2, [place - 0.3, place + 1.3], color="0.5", linewidth=0.8)
        axes.annotate(
            f"{change:+.2f}".replace("-", "−"), (max(edge, edge + change), place), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
        edge += change
    end = len(rows) + 1
    axes.plot([document["typical_ev"]] * 2, [-0.3, 1.3], color="0.5", linewidth=0.8)
    axes.plot(document["typical_ev"], 0, "o", color="0.3")
    axes.errorbar(document["predicted_ev"], end, xerr=document["std_ev"], fmt="o", color="0.1", elinewidth=1)
    labels = ["typical site", *(f"{row['fact']}: {row['value']}" for row in rows), "predicted"]
    if document["computed_ev"] is not None:
        axes.plot(document["computed_ev"], end, "D", color="black", markerfacecolor="none", label="computed")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(end + 0.6, -0.6)
    axes.use_sticky_edges = False
    axes.margins(x=0.12)
    axes.set_xlabel(f"ΔE({document['adsorbate']}) / eV")
    axes.set_title(document["site"], fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_survey(document: Document, path: Path, *, title: str) -> Path:
    """Draw what matters on the whole: importances, elements, dependences."""
    shown = [d for d in document["dependences"] if np.ptp([p["delta_e_ev"] for p in d["points"]]) >= FLAT_EV]
    n_rows = 1 + (len(shown) + 3) // 4
    figure = new_figure(12.0, 0.6 + 3.0 * n_rows)
    grid = figure.add_gridspec(n_rows, 4)
    _importances(figure.add_subplot(grid[0, :2]), document)
    _elements(figure.add_subplot(grid[0, 2:]), document)
    first: Axes | None = None
    for place, dependence in enumerate(shown):
        axes = figure.add_subplot(grid[1 + place // 4, place % 4], sharey=first)
        first = first or axes
        _dependence(axes, dependence)
        axes.tick_params(labelleft=place % 4 == 0)
        if place % 4 == 0:
            axes.set_ylabel(f"mean ΔE({document['adsorbate']}) / eV")
    figure.suptitle(f"{title}: what the surrogate of {document['adsorbate']} has learned")
    return save_figure(figure, path)


def _importances(axes: Axes, document: Document) -> None:
    rows = [row for row in document["importances"] if row["mean_size_ev"] >= LEAST_EV]
    places = np.arange(len(rows))
    sizes = [row["mean_size_ev"] for row in rows]
    has_growth = bool(rows) and rows[0]["held_out_error_growth_ev"] is not None
    first = places - 0.2 if has_growth else places
    axes.barh(first, sizes, height=0.38, color=COLOURS[0], label="mean size of its contributions")
    if has_growth:
        growth = [row["held_out_error_growth_ev"] for row in rows]
        label = "growth of the error on unseen\ncrystals when it is another site's"
        axes.barh(places + 0.2, growth, height=0.38, color=COLOURS[4], label=label)
    axes.set_yticks(places, [row["fact"] for row in rows])
    axes.invert_yaxis()
    axes.axvline(0.0, color="0.4", linewidth=0.8)
    axes.set_title("what matters", fontsize=10, loc="left")
    if has_growth:
        axes.set_xlabel("eV")
        axes.legend(frameon=False, fontsize=8, loc="best")
    else:
        axes.set_xlabel("mean size of its contributions / eV")


def _elements(axes: Axes, document: Document) -> None:
    rows = document["binding_elements"]
    target, window = document["target_ev"], document["window_ev"]
    axes.axhspan(target - window, target + window, color=_TARGET, alpha=0.18, linewidth=0, label="target")
    for is_known, label in ((True, "computed on"), (False, "never computed on")):
        points = [(i, row["delta_e_ev"]) for i, row in enumerate(rows) if (row["n_known"] > 0) == is_known]
        if points:
            face = COLOURS[0] if is_known else "white"
            axes.plot(*zip(*points, strict=True), "o", color=COLOURS[0], markerfacecolor=face, label=label)
    axes.set_xticks(range(len(rows)), [row["element"] for row in rows])
    if len(rows) > _MANY:
        axes.tick_params(axis="x", labelsize=8, labelrotation=90)
    axes.set_ylabel(f"mean ΔE({document['adsorbate']}) / eV")
    axes.set_title("if all binding atoms were of one element", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="best")


def _dependence(axes: Axes, dependence: Document) -> None:
    from textwrap import fill

    from matplotlib.ticker import MaxNLocator

    xs, ys = ([point[key] for point in dependence["points"]] for key in ("x", "delta_e_ev"))
    axes.plot(xs, ys, "o", color=COLOURS[0], markersize=4, alpha=0.7)
    unit = f" / {dependence['unit']}" if dependence["unit"] else ""
    axes.set_xlabel(fill(dependence["words"] + unit, _LONGEST), fontsize=9)
    if all(float(x).is_integer() for x in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_map(document: Document, path: Path, *, title: str) -> Path:
    """Draw the sites as points, those that are described alike close together, coloured by ΔE.

    Hits are green, what binds too strongly blue, too weakly red. Computed sites are outlined and
    coloured by what was computed.
    """
    from matplotlib.colors import LinearSegmentedColormap

    points = document["points"]
    x, y, predicted = (np.array([p[key] for p in points]) for key in ("x", "y", "predicted_ev"))
    is_computed = np.array([p["computed_ev"] is not None for p in points])
    values = np.array([p["predicted_ev"] if p["computed_ev"] is None else p["computed_ev"] for p in points])
    target, window = document["target_ev"], document["window_ev"]
    reach = max(float(np.quantile(np.abs(np.r_[predicted, values] - target), 0.98)), window)
    edge = min(window / reach, 0.9) / 2
    strong, strongish, hit, weakish, weak = _MAP_COLOURS
    stops = [(0.0, strong), (0.5 - edge, strongish), (0.5 - edge, hit)]
    stops += [(0.5 + edge, hit), (0.5 + edge, weakish), (1.0, weak)]
    colours = LinearSegmentedColormap.from_list("target", stops)
    look = {"cmap": colours, "vmin": target - reach, "vmax": target + reach}
    figure = new_figure(7.4, 6.0)
    axes = figure.subplots()
    size = float(np.clip(6000 / len(points), 6, 40))
    drawn = axes.scatter(x[~is_computed], y[~is_computed], size, values[~is_computed], linewidths=0, **look)
    axes.scatter(
        x[is_computed], y[is_computed], 1.8 * size, values[is_computed],
        edgecolors="black", linewidths=0.8, **look,
    )  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes, extend="both", shrink=0.85)
    bar.set_label(f"ΔE({document['adsorbate']}) / eV, target {target:+.2f}")
    axes.set(xticks=[], yticks=[], title=f"{title}: sites that are described alike lie together")
    if is_computed.any():
        # The legend stands for no energy, so for no colour.
        axes.scatter([], [], 1.8 * size, "none", edgecolors="black", linewidths=0.8, label="computed")
        axes.legend(frameon=False, fontsize=8, loc="best")
    return save_figure(figure, path)
