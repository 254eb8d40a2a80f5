"""Climbing the ladders of :mod:`dft.ladders` within one attempt at a calculation.

What was tried is left in ``recovery.json``, replaced whole, and told in the result's ``details``. An
attempt whose worker was killed, or ran out of time or memory, is gone on with at the rung where it was.
The ladder is climbed by the worker, which starts the calculation again from the last whole frame; MPI
ranks only read which corrections are in force. Units: eV, Å, s.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dft.codes import FailureCode
from dft.jobs import LOG_FILE, read_heartbeat, read_result, write_atomically
from dft.ladders import LADDERS, MAX_CORRECTIONS, Correction
from dft.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms

    from dft.jobs import JobResult

RECOVERY_FILE = "recovery.json"
"""The corrections of an attempt, oldest first."""
MESSAGE_CHARACTERS = 300
"""So much of what a failure said is kept beside its correction; the rest is in the logs."""


@dataclass(frozen=True)
class Remedy:
    """The corrections in force: of the ladders about one thing, the last rung taken."""

    corrections: tuple[Correction, ...] = ()
    since_step: int = 0
    """Step of the relaxation from which the last correction of its course holds."""

    @property
    def max_step_a(self) -> float | None:
        """Longest step of an atom, Å; None leaves it to the optimiser."""
        return min((c.max_step_a for c in self.corrections if c.max_step_a is not None), default=None)

    @property
    def window_moves(self) -> int:
        """Further moves of the window of an equation of state."""
        return sum(c.window_moves for c in self.corrections)

    @property
    def is_fresh(self) -> bool:
        """Whether densities of earlier steps are left aside."""
        return any(c.is_fresh for c in self.corrections)


NO_REMEDY = Remedy()


@dataclass(frozen=True)
class Taken:
    """A correction that was tried, and why."""

    correction: str
    """Name of the :class:`~dft.ladders.Correction`."""
    says: str
    code: FailureCode
    """What it answers to."""
    message: str
    n_steps: int
    """Relaxation steps (bulk: volumes) at the time."""
    cpu_seconds: float
    """CPU time of the worker until then, s."""


def next_correction(
    result: JobResult, job_dir: Path, *, is_magnetic: Callable[[], bool]
) -> Correction | None:
    """Choose what to try after a failure.

    Parameters
    ----------
    job_dir
        Holds the record of what was tried before.
    is_magnetic
        Tells whether the structure has moments; not asked without need.

    Returns
    -------
    Correction or None
        None if the failure is none that a correction helps against, or all have been tried.
    """
    ladder = next((x for x in LADDERS if result.code in x.codes and re.search(x.sign, result.message)), None)
    if ladder is None:
        return None
    tried = {each.correction for each in read_taken(job_dir)}
    if len(tried) >= MAX_CORRECTIONS:
        return None
    left = [c for c in ladder.rungs if c.name not in tried]
    return next((c for c in left if c.needs_moments in (None, is_magnetic())), None)


def remedy_of(taken: Sequence[Taken]) -> Remedy:
    """Collect the corrections in force; names that this release does not know are left aside."""
    known = {rung.name: (ladder.about, rung) for ladder in LADDERS for rung in ladder.rungs}
    last: dict[str, Correction] = {}
    since = 0
    for each in taken:
        if each.correction in known:
            about, correction = known[each.correction]
            last[about] = correction
            if correction.max_step_a is not None:
                since = each.n_steps
    return Remedy(tuple(last.values()), since)


def read_taken(job_dir: Path) -> tuple[Taken, ...]:
    """Read what was tried in an attempt; empty where nothing was, or it cannot be read."""
    found: list[Taken] = []
    # Whatever stands there instead was not written by the worker.
    with suppress(OSError, ValueError, TypeError, KeyError):
        for entry in json.loads((job_dir / RECOVERY_FILE).read_text(encoding="utf-8")):
            found.append(Taken(**(entry | {"code": FailureCode(entry["code"])})))
    return tuple(found)


def told(job_dir: Path) -> list[dict[str, Any]]:
    """Say for people and programs what was tried in an attempt, as plain JSON values."""
    return [asdict(each) for each in read_taken(job_dir)]


def write_taken(job_dir: Path, taken: Sequence[Taken]) -> None:
    """Replace an attempt's record; waits for room on a full disk."""
    text = json.dumps([asdict(each) for each in taken], indent=1)
    patiently(lambda: write_atomically(job_dir / RECOVERY_FILE, text), f"what was tried in {job_dir}")


def inherit(job_dir: Path, earlier: Sequence[Path]) -> None:
    """Go on at the rung where an earlier attempt was broken off.

    One that had climbed its ladders to the end, and is tried again because a person asked, leaves nothing:
    they are climbed anew.
    """
    for folder in earlier:
        taken = read_taken(folder)
        with suppress(OSError, ValueError):
            result = read_result(folder)
            if result is not None and any(result.code in ladder.codes for ladder in LADDERS):
                return
        if taken:
            write_taken(job_dir, taken)
            return


def take(job_dir: Path, correction: Correction, failure: JobResult, cpu_seconds: float) -> None:
    """Note a correction before it is tried, and put the log of what failed aside.

    Parameters
    ----------
    cpu_seconds
        What the worker has used so far.
    """
    assert failure.code is not None
    taken = read_taken(job_dir)
    heartbeat = read_heartbeat(job_dir)
    entry = Taken(
        correction=correction.name,
        says=correction.says,
        code=failure.code,
        message=failure.message[-MESSAGE_CHARACTERS:],
        n_steps=heartbeat.n_steps if heartbeat else 0,
        cpu_seconds=round(cpu_seconds, 1),
    )
    log = job_dir / LOG_FILE
    with suppress(OSError):  # there is none yet, or no room for its name
        log.replace(job_dir / f"{log.stem}-{len(taken) + 1}{log.suffix}")
    write_taken(job_dir, [*taken, entry])


# -- what the corrections mean to GPAW --------------------------------------------------------------


def corrected(parameters: Mapping[str, Any], atoms: Atoms, remedy: Remedy) -> dict[str, Any]:
    """Apply corrections to GPAW's parameters, detours left aside."""
    result = dict(parameters)
    for correction in remedy.corrections:
        result |= correction.parameters
        result["maxiter"] = result["maxiter"] * correction.iterations
        if correction.moments != 1.0:
            result["magmoms"] = _strong_moments(atoms, correction.moments)
    return result


def _strong_moments(atoms: Atoms, factor: float) -> list[float]:
    """Moments so many times larger than what the atoms start from, or than their elements would, μB.

    A small moment to start from, such as a bare slab's that had nearly lost its own, hardly ever grows.
    """
    from dft.magnetism import INITIAL_MOMENTS

    own = [float(moment) for moment in atoms.get_initial_magnetic_moments()]
    least = [INITIAL_MOMENTS.get(int(number), 0.0) for number in atoms.numbers]
    return [factor * math.copysign(max(abs(m), n), m) for m, n in zip(own, least, strict=True)]


def detoured(parameters: Mapping[str, Any], remedy: Remedy) -> dict[str, Any] | None:
    """Return GPAW's parameters of the first density; None if there is no detour."""
    factor = math.prod(correction.first_width for correction in remedy.corrections)
    if factor == 1.0:
        return None
    width = factor * parameters["occupations"]["width"]
    return dict(parameters) | {"occupations": parameters["occupations"] | {"width": width}}


def detour(calculator: Any, first: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Have a calculator that has converged before take a detour again, at the next structure.

    Parameters
    ----------
    calculator : gpaw.new.ase_interface.ASECalculator
        Of another cell, so that it begins its next calculation with the parameters that it has then.
    first
        Those of the first density, from :func:`detoured`.
    parameters
        Those of the recipe.
    """
    from gpaw.dft import Parameters

    calculator.params = Parameters(**first)
    land(calculator, parameters)


def land(calculator: Any, parameters: Mapping[str, Any]) -> None:
    """Have a calculator go on to other parameters once it has converged.

    Only what steers the self-consistency is exchanged (occupations, mixer, criteria); density and wave
    functions stay. What the calculator reports is then computed with ``parameters`` alone.

    Parameters
    ----------
    calculator : gpaw.new.ase_interface.ASECalculator
        Not yet converged.
    parameters
        Those of the recipe.
    """
    from gpaw.dft import Parameters

    def go_on() -> None:
        del calculator.hooks["converged"]
        dft = calculator.dft
        calculator.params = dft.params = Parameters(**parameters)
        dft.log("Recovery: going on to the settings of the recipe")
        dft.scf_loop = dft.params.dft_component_builder(dft.atoms, log=dft.log).create_scf_loop()
        dft.results = {}
        for context in dft.iconverge():
            calculator.hooks.get("scf_step", lambda _: None)(context)
        dft.calculate_energy()
        dft.calculate_dipole()
        dft.magmoms()
        dft.write_converged()

    calculator.hooks["converged"] = go_on
