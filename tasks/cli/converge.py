"""``sabatier converge``: which settings of a recipe give ΔE to within a tolerance."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.cli.common import (
    EXIT_INTERRUPTED,
    HomeOption,
    JsonOption,
    ProfileOption,
    guarded,
    home_of,
    hours,
    one_of,
    print_json,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.convergence.study import Study, StudyCampaign
    from pipeline.progress import Progress
    from tasks.cli.driving import Notices

TOLERANCE_EV = 0.05


def command(
    bulk: Annotated[
        str, typer.Argument(help="Library id, such as mp-30, or a structure file.", metavar="BULK")
    ],
    miller: Annotated[str, typer.Option("--miller", help="Facet.", metavar="HKL")] = "111",
    surface: Annotated[
        str | None,
        typer.Option(
            "--surface", help="Termination, by id or label (default: the facet's first).", metavar="ID"
        ),
    ] = None,
    adsorbate: Annotated[str, typer.Option("--adsorbate", help="Adsorbate.", metavar="NAME")] = "H",
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            help="Site, by id, label or kind (top, bridge, hollow; default: the most coordinated).",
            metavar="ID",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="Where to start: a shipped recipe, or a campaign file with its slabs and execution.",
            metavar="NAME",
        ),
    ] = "screening",
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Series to run, of cutoff,kpoints,layers,vacuum,supercell,smearing,fmax.",
            metavar="LIST",
        ),
    ] = None,
    cutoff: Annotated[
        str | None, typer.Option("--cutoff", help="Cutoffs, eV: 300,400,500.", metavar="LIST")
    ] = None,
    kpoints: Annotated[
        str | None,
        typer.Option("--kpoints", help="Densities, as recipe.slab_kpoint_density: 2,3,4.", metavar="LIST"),
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Numbers of layers: 3,4,5.", metavar="LIST")
    ] = None,
    vacuum: Annotated[
        str | None, typer.Option("--vacuum", help="Thicknesses of the vacuum, Å: 8,12,16.", metavar="LIST")
    ] = None,
    supercell: Annotated[
        str | None,
        typer.Option("--supercell", help="Widths, in surface cells: 1,2,3.", metavar="LIST"),
    ] = None,
    smearing: Annotated[
        str | None, typer.Option("--smearing", help="Widths, eV: 0.2,0.1,0.05.", metavar="LIST")
    ] = None,
    fmax: Annotated[
        str | None, typer.Option("--fmax", help="Largest forces left, eV/Å: 0.1,0.05,0.03.", metavar="LIST")
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.001, max=1.0, help="Error allowed in ΔE, eV.", metavar="EV")
    ] = TOLERANCE_EV,
    cpu_hours: Annotated[
        float,
        typer.Option("--cpu-hours", help="Start nothing more once so many are spent.", metavar="HOURS"),
    ] = 1000.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="List the calculations and their cost; run nothing.")
    ] = False,
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the cutoff, k-points, layers, vacuum and supercell that an adsorption energy needs.

    Varies one at a time from a starting recipe, and goes on where it was when called again. Smearing and the
    largest force left are varied, too, when asked for.
    """
    given = {
        "cutoff": cutoff, "kpoints": kpoints, "layers": layers, "vacuum": vacuum, "supercell": supercell,
        "smearing": smearing, "fmax": fmax,
    }  # fmt: skip

    def run() -> int:
        from pipeline.convergence.subject import make_study, parse_miller, starting_campaign, study_settings

        wanted = {name: _numbers(name, given[name]) for name in _names(only, given)}
        start = starting_campaign(recipe, profile)
        settings = study_settings(bulk, parse_miller(miller), adsorbate, start, cpu_hours)
        study, notes = make_study(settings, surface, site, wanted)
        for note in notes:
            stderr().print(note, soft_wrap=True, markup=False)
        path = home_of(study.settings, home).absolute()
        if plan:
            return _print_plan(study, path, as_json=as_json)
        return _run(study, path, tolerance, as_json=as_json)

    guarded(run)


def _names(only: str | None, given: Mapping[str, str | None]) -> list[str]:
    """Names of the series to run: those of ``--only``, or else those with values, or else the usual ones."""
    from config.errors import ConfigError
    from pipeline.convergence.series import ON_REQUEST

    if only is None:
        usual = [name for name in given if name not in ON_REQUEST]
        return [name for name in given if given[name] is not None] or usual
    names = [one_of(name.strip(), list(given), "series in --only") for name in only.split(",")]
    unused = [name for name in given if given[name] is not None and name not in names]
    if unused:
        message = f"--{unused[0]} is given, but --only leaves {unused[0]} out"
        raise ConfigError(message)
    return [name for name in given if name in names]


def _numbers(name: str, text: str | None) -> list[float] | None:
    from config.errors import ConfigError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        message = f"--{name} {text!r} is no list of numbers, such as 2,3,4"
        raise ConfigError(message) from error


def _print_plan(study: Study, path: Path, *, as_json: bool) -> int:
    from pipeline.convergence.study import plan_document
    from pipeline.home import CampaignHome
    from tasks.cli.converge_tables import print_plan

    folder = CampaignHome(path)
    folder.check(study.settings)
    document = plan_document(study, folder)
    if as_json:
        print_json(document)
    else:
        print_plan(stdout(), document)
    return 0


def _run(study: Study, path: Path, tolerance_ev: float, *, as_json: bool) -> int:
    """Compute what is missing, report, and return the exit code."""
    from pipeline.capacity import capacity_of
    from pipeline.convergence.study import StudyCampaign
    from pipeline.given import close_given
    from pipeline.home import CampaignHome
    from pipeline.store import open_store
    from tasks.cli.driving import Notices, told_of_outages

    folder = CampaignHome(path)
    capacity_of(study.settings.execution)  # refuses what this machine cannot run
    folder.adopt(study.settings)
    patience = 60 * study.settings.store.outage_minutes
    notices = Notices()
    opened = open_store(study.settings.store, folder.path, patience_seconds=patience)
    with told_of_outages(notices), opened as store:
        campaign = StudyCampaign(study.settings, folder, store, study=study)
        if not _compute(campaign, notices, is_quiet=as_json):
            return EXIT_INTERRUPTED
        close_given(campaign)
        return _report(campaign, tolerance_ev, as_json=as_json)


def _compute(campaign: StudyCampaign, notices: Notices, *, is_quiet: bool) -> bool:
    """Bring all calculations to their end; return False if a person interrupted."""
    from pipeline.batch import Watch, compute
    from pipeline.convergence.study import plan_document, plan_study
    from pipeline.drivers import heartbeat
    from pipeline.ends import BudgetSpent, Drained, Held
    from tasks.cli.driving import Drain, greet_others, register, say_how_to_go_on, signals_to

    register(campaign)
    greet_others(campaign)
    plan = plan_document(campaign.study, campaign.home)
    left = [row for row in plan["calculations"] if not row["done"]]
    stderr().print(
        f"{campaign.name}: {len(plan['calculations'])} calculations, {len(left)} to do, "
        f"about {hours(plan['cpu_hours_left_estimated'])} CPU-hours",
        soft_wrap=True,
    )
    plan_study(campaign)
    drain = Drain()
    with signals_to(drain):
        try:
            beats = heartbeat(campaign.store, campaign.name, "converge")
            with beats, _progress(campaign, is_quiet=is_quiet) as on_progress:
                watch = Watch(on_progress, notices, lambda: drain.requested)
                compute(campaign, watch, "the study", 1)
        except (BudgetSpent, Held) as end:
            stderr().print(str(end).replace("budget.cpu_hours", "--cpu-hours"), soft_wrap=True)
        except (Drained, KeyboardInterrupt) as end:
            say_how_to_go_on(end, "converge")
            return False
    return True


@contextlib.contextmanager
def _progress(campaign: StudyCampaign, *, is_quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show progress, unless stdout is for one document only."""
    from pipeline.convergence.study import StudyProgress
    from tasks.cli.live import progress_display

    if is_quiet:
        yield lambda _progress: None
        return
    with progress_display(campaign) as show:
        n_points = len(campaign.chosen_ids())
        yield lambda p: show(StudyProgress(**{**vars(p), "calculations_chosen": n_points}))


def _report(campaign: StudyCampaign, tolerance_ev: float, *, as_json: bool) -> int:
    """Write and print what was found; a study without a single ΔE has failed."""
    import json

    from dft.jobs import write_atomically
    from pipeline.convergence.document import study_document
    from pipeline.convergence.plot import plot_study
    from tasks.cli.converge_tables import print_study

    document = study_document(campaign, tolerance_ev)
    results = campaign.home.results
    files = [results / name for name in ("convergence.png", "convergence.json", "recipe.yaml")]
    document["files"] = [str(path) for path in files]
    plot_study(document, files[0])
    write_atomically(files[1], json.dumps(document, indent=1))
    write_atomically(files[2], document["yaml"])
    if as_json:
        print_json(document)
    else:
        print_study(stdout(), document)
    points = [p for s in document["series"] for p in s["points"]]
    if document["calculations_left"] or any(p["delta_e_ev"] is not None for p in points):
        return 0
    told = f"sabatier status --home {campaign.home.path}"
    stderr().print(f"[bold red]error:[/] no adsorption energy was obtained; see '{told}'", soft_wrap=True)
    return 1
