"""What a convergence study shows: errors, which settings meet the tolerance, which recipes do.

The error of a setting is its ΔE minus that of the densest setting of its series. A setting *meets* the
tolerance if its error and those of all denser ones are within it: one that is right by chance, between two
that are wrong, does not. A series shows convergence only if more than its densest setting meets. Errors of
different parameters are taken to add up. Units: eV, CPU-seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.convergence.series import Parameter, Point, Series, Setting
    from pipeline.convergence.study import Measured


class Verdict(StrEnum):
    """Whether a setting meets the tolerance."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """What was computed does not tell."""


@dataclass(frozen=True)
class Finding:
    """Verdict on one setting of one parameter."""

    verdict: Verdict
    error_ev: float | None
    """Largest that it may have, as far as is known; None if nothing is."""


@dataclass(frozen=True)
class SeriesResult:
    """A series with what came of it."""

    parameter: Parameter
    points: tuple[tuple[Point, Measured], ...]
    """From coarse to dense."""
    tolerance_ev: float

    @cached_property
    def known(self) -> list[tuple[Point, float]]:
        """Points with their ΔE, those without left out."""
        return [(p, m.delta_e_ev) for p, m in self.points if m.delta_e_ev is not None]

    @property
    def reference(self) -> Point | None:
        """The densest setting that has an energy."""
        return self.known[-1][0] if self.known else None

    def error_ev(self, measured: Measured) -> float | None:
        """ΔE of a point minus that of the reference."""
        return None if measured.delta_e_ev is None else measured.delta_e_ev - self.known[-1][1]

    @cached_property
    def errors_ev(self) -> list[float]:
        """Errors of the known points."""
        return [delta_e - self.known[-1][1] for _, delta_e in self.known]

    @cached_property
    def first(self) -> int:
        """Index, among the known points, of the coarsest that meets the tolerance."""
        index = len(self.known) - 1
        while index > 0 and abs(self.errors_ev[index - 1]) <= self.tolerance_ev:
            index -= 1
        return index

    @property
    def is_converged(self) -> bool:
        """Whether the series shows that its densest setting is dense enough."""
        return 0 <= self.first < len(self.known) - 1

    def find(self, level: float) -> Finding:
        """Judge a setting by how dense it is, computed or not."""
        levels = [p.level for p, _ in self.known]
        if len(levels) < 2:
            return Finding(Verdict.UNKNOWN, None)
        below = [i for i, known in enumerate(levels) if known <= level]
        above = [i for i, known in enumerate(levels) if known >= level]
        near = ([below[-1]] if below else []) + ([above[0]] if above else [])
        error = max((self.errors_ev[i] for i in near), key=abs)
        if level >= levels[self.first]:
            return Finding(Verdict.YES if self.is_converged else Verdict.UNKNOWN, error)
        if self.first > 0 and level <= levels[self.first - 1]:
            return Finding(Verdict.NO, error)
        return Finding(Verdict.UNKNOWN, error if below else None)


def series_results(
    series: Sequence[Series], measured: Mapping[Setting, Measured], tolerance_ev: float
) -> list[SeriesResult]:
    """Put series together with what came of their settings."""
    return [
        SeriesResult(s.parameter, tuple((p, measured[p.setting]) for p in s.points), tolerance_ev)
        for s in series
    ]


@dataclass(frozen=True)
class Recommendation:
    """The coarsest settings that meet the tolerance together."""

    setting: Setting
    chosen: Mapping[str, Point]
    """By parameter."""
    errors_ev: Mapping[str, float]
    is_shown: bool
    """Whether every series converged; else the densest setting of one is only the best known."""


def recommend(start: Setting, results: Sequence[SeriesResult]) -> Recommendation:
    """Take from each series the coarsest setting that meets, then refine until the sum meets too.

    Parameters
    ----------
    start
        What parameters without a series, or without any energy, are left at.
    """
    usable = [r for r in results if r.known]
    index = {r.parameter.name: r.first for r in usable}

    def error_of(result: SeriesResult) -> float:
        return result.errors_ev[index[result.parameter.name]]

    while usable and sum(abs(error_of(r)) for r in usable) > usable[0].tolerance_ev:
        worst = max(usable, key=lambda r: abs(error_of(r)))
        index[worst.parameter.name] += 1
    setting = start
    for result in usable:
        point = result.known[index[result.parameter.name]][0]
        setting = setting.with_that_of(point.setting, result.parameter)
    return Recommendation(
        setting=setting,
        chosen={r.parameter.name: r.known[index[r.parameter.name]][0] for r in usable},
        errors_ev={r.parameter.name: error_of(r) for r in usable},
        is_shown=len(usable) == len(results) and all(r.is_converged for r in usable),
    )


@dataclass(frozen=True)
class RecipeFinding:
    """Verdict on a recipe with its slab settings."""

    name: str
    findings: Mapping[str, tuple[Point, Finding]]
    """By parameter."""
    tolerance_ev: float
    differs_in: tuple[str, ...]
    """Settings that are not those of the start and that no series varies."""

    @property
    def errors_add_up_to_ev(self) -> float:
        """Sum of the sizes of all known errors."""
        return sum(abs(f.error_ev) for _, f in self.findings.values() if f.error_ev is not None)

    @property
    def verdict(self) -> Verdict:
        """Whether it meets the tolerance in all that was varied, errors added up."""
        verdicts = {f.verdict for _, f in self.findings.values()}
        if Verdict.NO in verdicts:
            return Verdict.NO
        if Verdict.UNKNOWN in verdicts or not verdicts:
            return Verdict.UNKNOWN
        return Verdict.YES if self.errors_add_up_to_ev <= self.tolerance_ev else Verdict.NO
