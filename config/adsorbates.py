"""Adsorbates: what a campaign may write about one, and what Sabatier makes of it.

``adsorbates.yaml`` beside this file holds those that come with Sabatier. A campaign may name one of
them, change single keys of it, or describe its own. :func:`species` merges the two;
:func:`problems` says what is wrong with the outcome. Units: Å, eV, degrees.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from config.recipe import StrictModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HIT_WINDOW_EV = 0.10
"""Half-width of what counts as a hit in Tran and Ulissi, eV."""
REFERENCE_MOLECULES = (
    *("H2", "H2O", "CO", "N2", "NH3", "NO", "CH4", "CH3OH", "C2H4", "C2H6", "H2S", "HCl", "HF"),
)
"""Molecules that ΔE may be counted from. Left out are those whose energy the functionals get wrong by
tenths of an eV, such as O2 and CO2; see ``docs/how-to/adsorbates.md``."""
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,29}"
"""Names become parts of file names."""
MIN_DISTANCE_A = 0.5
"""Atoms of an adsorbate that are nearer than this are a slip of the pen; H2, the shortest molecule, has
0.74 Å."""
LONGEST_BOND = 1.3
"""Atoms farther apart than this times the sum of their covalent radii are not bonded, neither at the start
nor in the verdict on what became of an adsorbate (:mod:`dft.geometry`)."""
MIN_SIMILARITY = 65.0
"""Keys at least this alike (rapidfuzz ratio, 0 to 100) are taken for slips of the pen."""
BALANCE_TOLERANCE = 1.0e-3
"""Atoms that a reference may miss an adsorbate's by: a third is written 0.333."""

Vector = tuple[float, float, float]


class AdsorbateSettings(StrictModel):
    """An adsorbate of the campaign and the adsorption energy that is wanted of it."""

    target_ev: float = Field(ge=-10.0, le=10.0)
    """Wanted adsorption energy ΔE, eV. CO and H come with a published one."""
    window_ev: float = Field(default=HIT_WINDOW_EV, gt=0.0, le=5.0)
    """A surface within this distance of the target is a hit, eV."""
    reaction: str = ""
    """Name of the reaction that the target stands for; for display."""
    atoms: tuple[str, ...] = Field(default=(), examples=[["C", "H", "H", "H"]])
    """Chemical symbols of an adsorbate of your own. This and the keys below are known for C, CHO, CO, COOH,
    H, N, NO, O, OH and OOH."""
    positions_a: tuple[Vector, ...] = Field(
        default=(),
        examples=[[[0.0, 0.0, 0.0], [1.03, 0.0, 0.36], [-0.515, 0.892, 0.36], [-0.515, -0.892, 0.36]]],
    )
    """Where the atoms are, Å, in the order of `atoms` and from any origin; the start of the relaxation."""
    binding_atom: int | None = Field(default=None, ge=0)
    """Which of `atoms` touches the surface, counted from 0; the first when left out."""
    orientation: Vector | None = Field(default=None, examples=[[0.0, 0.0, 1.0]])
    """Direction, in the frame of `positions_a`, that points away from the surface; z when left out."""
    rotation_deg: float | None = Field(default=None, ge=-360.0, le=360.0)
    """Turn about the surface normal, degrees; when left out, the turn that keeps the other atoms farthest
    from the surface and from the adsorbate's own copies."""
    reference: dict[str, float] = Field(default={}, examples=[{"CH4": 1.0, "H2": -0.5}])
    """Molecules whose energies, times these numbers, are what ΔE is counted from; they must have the
    adsorbate's atoms."""

    @field_validator("atoms", "positions_a", "orientation", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        """Take lists for tuples, which strict validation of plain values does not."""
        return tuple(map(cls._lists_are_tuples, value)) if isinstance(value, list) else value


SPECIES_KEYS = ("atoms", "positions_a", "binding_atom", "orientation", "rotation_deg", "reference")
"""Keys of :class:`AdsorbateSettings` that say what is computed; the others say what is wanted of it."""


@dataclass(frozen=True)
class Species:
    """An adsorbate as it is computed."""

    name: str
    symbols: tuple[str, ...]
    """Binding atom first."""
    positions: tuple[Vector, ...]
    """Å; the binding atom at the origin, z away from the surface."""
    rotation_deg: float | None
    """Turn about the surface normal; None leaves it to the surface."""
    reference: Mapping[str, float]
    """Molecule -> coefficient of its energy in the reference."""

    @property
    def key(self) -> str:
        """What stands for the species in ids: the name of one that comes with Sabatier, else a hash too.

        Reference and start belong to it: under one name, another reference is another ΔE.
        """
        if _definition(self) == _definition(presets().get(self.name)):
            return self.name
        text = json.dumps(_definition(self), sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _definition(species: Species | None) -> dict[str, Any]:
    if species is None:
        return {}
    return {
        "symbols": species.symbols,
        "positions": [[round(x, 4) + 0.0 for x in position] for position in species.positions],
        "rotation": species.rotation_deg,
        "reference": dict(species.reference),
    }


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Keys of the adsorbates that come with Sabatier, as ``adsorbates.yaml`` gives them."""
    from config.yaml_text import parse_mapping, read_text

    path = Path(__file__).with_name("adsorbates.yaml")
    return MappingProxyType(parse_mapping(read_text(path), path.name)[0])


@cache
def presets() -> Mapping[str, Species]:
    """Adsorbates that come with Sabatier, by name."""
    return MappingProxyType({name: _species(name, entry) for name, entry in shipped().items()})


def species(name: str, settings: AdsorbateSettings) -> Species:
    """Make the adsorbate of a campaign: its own keys, and those of the shipped one of that name.

    Parameters
    ----------
    settings
        Such that :func:`problems` finds nothing wrong.
    """
    return _species(name, _merged(name, settings))


def _merged(name: str, settings: AdsorbateSettings) -> dict[str, Any]:
    given = {key: getattr(settings, key) for key in SPECIES_KEYS}
    return {**shipped().get(name, {}), **{k: v for k, v in given.items() if v not in (None, (), {})}}


def _species(name: str, keys: Mapping[str, Any]) -> Species:
    symbols, positions = list(keys["atoms"]), [tuple(p) for p in keys["positions_a"]]
    first = keys.get("binding_atom") or 0
    order = [first, *(i for i in range(len(symbols)) if i != first)]
    up = keys.get("orientation") or (0.0, 0.0, 1.0)
    return Species(
        name,
        symbols=tuple(symbols[i] for i in order),
        positions=tuple(_upright(_difference(positions[i], positions[first]), up) for i in order),
        rotation_deg=keys.get("rotation_deg"),
        reference=MappingProxyType({m: float(c) for m, c in keys["reference"].items()}),
    )


def _difference(a: Vector, b: Vector) -> Vector:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def _upright(position: Vector, up: Vector) -> Vector:
    """Rotate a position by the shortest turn that brings ``up`` to z."""
    length = math.hypot(*up)
    u, v, w = (x / length for x in up)
    x, y, z = position
    if w < -1.0 + 1.0e-9:  # upside down: no turn is the shortest; this one is about x
        return (x, -y, -z)
    along = (u * x + v * y) / (1.0 + w) + z
    return (x - u * along, y - v * along, u * x + v * y + w * z)


def first_problem(name: str, given: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """Say what makes the rest of an adsorbate moot: that nothing is known of it, or no target."""
    if not {*SPECIES_KEYS} & set(given) and name not in shipped():
        return None, _unknown(name)
    if "target_ev" not in given and "target_ev" not in shipped().get(name, {}):
        if (slip := _meant_as("target_ev", given)) is not None:
            allowed = ", ".join(AdsorbateSettings.model_fields)
            return slip, f"unknown key (did you mean 'target_ev'?); allowed: {allowed}"
        return "target_ev", f"is missing: Sabatier knows no published optimum of {name}; give the ΔE you want"
    return None


def _meant_as(key: str, given: Mapping[str, Any]) -> str | None:
    """Find an unknown key that is spelled much like ``key``."""
    from rapidfuzz import fuzz, process, utils

    unknown = [each for each in given if each not in AdsorbateSettings.model_fields]
    alike = process.extractOne(
        key, unknown, scorer=fuzz.ratio, processor=utils.default_process, score_cutoff=MIN_SIMILARITY
    )
    return alike[0] if alike else None


def problems(name: str, settings: AdsorbateSettings) -> Iterator[tuple[str | None, str]]:
    """Say what is wrong with an adsorbate: keys (None: all of it), and what is allowed.

    Nothing is computed here; what a campaign file gets wrong is told before anything runs.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        yield None, "must be 1 to 30 letters, digits, '.', '_', '+' or '-', a letter or digit first"
        return
    keys = _merged(name, settings)
    missing = [key for key in ("atoms", "positions_a", "reference") if key not in keys]
    for key in missing:
        yield key, f"is missing: {name!r} is none of the adsorbates that Sabatier knows"
    if not missing:
        found = list(_shape_problems(keys))
        yield from found or _reference_problems(keys)


def _unknown(name: str) -> str:
    from rapidfuzz import fuzz, process

    alike = process.extractOne(name.upper(), list(shipped()), scorer=fuzz.ratio, score_cutoff=80.0)
    hint = f" (did you mean {alike[0]!r}?)" if alike else ""
    return (
        f"unknown adsorbate{hint}; allowed: {', '.join(shipped())}, or any name with the keys atoms, "
        "positions_a and reference"
    )


def _shape_problems(keys: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems of the atoms and where they are."""
    from ase.data import chemical_symbols

    symbols, positions = keys["atoms"], keys["positions_a"]
    wrong = [s for s in symbols if s not in chemical_symbols[1:]]
    if wrong:
        yield "atoms", f"{wrong[0]!r} is not a chemical element"
    if len(symbols) != len(positions):
        yield "positions_a", f"gives {len(positions)} positions for {len(symbols)} atoms"
        return
    for j, i in itertools.combinations(range(len(symbols)), 2):
        if (distance := math.dist(positions[i], positions[j])) < MIN_DISTANCE_A:
            told = f"puts atoms {j} and {i} {distance:.2f} Å apart; allowed: {MIN_DISTANCE_A} Å or more"
            yield "positions_a", told
            return
    if not wrong and (gap := _gap(symbols, positions)) is not None:
        yield "positions_a", gap
    if (keys.get("binding_atom") or 0) >= len(symbols):
        yield "binding_atom", f"got {keys['binding_atom']}; allowed: 0 to {len(symbols) - 1}"
    if math.hypot(*(keys.get("orientation") or (0.0, 0.0, 1.0))) < 1.0e-3:
        yield "orientation", "is no direction: its length is 0"


def _gap(symbols: Sequence[str], positions: Sequence[Vector]) -> str | None:
    """Say between which atoms an adsorbate falls into pieces; None if it hangs together."""
    from ase.data import atomic_numbers, covalent_radii

    def longest(i: int, j: int) -> float:
        return LONGEST_BOND * float(sum(covalent_radii[atomic_numbers[symbols[k]]] for k in (i, j)))

    def excess(pair: tuple[int, int]) -> float:
        return math.dist(positions[pair[0]], positions[pair[1]]) / longest(*pair)

    bound, left = [0], set(range(1, len(symbols)))
    while left:
        i, j = min(itertools.product(bound, sorted(left)), key=excess)
        if excess((i, j)) > 1.0:
            distance = math.dist(positions[i], positions[j])
            return (
                f"puts atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) {distance:.2f} Å apart, with no bond "
                f"between their parts of the adsorbate; allowed: {longest(i, j):.2f} Å or less"
            )
        bound.append(j)
        left.remove(j)
    return None


def _reference_problems(keys: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems of the reference: molecules that are not allowed, atoms that do not add up."""
    for molecule in keys["reference"]:
        if molecule not in REFERENCE_MOLECULES:
            yield "reference", f"got {molecule!r}; allowed: {', '.join(REFERENCE_MOLECULES)}"
            return
    have = composition(keys["reference"])
    wanted = {symbol: float(keys["atoms"].count(symbol)) for symbol in keys["atoms"]}
    off = {
        symbol: (have.get(symbol, 0.0), wanted.get(symbol, 0.0))
        for symbol in sorted(have.keys() | wanted.keys())
        if abs(have.get(symbol, 0.0) - wanted.get(symbol, 0.0)) > BALANCE_TOLERANCE
    }
    if off:
        told = ", ".join(f"{h:g} {symbol} for {w:g}" for symbol, (h, w) in off.items())
        given = " ".join(f"{c:+g} {m}" for m, c in keys["reference"].items())
        yield "reference", f"{given} does not have the atoms of the adsorbate: {told}"


def composition(reference: Mapping[str, float]) -> dict[str, float]:
    """Count the atoms of a sum of molecules, by symbol."""
    from ase.formula import Formula

    atoms: dict[str, float] = {}
    for molecule, coefficient in reference.items():
        for symbol, count in Formula(molecule).count().items():
            atoms[symbol] = atoms.get(symbol, 0.0) + coefficient * count
    return atoms
