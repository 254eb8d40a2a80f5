"""What a convergence study varies: one setting at a time, from a starting recipe, on one surface.

A *series* holds the settings that differ in one parameter, from coarse to dense. Two values that come to
the same calculation (k-point densities that give one mesh, heights that give one number of layers) are one
point. Units: eV, Å; k-point densities as in the recipe; layers and supercells are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import ValidationError

from config.errors import ConfigError
from pipeline.structures.ids import slab_geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.campaign import SurfaceSettings
    from config.recipe import RecipeSettings, StrictModel

_M = TypeVar("_M", bound="StrictModel")


@dataclass(frozen=True)
class Parameter:
    """A setting that is varied."""

    name: str
    """What the command line calls it."""
    title: str
    axis: str
    """What its values are, in a plot."""
    section: Literal["recipe", "surfaces"]
    key: str
    """Where a campaign file has it: ``recipe.cutoff_ev``."""
    unit: str = ""
    is_counted: bool = False
    """Values are whole numbers, from which the setting in Å follows."""
    is_falling: bool = False
    """Smaller values are the denser ones."""
    replaces: tuple[str, ...] = ()
    """Keys that would take its place."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything in its section that belongs to it."""
        return (self.key, *self.replaces)


PARAMETERS: Mapping[str, Parameter] = {
    p.name: p
    for p in (
        Parameter("cutoff", "plane-wave cutoff", "cutoff (eV)", "recipe", "cutoff_ev", unit="eV"),
        Parameter(
            "kpoints", "k-points in the plane", "mesh", "recipe", "slab_kpoint_density",
            replaces=("slab_kpoint_mesh",),
        ),
        Parameter("layers", "height of the slab", "layers", "surfaces", "min_height_a", is_counted=True),
        Parameter("vacuum", "vacuum", "vacuum (Å)", "surfaces", "vacuum_a", unit="Å"),
        Parameter("supercell", "supercell", "surface cells", "surfaces", "min_lateral_a", is_counted=True),
        Parameter("smearing", "smearing", "width (eV)", "recipe", "smearing_ev", unit="eV", is_falling=True),
        Parameter(
            "fmax", "largest force", "fmax (eV/Å)", "recipe", "fmax_ev_per_a", unit="eV/Å", is_falling=True
        ),
    )
}  # fmt: skip
"""Every parameter that a study can vary, in the order of its report."""
ON_REQUEST = frozenset({"smearing", "fmax"})
"""Those that are only varied when asked for: recipes hardly differ in them."""


@dataclass(frozen=True)
class Setting:
    """A recipe with the slab settings that go with it: all that an adsorption energy depends on."""

    recipe: RecipeSettings
    surfaces: SurfaceSettings

    def given(self, parameter: Parameter) -> dict[str, object]:
        """What a campaign file says of a parameter: its key and value."""
        section = getattr(self, parameter.section)
        if parameter.name == "kpoints" and self.recipe.slab_kpoint_mesh is not None:
            return {"slab_kpoint_mesh": list(self.recipe.slab_kpoint_mesh)}
        return {parameter.key: getattr(section, parameter.key)}

    def with_value(self, parameter: Parameter, value: float) -> Setting:
        """Copy with another value of a parameter.

        Raises
        ------
        ConfigError
            If the value is not allowed.
        """
        return self._with(parameter, {parameter.key: value} | dict.fromkeys(parameter.replaces))

    def with_that_of(self, other: Setting, parameter: Parameter) -> Setting:
        """Copy with another setting's value of a parameter."""
        section = getattr(other, parameter.section)
        return self._with(parameter, {key: getattr(section, key) for key in parameter.keys})

    def is_same_as(self, other: Setting) -> bool:
        """Tell whether two settings come to the same calculations."""
        first, second = slab_geometry(self.surfaces), slab_geometry(other.surfaces)
        return self.recipe.digest() == other.recipe.digest() and first == second

    def _with(self, parameter: Parameter, values: Mapping[str, object]) -> Setting:
        if parameter.section == "surfaces":
            return Setting(self.recipe, _changed(self.surfaces, values))
        recipe = _changed(self.recipe, values)
        if recipe.digest() == self.recipe.digest():
            return self
        name = f"{base_name(recipe)}+overrides"
        return Setting(recipe.model_copy(update={"name": name}), self.surfaces)


def base_name(recipe: RecipeSettings) -> str:
    """Name of the shipped recipe that a recipe starts from."""
    return recipe.name.removesuffix("+overrides")


def _changed(model: _M, update: Mapping[str, object]) -> _M:
    return checked(type(model), {**model.model_dump(), **update})


def checked(model: type[_M], values: Mapping[str, object]) -> _M:
    """Make settings, or say in one line what is wrong with them.

    Raises
    ------
    ConfigError
        If a value is not allowed.
    """
    from config.explain import find_problems
    from config.yaml_text import dotted

    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = find_problems(error)
        message = "; ".join(f"{dotted(path)}: {text}" for path, text in problems.items())
        raise ConfigError(message) from error


@dataclass(frozen=True)
class Point:
    """One setting of a series."""

    label: str
    """What a person calls it: ``400 eV``, ``5×5``, ``4 layers``."""
    level: float
    """How dense it is; only the order, and whether two are equal, has a meaning."""
    x: float
    """Where it is drawn."""
    setting: Setting
    is_start: bool


@dataclass(frozen=True)
class Series:
    """Settings that differ in one parameter, from coarse to dense."""

    parameter: Parameter
    points: tuple[Point, ...]
