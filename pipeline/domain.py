"""The nouns of the loop as plain values: bulk, surface, site, candidate, calculation, observation.

Structures are held at the *reference* lattice (as the bulk source gave it). Ids rest on topology and
that reference structure, so they are known before any DFT; the slab that is computed is the same
structure scaled to the bulk's equilibrium at the campaign's recipe. Units: eV, Å.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ase import Atoms

    from dft.codes import FailureCode
    from dft.jobs import CalculationKind

SiteKind = Literal["top", "bridge", "hollow"]
Shell = tuple[tuple[str, int], ...]
"""Elements and how many atoms of each, sorted by symbol: ``(("Cu", 2), ("Pd", 1))``."""


@dataclass(frozen=True)
class Bulk:
    """A crystal: the conventional standard cell of what the source gave."""

    id: str
    source_id: str
    """Name at the source, such as ``mp-30`` or a file name."""
    formula: str
    """Reduced formula, such as ``Cu3Pd``."""
    elements: tuple[str, ...]
    """Sorted symbols."""
    atoms: Atoms = field(compare=False, repr=False)
    source: str = "library"

    @property
    def is_element(self) -> bool:
        """True for a pure element."""
        return len(self.elements) == 1


@dataclass(frozen=True)
class Surface:
    """One termination of a bulk, seen from its outer side (+z)."""

    id: str
    bulk_id: str
    miller: tuple[int, int, int]
    shift: float
    """Where the bulk is cut, as a fraction of the distance between lattice planes; for display."""
    side: Literal["top", "bottom"]
    """``top``: the outward normal is ``miller``; ``bottom``: it is the opposite direction."""
    label: str
    """What a person calls it: ``Cu(111)``, ``CuPd(100) Pd-terminated``."""
    atoms: Atoms = field(compare=False, repr=False)
    """The smallest in-plane cell at the reference lattice, c along z, without vacuum; tags 1 for the top
    layer, counting downwards. Cut deep enough to tell sites apart: ``build_slab`` leaves the layers that
    the campaign's settings ask for."""


@dataclass(frozen=True)
class Site:
    """A symmetry-distinct place for an adsorbate on a surface."""

    id: str
    surface_id: str
    bulk_id: str
    kind: SiteKind
    label: str
    """What a person calls it: ``Cu(111) hollow Cu3 #1``."""
    position: tuple[float, float, float]
    """Anchor at the reference lattice, Å, in the surface's cell: first of the images, at the mean height of
    the first-shell atoms."""
    images: tuple[tuple[float, float], ...]
    """In-plane fractional positions of every symmetry-equivalent copy in the surface's cell."""
    first_shell: Shell
    """Surface atoms that the adsorbate binds to."""
    second_shell: Shell
    """Neighbours of the first-shell atoms, themselves left out."""
    neighbours: tuple[tuple[str, Shell], ...] = ()
    """Each first-shell atom: its element, and its own neighbours; sorted. Empty in older campaigns."""
    beneath: Shell | None = None
    """Atoms straight below, under the first shell; None in older campaigns."""


@dataclass(frozen=True)
class Candidate:
    """A site with an adsorbate: what the surrogate chooses among."""

    site: Site
    adsorbate: str
    calculation_id: str

    @property
    def id(self) -> str:
        """The id of the adslab calculation that answers this candidate."""
        return self.calculation_id


class CalculationState(StrEnum):
    """Where a calculation is on its way; see :data:`TRANSITIONS`."""

    PLANNED = "PLANNED"
    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    """A valid energy is there, its outcome not yet judged."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """A person does not want it; for good, until ``retry`` or ``rerun``."""
    PAUSED = "PAUSED"
    """A person wants it later: it waits for ``resume``."""
    VALID = "VALID"
    REJECTED = "REJECTED"


_S = CalculationState
TRANSITIONS: Mapping[CalculationState, frozenset[CalculationState]] = {
    _S.PLANNED: frozenset({_S.SUBMITTING, _S.FAILED, _S.CANCELLED, _S.PAUSED}),
    _S.SUBMITTING: frozenset({_S.SUBMITTED, _S.PLANNED, _S.FAILED, _S.DONE, _S.CANCELLED, _S.PAUSED}),
    _S.SUBMITTED: frozenset({_S.RUNNING, _S.PLANNED, _S.DONE, _S.FAILED, _S.CANCELLED, _S.PAUSED}),
    _S.RUNNING: frozenset({_S.DONE, _S.FAILED, _S.PLANNED, _S.CANCELLED, _S.PAUSED}),
    _S.DONE: frozenset({_S.VALID, _S.REJECTED}),
    _S.FAILED: frozenset({_S.PLANNED}),
    _S.CANCELLED: frozenset({_S.PLANNED}),
    _S.PAUSED: frozenset({_S.PLANNED, _S.CANCELLED}),
    _S.VALID: frozenset({_S.PLANNED}),
    _S.REJECTED: frozenset({_S.PLANNED}),
}
"""Allowed moves. Back to PLANNED means that the attempt is over and another one is due; from VALID and
REJECTED only a person's ``rerun`` leads there."""

IN_FLIGHT = frozenset({_S.SUBMITTING, _S.SUBMITTED, _S.RUNNING})
"""States in which a job may be computing."""
BROKEN = frozenset({_S.FAILED, _S.CANCELLED, _S.REJECTED})
"""States of a calculation that nothing can be built on."""
TERMINAL = frozenset({_S.FAILED, _S.CANCELLED, _S.VALID, _S.REJECTED})
"""States in which nothing more happens by itself."""


@dataclass(frozen=True)
class Calculation:
    """One DFT calculation, content-addressed."""

    id: str
    kind: CalculationKind
    label: str
    state: CalculationState = CalculationState.PLANNED
    bulk_id: str | None = None
    surface_id: str | None = None
    site_id: str | None = None
    adsorbate: str | None = None
    gas: str | None = None
    """Molecule of a gas reference: ``H2``, ``CO``."""
    requires: tuple[str, ...] = ()
    """Ids of calculations that must be VALID first."""
    recipe_digest: str = ""
    code: FailureCode | None = None
    message: str = ""
    energy: float | None = None
    attempt: int = 0
    job_dir: str | None = None
    job_id: str | None = None
    """The back-end's name for the running job."""
    cpu_seconds: float = 0.0
    owner: str | None = None
    """Driver that is submitting the current attempt; see ``pipeline.drivers``."""
    since: datetime | None = None
    """When it came into its state, by the database's clock (UTC)."""
    memory_factor: float = 1.0
    """How much more memory than its kind usually gets; raised once after OUT_OF_MEMORY."""
    forgiven: int = 0
    """Attempts up to this one do not count against ``execution.max_attempts``: a person asked for more."""
    fresh_after: int = 0
    """Attempts up to this one are not gone on with: a person asked to start from scratch."""


@dataclass(frozen=True)
class Observation:
    """An adsorption energy that may train the surrogate and be ranked."""

    calculation_id: str
    site_id: str
    """Where the adsorbate ended."""
    start_site_id: str
    surface_id: str
    bulk_id: str
    adsorbate: str
    delta_e_ev: float
    """ΔE = E(adslab) − E(slab) − E(reference), eV."""
    recipe_digest: str
    round: int
    attempt: int = 0
    """Attempt that it was found by; a later one replaces it."""
    ensemble_std_ev: float | None = None
    """Standard deviation of ΔE over the functional's ensemble, eV; None if it has none."""
    warning: str = ""
    """What a person should look at before trusting ΔE; empty when nothing."""
