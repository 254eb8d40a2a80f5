"""What an attempt leaves for the next one, and how the next one finds it.

A relaxation leaves its frames (``relax.traj``) and the electron density of the last one
(``restart.gpw``); an equation of state its volumes (``eos.jsonl``). All are replaced whole, and whatever
cannot be read, belongs to another calculation or does not fit the start is left aside. An attempt that
goes on takes the earlier frames over as its own first, so that chains need only look one link back,
or further where a link was killed before that.

Measured (CO on 1x1 Cu(111), 400 eV): the frames save the steps behind them; the density saves 3 to 5 of
the 14 SCF iterations of the first new step, costs 3 ms and 0.5 MB a step, and keeps a magnetic slab in
its state. Wave functions would save 2 iterations more at ten times the size. Units: eV, Å, eV/Å.
"""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from dft.codes import FailureCode
from dft.jobs import TRAJECTORY_FILE, read_job, read_result, write_atomically
from dft.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms

    from dft.jobs import JobSpec

DENSITY_FILE = "restart.gpw"
VOLUMES_FILE = "eos.jsonl"
POSITION_TOLERANCE_A = 1.0e-6
"""An earlier start that differs by more is another start, Å."""


def earlier_attempts(spec: JobSpec, folder: Path) -> list[Path]:
    """Folders of the attempts that a job may go on from, the latest first."""
    chain: list[Path] = []
    name = spec.restart_from
    while name is not None:
        earlier = folder.parent / name
        if earlier.parent != folder.parent or earlier == folder or earlier in chain:
            break  # nothing but a sibling is looked into, and once
        try:
            its = read_job(earlier)
        except (OSError, ValueError):
            break
        if its.calculation_id != spec.calculation_id:
            break
        chain.append(earlier)
        name = its.restart_from
    return chain


def steps_forgiven(earlier: Sequence[Path]) -> int:
    """Steps after which an earlier attempt gave up, and a person asked to go on all the same."""
    forgiven = 0
    for folder in earlier:
        with suppress(OSError, ValueError):
            result = read_result(folder)
            if result is not None and result.code is FailureCode.RELAXATION_NOT_CONVERGED:
                forgiven = max(forgiven, result.n_steps)
    return forgiven


def whole_frames(folder: Path, start: Atoms) -> list[Atoms]:
    """Read the frames of an earlier attempt at the same relaxation, up to the first that is broken.

    Returns
    -------
    list of Atoms
        Frames with energy, forces and, where computed, magnetic moments; empty if the first one is
        not ``start``.
    """
    from ase.io.trajectory import TrajectoryReader

    frames: list[Atoms] = []
    # Damaged files raise anything from KeyError to UnicodeDecodeError; all mean the end of what is whole.
    with suppress(Exception):
        content = io.BytesIO((folder / TRAJECTORY_FILE).read_bytes())
        reader = TrajectoryReader(content)
        for index in range(len(reader)):
            frame = _with_results_only(reader[index])
            if not _fits(frame, start):
                break
            frames.append(frame)
    if not frames or np.abs(frames[0].positions - start.positions).max() > POSITION_TOLERANCE_A:
        return []
    return frames


def _fits(frame: Atoms, start: Atoms) -> bool:
    from dft.calculator import fixed_indices

    fixed = fixed_indices(start)
    numbers = (frame.positions, frame.get_forces(), frame.get_potential_energy())
    return (
        np.array_equal(frame.numbers, start.numbers)
        and all(np.isfinite(part).all() for part in numbers)
        and np.allclose(frame.positions[fixed], start.positions[fixed], rtol=0, atol=POSITION_TOLERANCE_A)
    )


def snapshot(atoms: Atoms) -> Atoms:
    """Copy a structure with what was computed for it."""
    atoms.get_forces()
    return _with_results_only(atoms)


def _with_results_only(atoms: Atoms) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    frame: Atoms = atoms.copy()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(apply_constraint=False)}
    results |= {key: atoms.calc.results[key] for key in ("magmom", "magmoms") if key in atoms.calc.results}
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def save_frames(folder: Path, frames: Sequence[Atoms]) -> None:
    """Replace the attempt's trajectory; waits for room on a full disk."""
    from ase.io.trajectory import TrajectoryWriter
    from ase.parallel import world

    if world.rank == 0:
        memory = _Kept()
        with TrajectoryWriter(memory, master=True) as writer:
            for frame in frames:
                writer.write(frame)
        path = folder / TRAJECTORY_FILE
        patiently(lambda: write_atomically(path, memory.content), f"the trajectory in {folder}")


def save_density(calculator: Any, folder: Path) -> None:
    """Replace the attempt's density; a full disk leaves the last one."""
    from ase.parallel import world
    from gpaw.new.gpw import GPWFlags, write_gpw

    # Written to memory first: an error of the first rank's disk would leave the others waiting.
    memory = _Kept()
    write_gpw(memory, calculator.dft, GPWFlags(False, False, "double"))  # type: ignore[arg-type]
    if world.rank == 0:
        with suppress(OSError):
            write_atomically(folder / DENSITY_FILE, memory.content)


class _Kept(io.BytesIO):
    """Memory whose content outlives its closing."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()


def load_density(folder: Path, atoms: Atoms, log_path: Path, parameters: Mapping[str, Any]) -> Any | None:
    """Make a GPAW calculator that starts from an earlier attempt's density, moved along with the atoms.

    Parameters
    ----------
    atoms
        The structure to be computed next.
    parameters
        GPAW's, which take the place of those that the density was found with.

    Returns
    -------
    gpaw.new.ase_interface.ASECalculator or None
        None if there is no density, or none of this GPAW version.
    """
    from ase.parallel import broadcast, world
    from gpaw.dft import Parameters
    from gpaw.new.gpw import read_gpw

    path = folder / DENSITY_FILE
    if not broadcast(_is_ours(path) if world.rank == 0 else None):
        return None
    try:
        _, dft, _ = read_gpw(path, log=log_path)
        dft.move_atoms(atoms.copy())
        dft.params = Parameters(**parameters)
        builder = dft.params.dft_component_builder(dft.atoms, log=dft.log)
        waves = builder.create_ibz_wave_functions(builder.create_basis_set(), dft.potential)
        dft.scf_loop = builder.create_scf_loop()
    except Exception as error:  # GPAW's inner parts may change; the density only saves some iterations
        print(f"starting without the density of {path}: {error!r}", flush=True)
        return None
    waves.fermi_levels = dft.ibzwfs.fermi_levels
    dft.ibzwfs = waves
    return dft.ase_calculator()


def _is_ours(path: Path) -> bool:
    """Whether this GPAW wrote a file, and wrote it to its end."""
    import gpaw
    from ase.io import ulm

    try:
        reader = ulm.Reader(io.BytesIO(path.read_bytes()))
        return bool(reader.gpaw_version == gpaw.__version__ and reader.wave_functions)
    except Exception:
        return False


def forget_densities(folders: Sequence[Path]) -> None:
    """Remove the densities of attempts that nobody goes on from any more."""
    for folder in folders:
        with suppress(OSError):
            (folder / DENSITY_FILE).unlink(missing_ok=True)


def whole_volumes(folder: Path, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Read the volumes of an earlier attempt at an equation of state, without those that do not fit."""
    try:
        lines = (folder / VOLUMES_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            point = json.loads(line)
            if fits(point):
                found.append(point)
    return found


def save_volumes(folder: Path, points: Sequence[dict[str, Any]]) -> None:
    """Replace the attempt's volumes; waits for room on a full disk."""
    from ase.parallel import world

    if world.rank == 0:
        text = "".join(json.dumps(point) + "\n" for point in points)
        patiently(lambda: write_atomically(folder / VOLUMES_FILE, text), f"the volumes in {folder}")
