"""What an adsorption energy costs: CPU time of Sabatier's way against the plain one, in one run.

Ten adsorption energies on six surfaces are computed twice, each calculation in a process of its own on one
core, the two ways in turn, so that whatever else the machine does hits both alike:

- *plain*: GASpy's procedure with GPAW in place of VASP. The bare slab relaxes from the bulk's lattice; the
  adslab starts from that same unrelaxed slab, with the adsorbate at GASpy's fixed height (2.0 Å above the
  site for C, 1.5 Å for H; C-O 1.2 Å). ASE's BFGS and GPAW's eigensolver, mixer and number of bands as they
  come, no symmetry of the structure (``ISYM = 0``). One calculator serves a whole relaxation, as in any ASE
  script.
- *sabatier*: the jobs that a campaign would run, by the worker that it would run them with.

Both end at the identical recipe: functional, cutoff, k-points, smearing, dipole correction, SCF criteria,
``fmax``. Bare slabs and gases count once on either side. Lattice constants are given, to both ways alike, and
cost nothing here.

    python benchmarks/dft_cost.py [--cases N | NAME,...] [--recipe NAME] [--results DIR [--go-on]] [--json]

Cells are small, thin and sparsely sampled, so that the whole ends within an hour or so on one core:
*costs* can be compared, the energies are no literature values. ``--recipe`` takes any named recipe
instead. ``--results`` keeps all files in a new folder; with ``--go-on`` an interrupted run goes on there from
what is finished, unless the code has changed since. The last line is JSON: ``cpu_ratio`` (plain over
Sabatier's CPU-seconds per ΔE), ``max_abs_dde_ev``, ``force_call_ratio``, peak memory, ``code`` (digest of
what computed), ``is_one_run``; the same over the cases on which nothing was tuned as ``unseen_...``. Units:
eV, Å, CPU-seconds, MiB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from config.adsorbates import presets  # noqa: E402
from config.recipe import RecipeSettings  # noqa: E402
from dft.jobs import AtomsRecord, CalculationKind, JobSpec, read_result, write_job  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

RECIPE = RecipeSettings(
    name="benchmark",
    cutoff_ev=400.0,
    slab_kpoint_density=1.0,
    smearing_ev=0.1,
    gas_box_a=6.0,
    dipole_correction=True,
    fmax_ev_per_a=0.03,
)
VACUUM_A = 8.0
GASPY_HEIGHTS = {"H": (1.5,), "CO": (2.0, 3.2)}
"""Start above the site: pymatgen's distance of 2.0 Å plus the offsets of GASpy's ``defaults.adsorbates``."""
WAYS = ("plain", "sabatier")
CODE_FILE = "code"
"""Beside the results: digest of the code that made them."""


@dataclass(frozen=True)
class Case:
    """An adsorption energy; the site in units of the slab's in-plane cell vectors."""

    surface: str
    adsorbate: str
    site: str
    position: tuple[float, float]

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return f"{self.surface}-{self.adsorbate}-{self.site}"


CASES = (
    Case("Cu111", "H", "fcc", (0.5, 1 / 6)),
    Case("Cu111", "CO", "top", (0.0, 0.0)),
    Case("Al111", "H", "fcc", (0.5, 1 / 6)),
    Case("Al111", "H", "top", (0.0, 0.0)),
    Case("Pd100", "CO", "bridge", (0.25, 0.25)),
    Case("Pd100", "H", "hollow", (0.5, 0.0)),
    Case("PdAl110", "CO", "top", (0.0, 0.0)),
    Case("PdAl110", "H", "hollow", (0.2, 0.5)),
    Case("Ag111", "H", "fcc", (0.5, 1 / 6)),
    Case("CuPd110", "CO", "top", (0.0, 0.0)),
)
UNSEEN = ("Ag111-H-fcc", "CuPd110-CO-top")
"""Cases that came last: starting heights, force constants and all else were tuned on the others."""


def bare_slab(surface: str) -> Atoms:
    """Cut a slab at its lattice constant, which is near RPBE's, rounded; the bottom layer is held.

    An atom of the top layer, Pd in the alloys, lies at the in-plane origin.
    """
    import numpy as np
    from ase.build import bulk, fcc111
    from ase.build import surface as cut
    from ase.constraints import FixAtoms
    from ase.spacegroup import crystal

    if surface == "Cu111":
        slab = fcc111("Cu", (1, 2, 2), a=3.68, orthogonal=True)
    elif surface == "Ag111":
        slab = fcc111("Ag", (1, 2, 2), a=4.20, orthogonal=True)
    elif surface == "Al111":
        slab = fcc111("Al", (1, 2, 3), a=4.06, orthogonal=True)
    elif surface == "Pd100":
        slab = cut(bulk("Pd", a=3.98, cubic=True), (0, 0, 1), 1)
    else:
        other, a, layers = {"PdAl110": ("Al", 3.09, 3), "CuPd110": ("Cu", 3.02, 2)}[surface]
        b2 = crystal(
            ["Pd", other], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=221, cellpar=[a, a, a, 90, 90, 90]
        )
        slab = cut(b2, (1, 1, 0), layers)
    slab.center(VACUUM_A / 2, axis=2)
    depths = slab.positions[:, 2].max() - slab.positions[:, 2]
    top = min((depths[i] > 0.1, slab[i].symbol in {"Al", "Cu"}, i) for i in range(len(slab)))[2]
    slab.positions[:, :2] -= slab.positions[top, :2].copy()
    slab.pbc = (True, True, False)
    slab.wrap(eps=1e-6)
    slab.set_tags(np.unique(depths.round(2), return_inverse=True)[1] + 1)
    slab.set_constraint(FixAtoms(np.flatnonzero(depths > depths.max() - 0.1)))
    return slab


def covered(slab: Atoms, case: Case, way: str) -> Atoms:
    """Put the adsorbate on a slab as a way starts from it; its atoms last, with tag 0."""
    import numpy as np
    from ase import Atoms

    from pipeline.structures.adsorbates import LOWEST_A, contact_height

    species = presets()[case.adsorbate]
    lateral = np.array(case.position) @ slab.cell.array[:2, :2]
    if way == "plain":
        heights = np.array(GASPY_HEIGHTS[case.adsorbate]) + slab.positions[:, 2].max()
    else:
        contact = contact_height(slab, lateral, species.symbols[0])
        lowest = slab.positions[:, 2].max() + LOWEST_A
        heights = np.array(species.positions)[:, 2] - species.positions[0][2] + max(contact, lowest)
    positions = [[*lateral, height] for height in heights]
    whole = slab.copy()
    whole += Atoms(species.symbols, positions=positions, tags=[0] * len(positions))
    # Centred, as Sabatier's worker does by itself: the dipole layer lies at the cell's boundary.
    whole.positions[:, 2] += whole.cell[2, 2] / 2 - (heights.max() + slab.positions[:, 2].min()) / 2
    return whole


# -- one calculation, in a process of its own --------------------------------------------------------


def compute_plainly(job_dir: Path) -> None:
    """Relax the structure of a job directory as an ASE script would, and leave ``plain.json``."""
    from ase.optimize import BFGS
    from gpaw.new.ase_interface import GPAW

    from dft.calculator import gpaw_parameters
    from dft.jobs import read_job
    from dft.relaxation import set_initial_moments

    spec = read_job(job_dir)
    atoms = spec.atoms.to_atoms()
    set_initial_moments(spec.recipe, atoms)
    parameters = gpaw_parameters(spec.recipe, atoms, spec.kind)
    parameters |= {"symmetry": {"point_group": False}, "nbands": None}
    atoms.calc = GPAW(txt=job_dir / "gpaw.txt", **parameters)
    optimiser = BFGS(atoms, logfile=job_dir / "bfgs.txt", trajectory=str(job_dir / "plain.traj"))
    if not optimiser.run(fmax=spec.recipe.fmax_ev_per_a, steps=spec.recipe.max_steps):
        sys.exit(f"{spec.label} did not converge in {spec.recipe.max_steps} steps")
    (job_dir / "plain.json").write_text(json.dumps({"energy": float(atoms.get_potential_energy())}))


@dataclass(frozen=True)
class Cost:
    """What came of a calculation, and what it cost."""

    energy_ev: float
    cpu_seconds: float
    force_calls: int
    memory_mib: float


def measured(way: str, kind: CalculationKind, label: str, atoms: Atoms, options: Options) -> Cost:
    """Compute in a new process, unless it has been done before.

    The whole process counts, interpreter and imports included.
    """
    folder = options.results / options.recipe.digest() / way / label
    done = folder / "cost.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        n_adsorbate = sum(atoms.get_tags() == 0) if kind is CalculationKind.ADSLAB else 0
        spec = JobSpec(
            calculation_id=label,
            kind=kind,
            attempt=1,
            label=label,
            recipe=options.recipe,
            atoms=AtomsRecord.from_atoms(atoms),
            n_adsorbate_atoms=int(n_adsorbate),
        )
        write_job(folder, spec)
        worker = [__file__, "--plain-job"] if way == "plain" else ["-m", "dft.worker"]
        one_core = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, *worker, str(folder)], env=os.environ | one_core, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{label} ({way}) ended with status {status}; see {folder}")
        cost = Cost(
            energy_ev=_energy(folder, way),
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            force_calls=sum(log.read_text().count("Converged in") for log in folder.glob("*.txt")),
            memory_mib=usage.ru_maxrss / 1024,
        )
        done.write_text(json.dumps(asdict(cost)))
    cost = Cost(**json.loads(done.read_text()))
    if not options.json:
        print(
            f"{label:20} {way:9} {cost.energy_ev:12.4f} eV {cost.cpu_seconds:8.1f} s "
            f"{cost.force_calls:4d} force calls {cost.memory_mib:6.0f} MiB",
            flush=True,
        )
    return cost


def _energy(folder: Path, way: str) -> float:
    if way == "plain":
        return float(json.loads((folder / "plain.json").read_text())["energy"])
    result = read_result(folder)
    if result is None or result.energy is None:
        sys.exit(f"no energy: {result.code if result else 'no result'} in {folder}")
    return result.energy


def relaxed_slab(surface: str, options: Options) -> Atoms:
    """The bare slab as Sabatier's way left it."""
    result = read_result(options.results / options.recipe.digest() / "sabatier" / surface)
    assert result is not None
    assert result.atoms is not None
    return result.atoms.to_atoms()


def code_digest() -> str:
    """Digest of the code that computes: all of ``dft``, and this file."""
    files = [*sorted((ROOT / "dft").rglob("*.py")), Path(__file__)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def claim(results: Path, *, go_on: bool) -> None:
    """Take a results folder for this code, so that no table mixes two versions of it.

    Raises
    ------
    SystemExit
        If there are results and ``go_on`` is not asked for, or other code made them.
    """
    path = results / CODE_FILE
    if path.exists() and not go_on:
        sys.exit(f"{results} holds results; name a new folder, or --go-on")
    if path.exists() and path.read_text() != code_digest():
        sys.exit(f"the code has changed since {results} was begun: its costs would be those of two versions")
    results.mkdir(parents=True, exist_ok=True)
    path.write_text(code_digest())


# -- the whole ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """What to run, and where."""

    cases: tuple[Case, ...]
    recipe: RecipeSettings
    results: Path
    json: bool
    go_on: bool


def run(options: Options) -> dict[str, Any]:
    """Compute everything, the ways in turn; return the figures."""
    from dft.references import gas_atoms

    costs: dict[tuple[str, str], Cost] = {}

    def both(kind: CalculationKind, label: str, start: Callable[[str], Atoms]) -> None:
        if (WAYS[0], label) in costs:
            return  # shared with a case before
        for way in WAYS:
            costs[way, label] = measured(way, kind, label, start(way), options)

    for case in options.cases:
        (molecule,) = presets()[case.adsorbate].reference
        both(CalculationKind.GAS, molecule, lambda _, m=molecule: gas_atoms(m, options.recipe.gas_box_a))
        both(CalculationKind.SLAB, case.surface, lambda _, c=case: bare_slab(c.surface))
        both(
            CalculationKind.ADSLAB,
            case.name,
            lambda way, c=case: covered(
                bare_slab(c.surface) if way == "plain" else relaxed_slab(c.surface, options), c, way
            ),
        )
    return figures(options, costs)


def figures(options: Options, costs: dict[tuple[str, str], Cost]) -> dict[str, Any]:
    """Everything the benchmark reports; shared calculations count once."""
    rows = [_row(case, costs) for case in options.cases]
    cpu = {way: sum(c.cpu_seconds for (w, _), c in costs.items() if w == way) for way in WAYS}
    calls = {way: sum(c.force_calls for (w, _), c in costs.items() if w == way) for way in WAYS}
    memory = {way: max(c.memory_mib for (w, _), c in costs.items() if w == way) for way in WAYS}
    adslab = {way: sum(row[f"{way}_cpu_seconds"] for row in rows) for way in WAYS}
    return {
        "recipe": options.recipe.name,
        "cases": rows,
        "cpu_ratio": cpu["plain"] / cpu["sabatier"],
        "cpu_ratio_adslabs": adslab["plain"] / adslab["sabatier"],
        "max_abs_dde_ev": max(abs(row["dde_ev"]) for row in rows),
        "force_call_ratio": calls["plain"] / calls["sabatier"],
        **{f"{way}_cpu_seconds_per_energy": cpu[way] / len(rows) for way in WAYS},
        **{f"{way}_force_calls": calls[way] for way in WAYS},
        **{f"{way}_peak_memory_mib": memory[way] for way in WAYS},
        **_unseen([row for row in rows if row["case"] in UNSEEN]),
        "code": code_digest(),
        "is_one_run": not options.go_on,
    }


def _unseen(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Figures of the adslabs on which nothing was tuned; none if none was computed."""
    if not rows:
        return {}
    cpu = {way: sum(row[f"{way}_cpu_seconds"] for row in rows) for way in WAYS}
    return {
        "unseen_cpu_ratio_adslabs": cpu["plain"] / cpu["sabatier"],
        "unseen_max_abs_dde_ev": max(abs(row["dde_ev"]) for row in rows),
    }


def _row(case: Case, costs: dict[tuple[str, str], Cost]) -> dict[str, Any]:
    ((molecule, share),) = presets()[case.adsorbate].reference.items()
    row: dict[str, Any] = {"case": case.name}
    for way in WAYS:
        adslab = costs[way, case.name]
        bare = costs[way, case.surface].energy_ev + share * costs[way, molecule].energy_ev
        row[f"{way}_de_ev"] = adslab.energy_ev - bare
        row[f"{way}_cpu_seconds"] = adslab.cpu_seconds
        row[f"{way}_force_calls"] = adslab.force_calls
    return row | {"dde_ev": row["sabatier_de_ev"] - row["plain_de_ev"]}


def print_table(report: dict[str, Any]) -> None:
    print(f"\n{'adslab':20} {'ΔE plain':>9} {'ΔΔE':>8} {'CPU-s plain':>12} {'sabatier':>9} ratio calls")
    for row in report["cases"]:
        plain, ours = row["plain_cpu_seconds"], row["sabatier_cpu_seconds"]
        print(
            f"{row['case']:20} {row['plain_de_ev']:9.3f} {row['dde_ev']:8.4f} {plain:12.1f} {ours:9.1f} "
            f"{plain / ours:5.2f} {row['plain_force_calls']}/{row['sabatier_force_calls']}"
        )
    for key, value in report.items():
        if key != "cases":
            print(f"{key:32} {value:.4f}" if isinstance(value, float) else f"{key:32} {value}")


def chosen(text: str | None) -> tuple[Case, ...]:
    """Cases by number or by name."""
    if text is None:
        return CASES
    if text.isdigit():
        return CASES[: int(text)]
    by_name = {case.name: case for case in CASES}
    unknown = [name for name in text.split(",") if name not in by_name]
    if unknown:
        message = f"unknown case {unknown[0]!r}; allowed: {', '.join(by_name)}"
        raise argparse.ArgumentTypeError(message)
    return tuple(by_name[name] for name in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=chosen, default=CASES, help="so many of the first, or names")
    parser.add_argument("--recipe", help="a named recipe instead of the benchmark's own")
    parser.add_argument("--results", type=Path, help="keep all files in this new folder")
    parser.add_argument("--go-on", action="store_true", help="go on in the folder of an interrupted run")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--plain-job", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain_job is not None:
        compute_plainly(arguments.plain_job)
        return
    recipe = RECIPE
    if arguments.recipe is not None:
        from config.loader import load_recipe

        recipe = load_recipe(arguments.recipe)
    with tempfile.TemporaryDirectory(prefix="sabatier-benchmark-") as folder:
        results = (arguments.results or Path(folder)).resolve()
        claim(results, go_on=arguments.go_on)
        options = Options(arguments.cases, recipe, results, arguments.json, arguments.go_on)
        report = run(options)
    if not options.json:
        print_table(report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
