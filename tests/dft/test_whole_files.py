"""Whatever a worker leaves is there whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

from dft.codes import FailureCode
from dft.jobs import HEARTBEAT_FILE, RESULT_FILE, TRAJECTORY_FILE, ResultState, read_heartbeat, read_result
from dft.recovery import RECOVERY_FILE, read_taken
from dft.references import gas_atoms
from dft.restart import VOLUMES_FILE, whole_frames
from dft.worker import run_job
from tests.dft.test_patience import fill, small_disk  # noqa: F401 - a fixture
from tests.dft.test_restart import prepare, rattled_slab

ROOT = Path(__file__).resolve().parents[2]
GROWING = ("gpaw", "runs.jsonl", "mpi.txt", "job.out")
"""Beginnings of the files that grow: logs, whose readers know that the last line may be torn."""
WATCHED = """
import sys
from pathlib import Path
opened = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[1] not in (None, "r", "rb"):
        opened.append(arguments[0] if isinstance(arguments[0], str) else arguments[0].decode())
sys.addaudithook(note)
from dft.worker import run_job
run_job(Path(sys.argv[1]))
inside = [Path(name).name for name in opened if name.startswith(sys.argv[1])]
print("\\n".join(sorted(set(inside))))
"""


def written_in_place(folder: Path) -> list[str]:
    """Run a worker; name the files of its directory that it opened for writing under their own names."""
    command = [sys.executable, "-W", "error", "-c", WATCHED, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    names = [line for line in done.stdout.splitlines() if " " not in line]
    assert any(name.startswith(f".{RESULT_FILE}") for name in names), "the hook saw nothing"
    return [name for name in names if not name.startswith((".", *GROWING))]


@pytest.mark.parametrize(
    ("kind", "atoms", "left"),
    [
        ("slab", rattled_slab(), {TRAJECTORY_FILE, HEARTBEAT_FILE, RESULT_FILE, RECOVERY_FILE}),
        ("bulk", bulk("Cu", a=4.7), {VOLUMES_FILE, HEARTBEAT_FILE, RESULT_FILE, RECOVERY_FILE}),
    ],
)
def test_files_take_their_names_when_they_are_whole(tmp_path, emt_recipe, kind, atoms: Atoms, left):
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    folder = prepare(tmp_path, 1, atoms, kind, recipe)
    assert written_in_place(folder) == []
    assert left <= {path.name for path in folder.iterdir()}


@pytest.mark.gpaw
def test_with_gpaw_too(tmp_path, cheap_recipe):
    atoms = gas_atoms("H2", 5.0)
    atoms.positions[1] += (0, 0, 0.05)
    recipe = cheap_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 1e-4})
    folder = prepare(tmp_path, 1, atoms, "gas", recipe)
    assert written_in_place(folder) == []
    assert (folder / "restart.gpw").exists()
    assert read_taken(folder)


@pytest.mark.parametrize("leave", [4096, 8192, 16384, 28672])
def test_on_a_full_disk_every_file_is_the_last_whole_one(small_disk, emt_recipe, leave):  # noqa: F811
    """The disk has room again after a while; until then, at no time is there half a file."""
    recipe = emt_recipe.model_copy(update={"max_steps": 3, "fmax_ev_per_a": 1e-5})
    folder = prepare(small_disk, 1, rattled_slab(), "slab", recipe)
    filler = fill(small_disk, leave)
    torn: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            torn.extend(torn_files(folder))

    timer, looker = threading.Timer(2.0, filler.unlink), threading.Thread(target=look)
    timer.start()
    looker.start()
    try:
        assert run_job(folder)
    finally:
        timer.join()
        ended.set()
        looker.join()
    assert torn == []
    result = read_result(folder)
    assert result is not None
    assert result.state is ResultState.FAILED
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED, result.message
    assert len(whole_frames(folder, rattled_slab())) == result.n_steps + 1 == 7
    assert not list(folder.glob(".*"))


def torn_files(folder: Path) -> list[str]:
    """Name the files that are there and cannot be read to their end."""
    torn = []
    for name in (RESULT_FILE, RECOVERY_FILE):
        path = folder / name
        if path.exists():
            try:
                json.loads(path.read_text())
            except ValueError:
                torn.append(name)
    if (folder / HEARTBEAT_FILE).exists() and read_heartbeat(folder) is None:
        torn.append(HEARTBEAT_FILE)
    if (folder / TRAJECTORY_FILE).exists() and not whole_frames(folder, rattled_slab()):
        torn.append(TRAJECTORY_FILE)
    return torn
