"""``sabatier logs``: the log of a calculation's job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tasks.cli.common import HomeOption, guarded, opened, stdout
from tasks.cli.show import CampaignOption, IdArgument, resolve


def command(
    identifier: IdArgument,
    campaign: CampaignOption = None,
    home: HomeOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 40,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Which attempt (default: the last).")
    ] = None,
) -> None:
    """Print the end of the logs of a calculation: GPAW's, the worker's, and what the scheduler kept."""
    guarded(lambda: _logs(identifier, campaign, home, lines, attempt))


def _logs(identifier: str, name: str | None, home: Path | None, lines: int, attempt: int | None) -> None:
    from config.errors import ConfigError
    from dft.recovery import RECOVERY_FILE, read_taken
    from pipeline.tails import logs_of, tail

    with opened(name, home) as campaign:
        kind, full_id = resolve(campaign, identifier)
        if kind != "calculation":
            message = (
                f"{full_id} is a {kind}; only calculations have logs ('sabatier show {full_id}' lists them)"
            )
            raise ConfigError(message)
        calculation = campaign.store.calculation(full_id)
        assert calculation is not None
        number = attempt or calculation.attempt
        job_dir = campaign.home.locate(replace(calculation, attempt=number))
    if not job_dir.is_dir():
        message = (
            f"{calculation.label} has no attempt {number} in {job_dir.parent} (it is {calculation.state})"
        )
        raise ConfigError(message)
    is_empty = True
    for log in logs_of(job_dir):
        words = tail(log, lines)
        if words:
            is_empty = False
            stdout().print(f"==> {log} <==", markup=False, soft_wrap=True)
            stdout().print("\n".join(words), markup=False, soft_wrap=True)
    if taken := read_taken(job_dir):
        stdout().print(f"==> {job_dir / RECOVERY_FILE} <==", markup=False, soft_wrap=True)
        for n, each in enumerate(taken, 1):
            line = f"{n}. {each.code} after {each.n_steps} steps: {each.correction}, which {each.says}"
            stdout().print(line, markup=False, soft_wrap=True)
    if is_empty:
        stdout().print(f"{job_dir} holds no log yet", soft_wrap=True)
