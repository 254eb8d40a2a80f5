"""Small made-up files of the same columns as the reference data."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

from surrogate.elements import electronegativity
from tests.surrogate.worlds import law, random_environments

if TYPE_CHECKING:
    from pathlib import Path

MAMUN_SITES = ("top|A", "bridge|A_A|A", "hollow|A_A_A|FCC", "hollow|A_A_A|HCP")
MIXED_SITES = ("hollow|A_A_B|FCC", "top|B", "hollow-tilt|A_A_B|HCP", "bridge")


def write_gaspy(folder: Path, n: int = 60) -> None:
    environments = random_environments(n)
    rows = list(zip(environments, law(environments), strict=True))
    co = ["mpid", "h", "k", "l", "shift", "top", "coordination", "neighborcoord", "energy_eV"]
    with _writing(folder / "gaspy_co_sites.csv.gz") as handle:
        writer = csv.writer(handle)
        writer.writerow(co)
        for i, (site, energy) in enumerate(rows):
            first, second = _spelt(site.first_shell), _spelt(site.second_shell)
            around = "|".join(f"{symbol}:{second}" for symbol in first.split("-"))
            writer.writerow([f"mp-{i % 12}", 1, 1, 1, f"0.{i % 2}1", i % 2, first, around, energy])
    with _writing(folder / "gaspy_h_sites.csv.gz") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            ["mpid", "formula", "energy_eV", "shift", "miller_class", "top", "coordination", "outer8"]
        )
        for i, (site, energy) in enumerate(rows):
            first, second = _spelt(site.first_shell), _spelt(site.second_shell)
            writer.writerow([f"mp-{i % 12}", "CuPd3", energy / 2, "0.25", 3, i % 2, first, second])


def write_mamun(folder: Path) -> None:
    with _writing(folder / "mamun2019_h.csv.gz") as handle:
        writer = csv.writer(handle)
        writer.writerow(["slab_composition", "surface_composition", "facet", "site", "equation", "energy_eV"])
        for slab, surface, facet in (
            ("Cu12", "Cu", "111"), ("Pd12", "Pd", "111"), ("Cu9Pd3", "Cu3Pd", "111"),
            ("Cu3Pd9", "Pd3Cu", "111"), ("Ag6Pd6", "AgPd", "101"), ("Ag3Pd9", "Pd3Ag", "111"),
        ):  # fmt: skip
            first = surface[:2]
            for i, site in enumerate(MAMUN_SITES + (() if surface == first else MIXED_SITES)):
                equation = "H2(g) + 2* -> 2H*" if site == "bridge" else "0.5H2(g) + * -> H*"
                energy = -electronegativity(first) + 2.0 + 0.02 * i
                writer.writerow([slab, surface, facet, site, equation, energy])


def _writing(path: Path):
    return gzip.open(path, "wt", encoding="utf-8", newline="")


def _spelt(shell: tuple[tuple[str, int], ...]) -> str:
    return "-".join(symbol for symbol, count in shell for _ in range(count))
