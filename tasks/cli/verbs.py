"""Choosing calculations, asking, acting and telling: what is behind ``sabatier cancel`` and its like."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from tasks.cli.common import is_campaign, no_driver, one_of, opened, print_json, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.campaign import Campaign
    from pipeline.choice import Filter
    from pipeline.control import Outcome, Verb
    from pipeline.domain import Calculation

E = TypeVar("E", bound=StrEnum)
LINES_SHOWN = 10
"""Calculations listed before a question, and after a change."""


@dataclass(frozen=True)
class Request:
    """What was given on the command line."""

    verb: Verb
    ids: tuple[str, ...]
    campaign: str | None
    home: Path | None
    filters: dict[str, Any]
    everything: bool
    yes: bool
    dry_run: bool
    as_json: bool
    extra: bool = False
    """``pause --now``, ``rerun --dependents``."""

    @property
    def is_bare(self) -> bool:
        """True if nothing says which calculations are meant."""
        return not self.ids and not self.everything and not any(self.filters.values())


def act(request: Request) -> int:
    """Do what was asked on the command line; return the exit code."""
    from pipeline.control import Verb

    _refuse_odd(request)
    with opened(request.campaign, request.home) as campaign:
        if request.is_bare and request.verb is Verb.PAUSE:
            return _pause_campaign(campaign, request)
        if request.is_bare and request.verb is Verb.RESUME:
            return _resume_campaign(campaign, request)
        chosen = _chosen(campaign, request)
        return _act(campaign, request, chosen, asks=len(chosen) > len(set(request.ids)))


def _refuse_odd(request: Request) -> None:
    """Refuse combinations that could be meant in two ways, before the store is opened."""
    from config.errors import ConfigError
    from pipeline.control import Verb

    message = ""
    campaigns = [name for name in request.ids if is_campaign(name)]
    if campaigns and request.campaign is None:
        message = (
            f"{campaigns[0]!r} is a campaign, and {request.verb} takes ids: "
            f"'sabatier {request.verb} --campaign {campaigns[0]}'"
        )
    elif request.ids and (request.everything or any(request.filters.values())):
        message = "give ids, or conditions such as --state and --kind, or --all: not both"
    elif request.verb is Verb.PAUSE and request.extra and not request.is_bare:
        message = "--now is for the whole campaign; calculations that are chosen are always stopped now"
    elif request.is_bare and request.verb not in {Verb.PAUSE, Verb.RESUME}:
        message = (
            f"{request.verb} which calculations? give ids, conditions (--state, --code, --kind, --adsorbate, "
            "--bulk, --label), or --all; 'sabatier status --all' lists ids"
        )
    if message:
        raise ConfigError(message)


# -- choosing ------------------------------------------------------------------------------------


def _chosen(campaign: Campaign, request: Request) -> list[Calculation]:
    """Find the calculations that are meant.

    Raises
    ------
    ConfigError
        If an id or a condition is none, or the verb does not apply to a calculation that was named.
    """
    from config.errors import ConfigError
    from pipeline import control
    from pipeline.choice import by_ids

    if request.ids:
        chosen = by_ids(campaign, campaign.calculations(), request.ids)
        why = [w for c in chosen if (w := control.refusal(campaign.home, request.verb, c)) is not None]
        if why:
            message = "; ".join(why[:LINES_SHOWN]) + (" (nothing was changed)" if len(chosen) > 1 else "")
            raise ConfigError(message)
    else:
        chosen = control.applicable(campaign, request.verb, _filter(campaign, request))
    if request.verb is control.Verb.RERUN:
        return control.to_rerun(campaign, chosen, with_dependents=request.extra)
    return chosen


def _filter(campaign: Campaign, request: Request) -> Filter:
    from dft.codes import FailureCode
    from dft.jobs import CalculationKind
    from pipeline.choice import Filter, bulk_ids
    from pipeline.control import SOURCES
    from pipeline.domain import CalculationState

    given = request.filters
    states = members(CalculationState, given["state"], "state")
    allowed = SOURCES[request.verb]
    for state in sorted(states - allowed):
        one_of(state.value, sorted(s.value for s in allowed), f"state for {request.verb}")
    adsorbates = list(campaign.settings.adsorbates)
    return Filter(
        states=states,
        codes=members(FailureCode, given["code"], "code"),
        kinds=members(CalculationKind, given["kind"], "kind"),
        adsorbates=frozenset(one_of(a, adsorbates, "adsorbate") for a in given["adsorbate"]),
        bulk_ids=frozenset().union(*(bulk_ids(campaign, name) for name in given["bulk"])),
        label=given["label"],
    )


def members(kind: type[E], given: Iterable[str], what: str) -> frozenset[E]:
    """Turn names, in any case, into members of an enumeration."""
    allowed = [member.value for member in kind]
    fold = {value.casefold(): value for value in allowed}
    return frozenset(kind(one_of(fold.get(name.casefold(), name), allowed, what)) for name in given)


# -- acting --------------------------------------------------------------------------------------


def _act(
    campaign: Campaign,
    request: Request,
    chosen: Sequence[Calculation],
    *,
    asks: bool,
    pausing: bool | None = None,
    headline: str = "",
) -> int:
    """Do what is wanted to the chosen calculations, after asking where several were not named one by one.

    Parameters
    ----------
    pausing
        Set or clear the campaign's own pause as well; None leaves it.
    headline
        Said first, where the whole campaign is meant.
    """
    from pipeline.batch import make_backend
    from pipeline.control import Outcome, carry_out

    warnings = _warnings(campaign, request, chosen)
    if request.dry_run:
        _foretell(request, chosen, warnings, headline)
        return 0
    if len(chosen) > 1 and asks and not request.yes:
        _ask(request, chosen, warnings)
    if pausing is not None:
        campaign.store.set_paused(campaign.name, pausing)
    outcome = Outcome(request.verb)
    if chosen:
        outcome = carry_out(campaign, request.verb, chosen, make_backend(campaign))
    outcome.notes[:0] = warnings
    _report(campaign, request, outcome, headline)
    return 0


def _warnings(campaign: Campaign, request: Request, chosen: Sequence[Calculation]) -> list[str]:
    """What else the change means: calculations that fail for it, other campaigns that share them."""
    from pipeline.choice import sharers
    from pipeline.control import Verb, will_fail

    said = []
    if request.verb is Verb.CANCEL and (n := len(will_fail(campaign, chosen))):
        said.append(f"{n} calculations that need {'it' if len(chosen) == 1 else 'them'} will fail")
    for name, n in sharers(campaign, (c.id for c in chosen)).items():
        said.append(f"campaign {name} of the same database shares {n} of {len(chosen)}")
    return said


def _summary(calculations: Sequence[Calculation]) -> str:
    counts = Counter((c.kind.value, c.state.value) for c in calculations)
    return ", ".join(f"{n} {kind} {state}" for (kind, state), n in sorted(counts.items()))


def _lines(calculations: Sequence[Calculation]) -> list[str]:
    shown = [f"  {c.id}  {c.state}  {c.label}" for c in calculations[:LINES_SHOWN]]
    hidden = len(calculations) - LINES_SHOWN
    return [*shown, f"  and {hidden} more"] if hidden > 0 else shown


def _ask(request: Request, chosen: Sequence[Calculation], warnings: Sequence[str]) -> None:
    """Show what would change and ask.

    Raises
    ------
    ConfigError
        If the answer is no, or there is no terminal to ask at.
    """
    from config.errors import ConfigError

    if not sys.stdin.isatty():
        message = (
            f"{request.verb} would change {len(chosen)} calculations ({_summary(chosen)}); "
            "nothing was changed: there is no terminal to ask at, give --yes"
        )
        raise ConfigError(message)
    for line in [f"{request.verb}: {_summary(chosen)}", *_lines(chosen), *warnings]:
        stderr().print(line, markup=False, soft_wrap=True)
    if not typer.confirm(f"{request.verb} these {len(chosen)} calculations?", err=True):
        message = "nothing was changed"
        raise ConfigError(message)


def _foretell(
    request: Request, chosen: Sequence[Calculation], warnings: Sequence[str], headline: str
) -> None:
    """Say what would change."""
    if request.as_json:
        print_json(_document(request, chosen, warnings))
        return
    if headline:
        stdout().print(f"would be: {headline}", markup=False, soft_wrap=True)
    counted = f"would {request.verb} {len(chosen)}: {_summary(chosen)}" if chosen else ""
    for line in [counted or _nothing(request), *_lines(chosen), *warnings]:
        stdout().print(line, markup=False, soft_wrap=True)


def _nothing(request: Request) -> str:
    return f"no calculation to {request.verb}"


def _document(
    request: Request, calculations: Sequence[Calculation], notes: Sequence[str], *, is_done: bool = False
) -> dict[str, Any]:
    kept = ("id", "label", "kind", "state", "attempt", "job_id")
    briefs = [{k: v for k, v in asdict(c).items() if k in kept} for c in calculations]
    done = {"verb": request.verb.value, "dry_run": not is_done, "notes": list(notes)}
    return done | ({"changed": briefs} if is_done else {"changed": [], "would_change": briefs})


def _report(campaign: Campaign, request: Request, outcome: Outcome, headline: str) -> None:
    """Say what was changed, and what the person should know."""
    from pipeline.control import TARGET
    from pipeline.queue_view import drivers_at_work

    notes = outcome.notes + [
        f"{c.id} was moved by somebody else meanwhile: it is {c.state}" for c in outcome.overtaken
    ]
    goes_on = request.verb not in TARGET and (outcome.changed or headline)
    if goes_on and not drivers_at_work(campaign):
        notes.append(no_driver(campaign.name))
    if request.as_json:
        print_json(_document(request, outcome.changed, notes, is_done=True))
        return
    said = [headline] if headline else []
    if len(outcome.changed) > LINES_SHOWN:
        said.append(f"{request.verb}: {len(outcome.changed)} calculations, now {_summary(outcome.changed)}")
    else:
        said += [line.strip() for line in _lines(outcome.changed)]
    for line in said or [_nothing(request)]:
        stdout().print(line, markup=False, soft_wrap=True)
    for note in notes:
        stderr().print(note, markup=False, soft_wrap=True)


# -- the whole campaign --------------------------------------------------------------------------


def _pause_campaign(campaign: Campaign, request: Request) -> int:
    """Start nothing new; with ``--now`` stop what is under way, too."""
    from pipeline.choice import Filter
    from pipeline.control import Verb, applicable
    from pipeline.domain import IN_FLIGHT

    under_way = applicable(campaign, Verb.PAUSE, Filter(states=IN_FLIGHT))
    headline = f"campaign {campaign.name} is paused: nothing new is started"
    if request.extra:
        return _act(campaign, request, under_way, asks=True, pausing=True, headline=headline)
    headline += f"; {len(under_way)} calculations under way go on (--now stops them)"
    return _act(campaign, request, [], asks=False, pausing=True, headline=headline)


def _resume_campaign(campaign: Campaign, request: Request) -> int:
    """Let drivers start calculations again, with all that was paused."""
    from pipeline.choice import Filter
    from pipeline.control import Verb, applicable

    paused = applicable(campaign, Verb.RESUME, Filter())
    headline = f"campaign {campaign.name} goes on"
    return _act(campaign, request, paused, asks=False, pausing=False, headline=headline)
