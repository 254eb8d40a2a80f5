"""What a person does to calculations: cancel, pause, resume, retry, rerun.

Every move is one conditional operation in the store, so that it holds against drivers at work, on any
host, and against a second person. A calculation is moved *first* and its job stopped after: a driver
ignores what the job of a cancelled or paused calculation leaves. Stopping means three things, each of
which suffices: the claim is taken if no worker has it, the back-end is asked to end the job, and the
attempt is closed, upon which a worker that the back-end could not reach ends at its next step.

The CPU seconds that a stopped attempt has spent until then are charged with the move itself, so exactly
once; what its worker uses between its last step and its end (at most a step) is not. Units: CPU-seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from config.errors import BackendUnavailableError, ConfigError, ExecutionError
from dft.codes import FailureCode
from dft.jobs import RESULT_FILE, CalculationKind, ResultState, cpu_seconds_so_far
from pipeline import attempts
from pipeline.book import DEPTH
from pipeline.choice import IDS_NAMED, dependents
from pipeline.domain import IN_FLIGHT, CalculationState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dft.execution.base import Backend
    from pipeline.campaign import Campaign
    from pipeline.choice import Filter
    from pipeline.domain import Calculation
    from pipeline.home import CampaignHome
    from pipeline.store.calculations import CalculationChanges

State = CalculationState
RESTS_ON_OTHERS = frozenset({State.VALID, State.REJECTED})
"""States of a calculation whose energy was computed from, or with, those that it requires."""


class Verb(StrEnum):
    """What can be done to a calculation."""

    CANCEL = "cancel"
    """Not wanted; for good, until ``retry`` or ``rerun``."""
    PAUSE = "pause"
    """Wanted later; what it has computed so far is kept."""
    RESUME = "resume"
    """Wanted again after ``pause``; goes on from its last geometry."""
    RETRY = "retry"
    """Another attempt at what failed or was cancelled; goes on from its last geometry."""
    RERUN = "rerun"
    """Another attempt, from scratch; what was found before is dropped."""


SOURCES: Mapping[Verb, frozenset[State]] = {
    Verb.CANCEL: IN_FLIGHT | {State.PLANNED, State.PAUSED},
    Verb.PAUSE: IN_FLIGHT | {State.PLANNED},
    Verb.RESUME: frozenset({State.PAUSED}),
    Verb.RETRY: frozenset({State.FAILED, State.CANCELLED}),
    Verb.RERUN: frozenset({State.FAILED, State.CANCELLED, State.PAUSED, State.VALID, State.REJECTED}),
}
"""States on which each verb acts. A rejected calculation has a converged energy, which going on from its
last geometry would find again: it can be rerun, not retried."""
TARGET = {Verb.CANCEL: State.CANCELLED, Verb.PAUSE: State.PAUSED}
"""Where the verbs that stop lead; the others lead to PLANNED."""


@dataclass
class Outcome:
    """What a verb has done."""

    verb: Verb
    changed: list[Calculation] = field(default_factory=list)
    """As they are after it."""
    overtaken: list[Calculation] = field(default_factory=list)
    """Left alone because somebody else had moved them meanwhile; as they are now."""
    notes: list[str] = field(default_factory=list)
    """What the person should know besides."""


def refusal(home: CampaignHome, verb: Verb, calculation: Calculation) -> str | None:
    """Say why a verb does not apply to a calculation; None if it does."""
    c = calculation
    if verb in TARGET and c.state in IN_FLIGHT and has_energy(home, c):
        return f"{c.id} has ended already; 'sabatier run' takes its result in"
    if verb is Verb.RETRY and c.state is State.FAILED and c.code is FailureCode.DEPENDENCY_FAILED:
        return (
            f"{c.id} never ran, as {c.message or 'what it requires failed'}: retry that one, and it follows"
        )
    if c.state in SOURCES[verb] or (c.state is TARGET.get(verb) and is_loose(home, c)):
        return None
    if c.state is TARGET.get(verb):
        return f"{c.id} is {c.state} already"
    return f"{c.id} is {c.state}: {_advice(verb, c.state)}"


def _advice(verb: Verb, state: State) -> str:
    """Say what to do instead of a verb that does not apply."""
    if state is State.PLANNED:
        return "it waits for its turn already"
    if state in IN_FLIGHT:
        return "it is being computed; 'cancel' it first"
    if state is State.PAUSED:
        return "'resume' it"
    if state is State.CANCELLED:
        return "'retry' or 'rerun' it"
    if verb is Verb.RETRY:
        return "it has an energy; 'rerun' computes it anew"
    return "it is finished"


def applicable(campaign: Campaign, verb: Verb, chosen: Filter) -> list[Calculation]:
    """Return the campaign's calculations that meet a filter and to which a verb applies."""
    return [
        c
        for c in campaign.calculations()
        if c.state in SOURCES[verb] and chosen.meets(c) and refusal(campaign.home, verb, c) is None
    ]


def to_rerun(
    campaign: Campaign, calculations: Sequence[Calculation], *, with_dependents: bool
) -> list[Calculation]:
    """Return what must be computed anew together with these calculations, themselves included.

    Raises
    ------
    ConfigError
        If finished calculations rest on one of them and are not to be rerun, or some are under way.
    """
    bases = [c.id for c in calculations if c.state is State.VALID and c.kind is not CalculationKind.ADSLAB]
    mine = {c.id for c in calculations}
    resting = [c for c in dependents(campaign, bases) if c.id not in mine] if bases else []
    under_way = [c for c in resting if c.state in IN_FLIGHT | {State.DONE}]  # DONE: about to be judged
    finished = [c for c in resting if c.state in RESTS_ON_OTHERS]
    if under_way:
        message = f"{len(under_way)} calculations are being computed on top: wait for them, or cancel them"
        raise ConfigError(f"{message} ({_some(under_way)})")
    if finished and not with_dependents:
        message = f"{len(finished)} finished calculations rest on it: --dependents reruns them too"
        raise ConfigError(f"{message} ({_some(finished)})")
    return [*calculations, *finished]


def will_fail(campaign: Campaign, calculations: Sequence[Calculation]) -> list[Calculation]:
    """Calculations that are still to be computed and cannot be without these."""
    mine = {c.id for c in calculations}
    needing = dependents(campaign, mine)
    return [c for c in needing if c.id not in mine and c.state in SOURCES[Verb.CANCEL]]


def _some(calculations: Sequence[Calculation]) -> str:
    named = ", ".join(c.id for c in calculations[:IDS_NAMED])
    return named + (", ..." if len(calculations) > IDS_NAMED else "")


def carry_out(
    campaign: Campaign, verb: Verb, calculations: Sequence[Calculation], backend: Backend
) -> Outcome:
    """Do to calculations what a person wants.

    Parameters
    ----------
    calculations
        As they were when the person chose them; one that has moved on since to a state in which the verb
        does not apply is left alone.
    """
    outcome = Outcome(verb)
    if verb in TARGET:
        stopped = [c for c in calculations if _stop_in_store(campaign, verb, c, outcome)]
        outcome.notes += stop_jobs(campaign.home, backend, stopped)
        return outcome
    loose = [c for c in calculations if is_loose(campaign.home, c)]
    outcome.notes += stop_jobs(campaign.home, backend, loose)
    for calculation in sorted(calculations, key=lambda c: DEPTH[c.kind]):
        _plan_again(campaign, verb, calculation, outcome)
    return outcome


def _stop_in_store(campaign: Campaign, verb: Verb, calculation: Calculation, outcome: Outcome) -> bool:
    """Cancel or pause a calculation in the store; tell whether a job of it may have to be stopped."""
    current: Calculation | None = calculation
    while current is not None and current.state in SOURCES[verb]:
        spent = _spent(campaign.home, current) if current.state in IN_FLIGHT else 0.0
        moved = campaign.store.transition(
            current.id,
            current.state,
            TARGET[verb],
            at_attempt=current.attempt,
            note=f"{verb} by a person",
            cpu_seconds=current.cpu_seconds + spent,
        )
        if moved is not None:
            outcome.changed.append(moved)
            return current.state in IN_FLIGHT or is_loose(campaign.home, current)
        current = campaign.store.calculation(current.id)
    if current is None:
        return False
    if current is not calculation:
        outcome.overtaken.append(current)
    return current.state is TARGET[verb] and is_loose(campaign.home, current)


def _spent(home: CampaignHome, calculation: Calculation) -> float:
    """CPU seconds of an attempt until now, as far as its directory tells."""
    job_dir = home.locate(calculation)
    result = attempts.outcome(job_dir, calculation)
    return result.cpu_seconds if result is not None else cpu_seconds_so_far(job_dir)


def _plan_again(campaign: Campaign, verb: Verb, calculation: Calculation, outcome: Outcome) -> None:
    """Plan another attempt at a calculation that has come to a stop."""
    # An attempt that only the disk remembers, of a store restored from an old copy, is over as well.
    last = max(calculation.attempt, campaign.home.last_attempt(calculation.id))
    changes: CalculationChanges = {"code": None, "message": "", "owner": None}
    if verb is not Verb.RESUME:
        changes["forgiven"] = last
    if verb is Verb.RERUN:
        changes |= {"fresh_after": last, "memory_factor": 1.0, "energy": None, "attempt": last}
    moved = campaign.store.transition(
        calculation.id,
        calculation.state,
        State.PLANNED,
        at_attempt=calculation.attempt,
        note=f"{verb} by a person",
        **changes,
    )
    if moved is not None:
        if verb is Verb.RERUN:
            # Last: the other way round a kill in between would leave a valid calculation without its energy.
            campaign.store.delete_observation(calculation.id, calculation.attempt)
        outcome.changed.append(moved)
    elif (now := campaign.store.calculation(calculation.id)) is not None:
        outcome.overtaken.append(now)


# -- jobs ----------------------------------------------------------------------------------------


def is_loose(home: CampaignHome, calculation: Calculation) -> bool:
    """Tell whether a calculation's last attempt may still run although nobody waits for it."""
    if calculation.attempt == 0 or calculation.state in {State.VALID, State.REJECTED, State.DONE}:
        return False
    job_dir = home.locate(calculation)
    return job_dir.is_dir() and not (job_dir / RESULT_FILE).exists()


def has_energy(home: CampaignHome, calculation: Calculation) -> bool:
    """Tell whether a calculation under way has left an energy that nobody has taken in yet."""
    result = attempts.outcome(home.locate(calculation), calculation)
    return result is not None and result.state is ResultState.DONE


def stop_jobs(home: CampaignHome, backend: Backend, calculations: Iterable[Calculation]) -> list[str]:
    """End the attempts of calculations that are not wanted any more.

    Returns
    -------
    list of str
        What could not be done, for the person.
    """
    notes: list[str] = []
    held: list[tuple[Path, Calculation]] = []
    jobs: dict[str, str] = {}
    for calculation in calculations:
        job_dir = home.locate(calculation)
        job_id = calculation.job_id
        try:
            if not attempts.revoke(job_dir, calculation, "stopped by a person before it began"):
                held.append((job_dir, calculation))
            job_id = job_id or attempts.worker_job_id(job_dir)
        except OSError as error:
            why = error.strerror or error
            notes.append(f"{calculation.id}: its directory {job_dir} cannot be reached from here ({why})")
        if job_id is not None:
            jobs[job_id] = calculation.id
    notes += _cancel(backend, jobs)
    for job_dir, calculation in held:
        attempts.declare_lost(job_dir, calculation, FailureCode.WORKER_LOST, "stopped by a person")
    return notes


def _cancel(backend: Backend, jobs: dict[str, str]) -> list[str]:
    """Ask the back-end to end jobs; say which of them it could not end."""
    if not jobs:
        return []
    try:
        backend.cancel(list(jobs))
    except BackendUnavailableError as error:
        listed = ", ".join(jobs)
        return [
            f"the scheduler does not answer ({error}): jobs {listed} still hold their places; each computes "
            "no further than its next step"
        ]
    except ExecutionError as error:
        if len(jobs) > 1:
            return [note for job, owner in jobs.items() for note in _cancel(backend, {job: owner})]
        ((job_id, owner),) = jobs.items()
        return [f"job {job_id} of {owner} cannot be ended from here ({error}); it ends at its next step"]
    return []
