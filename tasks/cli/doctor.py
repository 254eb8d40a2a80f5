"""``sabatier doctor``: check every package and service, each failure with its remedy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tasks.cli.common import JsonOption, guarded, print_json, stdout

if TYPE_CHECKING:
    from tasks.checks import Finding


def command(as_json: JsonOption = False) -> None:
    """Check packages, GPAW, MPI, MongoDB, the machine, profiles and Slurm; say how to mend what is wrong."""
    guarded(lambda: _doctor(as_json=as_json))


def _doctor(*, as_json: bool) -> int:
    from tasks.checks import examine_all

    findings = examine_all()
    if as_json:
        print_json({"ok": all(f.ok for f in findings if f.required), "checks": [vars(f) for f in findings]})
    else:
        _print(findings)
    return 0 if all(f.ok for f in findings if f.required) else 1


def _print(findings: list[Finding]) -> None:
    console = stdout()
    for finding in findings:
        mark = (
            "[green]ok  [/]"
            if finding.ok
            else ("[bold red]FAIL[/]" if finding.required else "[yellow]note[/]")
        )
        console.print(f"{mark} {finding.name}: ", end="", soft_wrap=True)
        console.print(finding.detail, markup=False, soft_wrap=True)
        if not finding.ok and finding.remedy:
            console.print(f"       remedy: {finding.remedy}", markup=False, soft_wrap=True)
    failed = [f for f in findings if f.required and not f.ok]
    verdict = f"{len(failed)} of {len(findings)} checks failed" if failed else "everything needed is there"
    console.print(f"{verdict} (Python {sys.version.split()[0]})")
