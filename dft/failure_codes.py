"""The reference of failure codes, written from the codes and the ladders themselves.

``python -m dft.failure_codes`` prints it; it is ``docs/reference/failure-codes.md``.
"""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise

from dft import codes
from dft.codes import RETRYABLE, FailureCode
from dft.ladders import LADDERS, MAX_CORRECTIONS

HEAD = """\
# Failure codes

<!-- Written by `python -m dft.failure_codes`. -->

A calculation without an energy that can be trusted is `FAILED`, one whose energy is not that of the
adsorbate on its site is `REJECTED`. Both keep a code, stay in the store with all that was tried, and are not
tried for ever. `sabatier show ID`, `sabatier status` and `sabatier logs ID` name the corrections that were
tried; they are in `result.json` (`details.corrections`) and, while the job runs, in `recovery.json` beside
it. The log of each try stays as `gpaw-1.txt`, `gpaw-2.txt`, ...; the last one is `gpaw.txt`.
"""
LADDERS_HEAD = f"""\
## Corrections

A correction changes how a solution is reached, never what is computed. Where a rung says *first*, it makes
a density with other settings, from which the calculation goes on to those of the recipe; only what these
give is reported. Each rung is tried once per attempt, {MAX_CORRECTIONS} in all, from the last whole frame. A
worker that is killed leaves the rung where it was to the next attempt; `sabatier retry` climbs anew.

| after | rung | what it does | only |
|---|---|---|---|
"""
TAIL = "What the order rests on: [why the corrections are what they are](../explanation/recovery.md).\n"
AGAIN = "tries again from where it stopped, up to `execution.max_attempts`"
BY_ITSELF = {
    FailureCode.OUT_OF_MEMORY: "tries once more with twice the memory",
    FailureCode.DEPENDENCY_FAILED: "plans it again once what it needs is repaired",
    FailureCode.MIGRATED: "stores the energy as an observation of the site where it ended",
}
"""What Sabatier does that neither a ladder nor :data:`RETRYABLE` says."""
ADVICE = {
    FailureCode.SCF_NOT_CONVERGED: "look at the structure and its moments; raise `scf_max_iterations` or "
    "`smearing_ev` in the recipe (another recipe: all is computed anew)",
    FailureCode.RELAXATION_NOT_CONVERGED: "look at `relax.traj`; `sabatier retry` goes on for as many "
    "steps again",
    FailureCode.EOS_NOT_BRACKETED: "start from a better lattice constant, or raise `eos_strain`",
    FailureCode.NOT_FINITE: "look at the structure and the last `gpaw*.txt`",
    FailureCode.ATOMS_TOO_CLOSE: "mend the crystal it was cut from",
    FailureCode.MISSING_SETUP: "leave the element out, or choose a functional that has a setup for it",
    FailureCode.OUT_OF_MEMORY: "raise `memory_gb`, or spread the job over more cores",
    FailureCode.TIMEOUT: "raise `walltime_minutes`, then `sabatier retry`",
    FailureCode.WORKER_LOST: "read `job.out`, then `sabatier retry`",
    FailureCode.NODE_FAIL: "exclude the node, then `sabatier retry`",
    FailureCode.PREEMPTED: "choose another partition or QOS",
    FailureCode.INVALID_RESULT: "look at the disk, then `sabatier retry`",
    FailureCode.CRASHED: "read the message and the logs; `sabatier retry` once the cause is gone",
    FailureCode.DEPENDENCY_FAILED: "look at the calculation that the message names",
}
"""What a person can do; nothing need be done about the others, which are outcomes."""


def render_reference() -> str:
    """Return the reference, in Markdown."""
    lines = [HEAD, "| code | means | Sabatier by itself | you can |", "|---|---|---|---|"]
    lines += [
        f"| `{code}` | {meaning} | {by_itself(code)} | {ADVICE.get(code, 'nothing: it is an outcome')} |"
        for code, meaning in meanings().items()
    ]
    return "\n".join([*lines, "", LADDERS_HEAD + "\n".join(_rungs()), "", TAIL])


def meanings() -> dict[FailureCode, str]:
    """Read what each code means from the line below it."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(codes)).body
        if isinstance(node, ast.ClassDef) and node.name == FailureCode.__name__
    )
    found = {}
    for assignment, text in pairwise(body):
        if isinstance(assignment, ast.Assign) and isinstance(text, ast.Expr):
            (name,) = assignment.targets
            found[FailureCode[ast.unparse(name)]] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def by_itself(code: FailureCode) -> str:
    """Say what Sabatier does after a failure."""
    said = [AGAIN] if code in RETRYABLE else []
    if code in BY_ITSELF:
        said.append(BY_ITSELF[code])
    names = dict.fromkeys(rung.name for ladder in LADDERS if code in ladder.codes for rung in ladder.rungs)
    if names:
        said.append("corrections: " + ", ".join(names))
    return "; ".join(said) or "nothing"


def _rungs() -> list[str]:
    only = {None: "", True: "with moments", False: "without moments"}
    return [
        f"| {_after(ladder.codes, ladder.sign)} | {rung.name} | {rung.says} | {only[rung.needs_moments]} |"
        for ladder in LADDERS
        for rung in ladder.rungs
    ]


def _after(failures: tuple[FailureCode, ...], sign: str) -> str:
    said = sign.replace("|", "`, `")
    return ", ".join(f"`{code}`" for code in failures) + (f" with `{said}`" if sign else "")


if __name__ == "__main__":
    sys.stdout.write(render_reference())
