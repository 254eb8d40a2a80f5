"""Where and with what resources calculations run: the ``execution`` section of a campaign file.

A class for each back-end; what batch systems have in common is :class:`SchedulerExecution`, so that
another one is a subclass with its ``backend`` and its own table of refused options.

Units: minutes, GB (10^9 bytes are near enough for a scheduler), seconds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.recipe import StrictModel

MAX_COUNT = 1_000_000
"""Largest number of anything that is counted: above it lies a slip of the keyboard."""
Kind = Literal["gas", "bulk", "slab", "adslab"]
"""Kinds of calculations, as in ``dft.jobs.CalculationKind``."""
Pack = Literal["single", "array", "bundle"]
"""Ways to hand calculations to a scheduler."""
Option = str | int | bool
"""Value of a scheduler's option: ``true`` for one that takes no value, ``false`` leaves it out."""
LAUNCHER = "mpiexec -n {tasks}"
"""How MPI ranks are started where nothing else is said."""
SLURM_OWN_OPTIONS = {
    **{name: f"use the key '{name}'" for name in ("partition", "account", "qos", "constraint", "nodes")},
    **dict.fromkeys(("time", "time-min"), "use the key 'walltime_minutes'"),
    "ntasks": "use the key 'tasks'",
    "cpus-per-task": "use the key 'cpus_per_task'",
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "use the key 'memory_gb'"),
    **dict.fromkeys(("gpus", "gpus-per-node"), "use the key 'gpus'"),
    "array": "use the keys 'pack' and 'pack_size'",
    "signal": "use the key 'warning_seconds'",
    **dict.fromkeys(("requeue", "no-requeue"), "Sabatier itself starts the next attempt"),
    "job-name": "Sabatier finds its jobs by their names",
    **dict.fromkeys(("chdir", "error", "input", "open-mode", "output"), "a job writes into its own folder"),
    **dict.fromkeys(
        ("help", "parsable", "quiet", "test-only", "usage", "verbose", "version", "wait", "wrap"),
        "Sabatier reads what sbatch answers",
    ),
    **dict.fromkeys(
        ("export", "export-file", "gid", "uid"), "jobs start as you, with the driver's environment"
    ),
    "clusters": "jobs go to the cluster that squeue shows",
}
"""Options of ``sbatch`` that a campaign file may not set, and what to do instead."""


class ExecutionSection(StrictModel):
    """What all back-ends are told."""

    backend: str
    """Name of the back-end, which each class fixes."""
    profile: str | None = None
    """Execution profile of your `profiles.yaml` that the other keys of this section go on top of."""


class LocalExecution(ExecutionSection):
    """Run calculations on this machine."""

    backend: Literal["local"] = "local"
    """Where calculations run: `local` is this machine; a cluster takes other keys, further down."""
    cores: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Cores to use at once; all of the machine's when left out."""
    cores_per_calculation: int = Field(default=1, ge=1, le=MAX_COUNT)
    """MPI ranks of one calculation; several serial calculations beat one parallel one."""
    timeout_minutes: float = Field(default=1440.0, gt=0.0)
    """A calculation that takes longer is stopped as TIMEOUT; its next attempt goes on from there."""
    max_attempts: int = Field(default=3, ge=1, le=20)
    """Attempts at a calculation whose worker was lost or ran out of time."""

    @model_validator(mode="after")
    def _one_job_fits(self) -> Self:
        if self.cores is not None and self.cores_per_calculation > self.cores:
            message = f"cores_per_calculation ({self.cores_per_calculation}) exceeds cores ({self.cores})"
            raise ValueError(message)
        return self

    def tasks_for(self, kind: str) -> int:  # noqa: ARG002 - alike for all kinds
        """MPI ranks of a calculation of this kind."""
        return self.cores_per_calculation

    def walltime_minutes_for(self, kind: str) -> float:  # noqa: ARG002
        """Time limit of a calculation of this kind, minutes."""
        return self.timeout_minutes

    @property
    def mpi_launcher(self) -> str:
        """Command that starts MPI ranks; ``{tasks}`` stands for their number."""
        return LAUNCHER

    @property
    def poll_seconds(self) -> float:
        """Time between two looks at the jobs, s."""
        return 0.5


def _one_word(value: str | None) -> str | None:
    """Refuse a name that would break up the line of a job script that it goes into."""
    if value is not None and (not value or re.search(r"\s", value)):
        message = "must be one word, without spaces; leave the key out for the site's default"
        raise ValueError(message)
    return value


class JobResources(StrictModel):
    """What one job asks of the scheduler."""

    partition: str | None = Field(default=None, examples=["xeon40"])
    """Partition (queue) of the cluster; the site's default when left out."""
    account: str | None = Field(default=None, examples=["my-group"])
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that the nodes must have, such as `xeon40`."""
    walltime_minutes: float = Field(default=1440.0, ge=1.0)
    """Time limit of a job (of a whole bundle); a calculation that reaches it goes on from its last
    geometry in another attempt."""
    nodes: int = Field(default=1, ge=1, le=MAX_COUNT)
    """Nodes of one calculation."""
    tasks: int = Field(default=1, ge=1, le=MAX_COUNT)
    """MPI ranks of one calculation, on all its nodes together."""
    cpus_per_task: int = Field(default=1, ge=1, le=MAX_COUNT)
    """Cores of one rank."""
    memory_gb: float | None = Field(default=None, gt=0.0)
    """Memory per node; the site's default when left out."""
    gpus: int = Field(default=0, ge=0, le=MAX_COUNT)
    """GPUs per node."""
    options: dict[str, Option] = Field(default={}, examples=[{"exclude": "node[1-4]", "exclusive": True}])
    """Any other option of the scheduler's submit command by its long name; `true` for one that takes no
    value, `false` to leave it out."""

    _words = field_validator("partition", "account", "qos", "constraint")(_one_word)


class KindResources(StrictModel):
    """What calculations of one kind ask for instead; keys left out are as for all kinds."""

    partition: str | None = None
    """As `execution.partition`."""
    account: str | None = None
    """As `execution.account`."""
    qos: str | None = None
    """As `execution.qos`."""
    constraint: str | None = None
    """As `execution.constraint`."""
    walltime_minutes: float | None = Field(default=None, ge=1.0)
    """As `execution.walltime_minutes`."""
    nodes: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """As `execution.nodes`."""
    tasks: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """As `execution.tasks`."""
    cpus_per_task: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """As `execution.cpus_per_task`."""
    memory_gb: float | None = Field(default=None, gt=0.0)
    """As `execution.memory_gb`."""
    gpus: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """As `execution.gpus`."""
    options: dict[str, Option] | None = None
    """As `execution.options`; replaces it."""
    pack: Pack | None = None
    """As `execution.pack`."""
    pack_size: int | None = Field(default=None, ge=1, le=1000)
    """As `execution.pack_size`."""

    _words = field_validator("partition", "account", "qos", "constraint")(_one_word)


class SchedulerExecution(JobResources, ExecutionSection):
    """What every batch system is told."""

    OWN_OPTIONS: ClassVar[Mapping[str, str]] = {}
    """Options that ``options`` may not hold, and what to do instead."""

    kinds: dict[Kind, KindResources] = Field(default={}, examples=[{"gas": {"walltime_minutes": 60}}])
    """Other resources for `gas`, `bulk`, `slab` or `adslab` calculations."""
    pack: Pack = "single"
    """`single`: a job for each calculation; `array`: up to `pack_size` in one job array; `bundle`: up to
    `pack_size` in one job, `bundle_width` of them at a time (for clusters that want few, large jobs)."""
    pack_size: int = Field(default=50, ge=1, le=1000)
    """Most calculations in one array or bundle."""
    bundle_width: int = Field(default=1, ge=1, le=1000)
    """Calculations that run side by side in a bundle; its job asks for that many times `tasks`."""
    setup: tuple[str, ...] = Field(default=(), examples=[["module load gpaw"]])
    """Shell lines at the start of every job, such as `module load gpaw` or activating a venv."""
    launcher: str = LAUNCHER
    """How MPI ranks are started; `{tasks}` stands for their number."""
    python: str | None = Field(default=None, examples=["~/venvs/sabatier/bin/python"])
    """Python of the jobs, as absolute path or command name; the driver's own when left out."""
    max_jobs: int = Field(default=100, ge=1, le=100_000)
    """Most calculations in the queue at once, waiting or running."""
    warning_seconds: int = Field(default=120, ge=1, le=3600)
    """How long before its time limit a job is told to stop and save what it has."""
    poll_seconds: float = Field(default=15.0, ge=0.1, le=3600.0)
    """Time between two looks at the queue."""
    max_attempts: int = Field(default=3, ge=1, le=20)
    """Attempts at a calculation that was preempted, ran out of time, or whose node or worker was lost."""

    @field_validator("options")
    @classmethod
    def _usable_options(cls, value: dict[str, Option]) -> dict[str, Option]:
        return _normal_options(value, cls.OWN_OPTIONS)

    @field_validator("kinds")
    @classmethod
    def _usable_kinds(cls, value: dict[Kind, KindResources]) -> dict[Kind, KindResources]:
        usable = dict(value)
        for kind, own in value.items():
            if own.options is not None:
                try:
                    options = _normal_options(own.options, cls.OWN_OPTIONS)
                except ValueError as error:
                    message = f"{kind}.options: {error}"
                    raise ValueError(message) from error
                usable[kind] = own.model_copy(update={"options": options})
        return usable

    @field_validator("setup")
    @classmethod
    def _shell_lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        lines = [line.strip() for text in value for line in text.splitlines()]
        header = next((line for line in lines if re.match(r"#\s*(SBATCH|PBS|BSUB)\b", line)), None)
        if header is not None:
            message = f"{header!r} has no effect after the job's header; use 'options' or the key for it"
            raise ValueError(message)
        return value

    @field_validator("launcher")
    @classmethod
    def _names_tasks(cls, value: str) -> str:
        if "{tasks}" not in value:
            message = f"must hold {{tasks}}, which stands for the number of MPI ranks, as in '{LAUNCHER}'"
            raise ValueError(message)
        if set(value.replace("{tasks}", "")) & set("{}\n"):
            message = "must be one line and hold no braces but those of {tasks}"
            raise ValueError(message)
        try:
            shlex.split(value)
        except ValueError as error:
            message = f"is no command: {str(error).lower()}"
            raise ValueError(message) from error
        return value

    @field_validator("python")
    @classmethod
    def _absolute_or_command(cls, value: str | None) -> str | None:
        if value is None:
            return None
        path = Path(value).expanduser()
        if not value.strip() or "\n" in value or (len(path.parts) > 1 and not path.is_absolute()):
            message = "must be an absolute path, one from ~, or the name of a command"
            raise ValueError(message)
        return str(path)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        """Refuse jobs that could not run as asked, for all kinds and for each by itself."""
        for kind in (None, *self.kinds):
            problem = self._contradiction(kind)
            if problem is not None:
                raise ValueError((f"kinds.{kind}: " if kind else "") + problem)
        packs = {self.pack, *(own.pack for own in self.kinds.values())}
        if self.bundle_width > 1 and "bundle" not in packs:
            message = (
                f"bundle_width ({self.bundle_width}) is of use with 'pack: bundle' only, not {self.pack}"
            )
            raise ValueError(message)
        return self

    def _contradiction(self, kind: str | None) -> str | None:
        """Say what is wrong with the resources and packing of a kind, or of all kinds."""
        asked = self.resources_for(kind or "")
        pack, size = self.pack_for(kind or "")
        if asked.nodes > asked.tasks:
            return f"nodes ({asked.nodes}) exceeds tasks ({asked.tasks}), which counts those of all nodes"
        if 60.0 * asked.walltime_minutes <= self.warning_seconds:
            return (
                f"walltime_minutes ({asked.walltime_minutes:g}) must exceed warning_seconds "
                f"({self.warning_seconds}, {self.warning_seconds / 60:g} min)"
            )
        if asked.gpus and asked.options.get("gres", False) is not False:
            return f"gpus ({asked.gpus}) and options.gres cannot both be given"
        if pack != "single" and size < 2:
            return f"pack_size (1) makes 'pack: {pack}' the same as 'pack: single'; ask for 2 or more"
        if pack == "bundle" and self.bundle_width > size:
            return f"bundle_width ({self.bundle_width}) exceeds pack_size ({size})"
        return None

    def resources_for(self, kind: str) -> JobResources:
        """What a calculation of this kind asks for."""
        own = self._own(kind)
        base = {name: getattr(self, name) for name in JobResources.model_fields}
        changed = own.model_dump(exclude_none=True, exclude={"pack", "pack_size"}) if own else {}
        return JobResources(**base | changed)

    def pack_for(self, kind: str) -> tuple[Pack, int]:
        """How calculations of this kind are packed, and at most how many together."""
        own = self._own(kind)
        pack = (own.pack if own else None) or self.pack
        size = (own.pack_size if own else None) or self.pack_size
        return (pack, 1 if pack == "single" else size)

    def tasks_for(self, kind: str) -> int:
        """MPI ranks of a calculation of this kind."""
        return self.resources_for(kind).tasks

    def walltime_minutes_for(self, kind: str) -> float:
        """Time limit of a calculation of this kind, minutes."""
        return self.resources_for(kind).walltime_minutes

    @property
    def mpi_launcher(self) -> str:
        """Command that starts MPI ranks; ``{tasks}`` stands for their number."""
        return self.launcher

    def _own(self, kind: str) -> KindResources | None:
        return next((own for name, own in self.kinds.items() if name == kind), None)


class SlurmExecution(SchedulerExecution):
    """Submit calculations to a Slurm cluster."""

    OWN_OPTIONS = SLURM_OWN_OPTIONS

    backend: Literal["slurm"]
    """Where calculations run: `slurm` is a Slurm cluster, seen from one of its login nodes."""


ExecutionSettings = Annotated[LocalExecution | SlurmExecution, Field(discriminator="backend")]
"""The ``execution`` section: one of the classes above, by its key ``backend``."""


def _normal_options(options: Mapping[str, Option], own: Mapping[str, str]) -> dict[str, Option]:
    """Write options by their long names without dashes in front; refuse those that Sabatier sets."""
    normal: dict[str, Option] = {}
    for given, value in options.items():
        name = given.strip().lstrip("-").replace("_", "-")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]+", name):
            message = f"{given!r} is no long name of an option; write it as in exclude or mail-type"
            raise ValueError(message)
        # Abbreviations too: getopt, which schedulers read their options with, understands them.
        refused = next((other for other in own if other.startswith(name)), None)
        if refused is not None:
            message = f"{given!r} cannot be set here: {own[refused]}"
            raise ValueError(message)
        if name in normal:
            message = f"{given!r} is given twice"
            raise ValueError(message)
        if isinstance(value, str) and (not value.strip() or not value.isprintable() or '"' in value):
            message = f"{given!r} needs text on one line, without double quotes; 'true' if it takes no value"
            raise ValueError(message)
        normal[name] = value
    return normal
