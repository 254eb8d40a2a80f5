"""Measuring settings on a surface, and making series of them. Units: eV, Å; layers and cells are counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.errors import ConfigError
from dft.jobs import CalculationKind
from pipeline.convergence.series import Parameter, Point, Series, Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from pipeline.domain import Surface

DEFAULTS = {
    "cutoff": (300.0, 350.0, 400.0, 500.0, 600.0),
    "vacuum": (6.0, 8.0, 12.0, 16.0),
    "smearing": (0.2, 0.1, 0.05, 0.025),
    "fmax": (0.1, 0.05, 0.03, 0.01),
}
"""Values of parameters whose default series is the same on every surface: eV, Å, eV, eV/Å."""
MESH_STEPS = (-2, -1, 1, 2, 4)
"""Default k-points: so many more than the starting recipe has, along the direction that has most."""
LAYER_STEPS = (-1, 1, 2, 3)
SUPERCELL_STEPS = (1, 2)
LOWEST_SLAB_A = 2.0
"""Smallest ``surfaces.min_height_a`` that a campaign may ask for."""


@dataclass(frozen=True)
class Ruler:
    """Tells what mesh, how many layers and which supercell settings come to on one surface."""

    surface: Surface
    scale: float = 1.0
    """Equilibrium over reference lattice, once it is known: k-point meshes depend on it."""

    def series(self, parameter: Parameter, start: Setting, wanted: Sequence[float] | None) -> Series:
        """Make the series of one parameter; the start is always one of its points.

        Parameters
        ----------
        wanted
            Values as a person gives them: eV, a density, Å, or counts. Some that are likely to show the
            convergence when left out.

        Raises
        ------
        ConfigError
            If a value is not possible, or all of them come to the same calculation.
        """
        values = self._defaults(parameter, start) if wanted is None else wanted
        points = {p.level: p for p in (self._point(parameter, start, value) for value in values)}
        begin = self.measure(parameter, start, is_start=True)
        points[begin.level] = begin
        if len(points) < 2:
            message = f"--{parameter.name}: all values come to {begin.label}, which is the start; give others"
            raise ConfigError(message)
        return Series(parameter, tuple(points[level] for level in sorted(points)))

    def measure(self, parameter: Parameter, setting: Setting, *, is_start: bool = False) -> Point:
        """Make a point of a setting."""
        if parameter.name in {"kpoints", "supercell"}:
            repeats = self._repeats(setting)
            first, second = self._mesh(setting) if parameter.name == "kpoints" else repeats
            level = float(first * second)
            if parameter.name == "kpoints":  # of one surface cell, so that supercells can be compared
                level *= math.prod(repeats)
            return Point(f"{first}×{second}", level, math.sqrt(level), setting, is_start)
        if parameter.name == "layers":
            level = float(self._slab(setting).get_tags().max())
            return Point(f"{level:.0f} layers", level, level, setting, is_start)
        value = float(getattr(getattr(setting, parameter.section), parameter.key))
        level = -value if parameter.is_falling else value
        return Point(f"{value:g} {parameter.unit}", level, level, setting, is_start)

    def _point(self, parameter: Parameter, start: Setting, given: float) -> Point:
        try:
            changed = start.with_value(parameter, self._value_of(parameter, given))
        except ConfigError as error:
            message = f"--{parameter.name} {given:g}: {error}"
            raise ConfigError(message) from error
        return self.measure(parameter, changed)

    def _value_of(self, parameter: Parameter, given: float) -> float:
        """Turn what a person gives into the setting's units."""
        if not parameter.is_counted:
            return given
        if given < 1 or not float(given).is_integer():  # nan and inf are none either
            message = "must be a whole number from 1"
            raise ConfigError(message)
        return self._height(int(given)) if parameter.name == "layers" else self._width(int(given))

    def _defaults(self, parameter: Parameter, start: Setting) -> list[float]:
        if parameter.name in DEFAULTS:
            return list(DEFAULTS[parameter.name])
        if parameter.name == "supercell":
            return [float(min(self._repeats(start)) + step) for step in SUPERCELL_STEPS]
        if parameter.name == "layers":
            n_layers = int(self._slab(start).get_tags().max())
            deepest = int(self.surface.atoms.get_tags().max())
            counts = (n_layers + step for step in LAYER_STEPS)
            return [float(n) for n in counts if n <= deepest and self._reach(n) >= LOWEST_SLAB_A]
        lengths = 2 * math.pi * self._slab(start).cell.reciprocal().lengths()[:2]
        n_points = max(self._mesh(start))
        # In the middle of the densities that give a mesh: relaxing the lattice must not change it.
        return [round((n_points + s - 0.5) / max(lengths), 2) for s in MESH_STEPS if n_points + s > 0]

    def _slab(self, setting: Setting) -> Atoms:
        from pipeline.structures.slabs import build_slab

        return build_slab(self.surface, self.scale, setting.surfaces)

    def _mesh(self, setting: Setting) -> tuple[int, int]:
        from dft.calculator import kpoint_mesh

        return kpoint_mesh(setting.recipe, self._slab(setting), CalculationKind.SLAB)[:2]

    def _repeats(self, setting: Setting) -> tuple[int, int]:
        from pipeline.structures.slabs import repetition

        return repetition(self.surface.atoms.cell.array[:2, :2], setting.surfaces.min_lateral_a)

    def _height(self, n_layers: int) -> float:
        """Height (Å) that asks for so many layers: at most theirs, and more than that of one less."""
        deepest = self.surface.atoms.get_tags().max()
        if n_layers > deepest:
            message = f"at most {deepest} layers are possible here"
            raise ConfigError(message)
        below, reached = self._reach(n_layers - 1), self._reach(n_layers)
        if reached < LOWEST_SLAB_A:
            message = f"is {reached:.1f} Å high here; a slab must be {LOWEST_SLAB_A:g} Å or more"
            raise ConfigError(message)
        tidy = math.floor(10 * (reached - 0.05)) / 10
        return max(LOWEST_SLAB_A, tidy if tidy > below + 0.05 else (below + reached) / 2)

    def _reach(self, n_layers: int) -> float:
        """Height (Å) of so many layers, between their outermost planes."""
        tags, heights = self.surface.atoms.get_tags(), self.surface.atoms.positions[:, 2]
        return float(np.ptp(heights[tags <= max(n_layers, 1)]))

    def _width(self, n_cells: int) -> float:
        """Distance of copies (Å) that asks for so many surface cells along the shortest direction."""
        first, second = self.surface.atoms.cell.array[:2, :2]
        shortest = min(float(np.linalg.norm(v)) for v in (first, second, first - second, first + second))
        return math.floor(10 * (n_cells * shortest - 0.05)) / 10
