"""The folder that holds one campaign: settings, job directories, database, results.

Layout::

    <home>/campaign.json          settings of the campaign, as last run
    <home>/jobs/<id>/attempt-<n>/ one directory per attempt at a calculation (see ``dft.jobs``)
    <home>/predictions/           what the surrogate predicted, a file per round and adsorbate
    <home>/pretrained.jsonl       what a pretrained potential says of some sites (``pipeline.pretrained``)
    <home>/results/               tables and plots
    <home>/mongo/                 the embedded database
    <home>/driver.log            what Luigi says of the loop
    <home>/sessions.jsonl         when drivers started and ended

Several drivers may share a home, on one host or, on a shared file system, on several.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.campaign import CampaignSettings
from config.errors import ConfigError
from dft.jobs import write_atomically

if TYPE_CHECKING:
    from pipeline.domain import Calculation

FROZEN_KEYS = ("name", "bulks", "surfaces", "recipe", "seed")
"""Settings that say what the campaign *is*: another value belongs into another home."""
STUDY_PREFIX = "converge-"
"""How the names of convergence studies begin; none of them is the campaign that goes without saying."""


@dataclass(frozen=True)
class CampaignHome:
    """Paths and records of one campaign's folder."""

    path: Path

    @property
    def settings_file(self) -> Path:
        """Settings as last run."""
        return self.path / "campaign.json"

    @property
    def jobs(self) -> Path:
        """Folder of the job directories."""
        return self.path / "jobs"

    @property
    def predictions(self) -> Path:
        """Folder of the surrogate's predictions."""
        return self.path / "predictions"

    @property
    def results(self) -> Path:
        """Folder of tables and plots."""
        return self.path / "results"

    @property
    def sessions_file(self) -> Path:
        """Log of driver sessions, one JSON document a line."""
        return self.path / "sessions.jsonl"

    def exists(self) -> bool:
        """Tell whether a campaign was ever started here.

        Raises
        ------
        ConfigError
            If the system cannot look there: the name is too long, or access is denied.
        """
        try:
            return self.settings_file.is_file()
        except OSError as error:
            message = f"cannot use the campaign's home {self.path}: {error.strerror or error}"
            raise ConfigError(message) from error

    def job_dir(self, calculation_id: str, attempt: int) -> Path:
        """Directory of one attempt at a calculation."""
        return self.jobs / calculation_id / f"attempt-{attempt}"

    def locate(self, calculation: Calculation) -> Path:
        """Return the directory of a calculation's current attempt.

        It is looked for in this home first, which may have been moved since; a calculation of another
        campaign in the same database lies in that campaign's home.
        """
        own = self.job_dir(calculation.id, calculation.attempt)
        return own if own.exists() or calculation.job_dir is None else Path(calculation.job_dir)

    def last_attempt(self, calculation_id: str) -> int:
        """Return the highest attempt of a calculation that has a directory; 0 when there is none."""
        return max(attempt_numbers(self.jobs / calculation_id), default=0)

    def load_settings(self) -> CampaignSettings:
        """Read the settings that the campaign was last run with.

        Raises
        ------
        ConfigError
            If there is no campaign here, or its settings cannot be read.
        """
        if not self.exists():
            message = f"no campaign in {self.path}: start one with 'sabatier run CAMPAIGN --home {self.path}'"
            raise ConfigError(message)
        try:
            return CampaignSettings.model_validate_json(self.settings_file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            message = f"{self.settings_file} cannot be read: remove this file and run the campaign file again"
            raise ConfigError(message) from error

    def adopt(self, settings: CampaignSettings) -> None:
        """Make the folder the home of this campaign, or accept its changed settings.

        Budget, batch size, targets, surrogate, acquisition, execution and store may change between
        runs; what the campaign screens and at which recipe may not.

        Raises
        ------
        ConfigError
            If the folder holds a campaign that differs in one of :data:`FROZEN_KEYS`.
        """
        self.check(settings)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in (self.jobs, self.predictions, self.results):
                folder.mkdir(exist_ok=True)
            write_atomically(self.settings_file, settings.model_dump_json(indent=1))
        except OSError as error:
            message = f"cannot write the campaign's home {self.path}: {error.strerror or error}"
            raise ConfigError(message) from error

    def check(self, settings: CampaignSettings) -> None:
        """Refuse settings that :meth:`adopt` would refuse; nothing is written.

        Raises
        ------
        ConfigError
            If the folder holds a campaign that differs in one of :data:`FROZEN_KEYS`.
        """
        if not self.exists():
            return
        before, after = self.load_settings().model_dump(mode="json"), settings.model_dump(mode="json")
        before["adsorbate names"], after["adsorbate names"] = (
            _adsorbate_keys(self.load_settings()),
            _adsorbate_keys(settings),
        )
        for key in (*FROZEN_KEYS, "adsorbate names"):
            changes = _differences(key, before[key], after[key])
            if changes:
                message = (
                    f"{self.path} holds campaign {before['name']!r}, which was started with other settings: "
                    f"{'; '.join(changes)}. Give the changed campaign another name or --home."
                )
                raise ConfigError(message)

    def record_session(self, event: str, **fields: Any) -> None:
        """Append a line to the log of driver sessions."""
        who = {"pid": os.getpid(), "host": os.uname().nodename}
        line = {"event": event, "time": datetime.now(UTC).isoformat(), **who, **fields}
        with self.sessions_file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def last_session(self) -> dict[str, Any]:
        """What was recorded last of a driver's session; empty when nothing was, or only half of it."""
        try:
            lines = self.sessions_file.read_text(encoding="utf-8").splitlines()
            return dict(json.loads(lines[-1]))
        except (OSError, IndexError, ValueError):
            return {}


def attempt_numbers(folder: Path, file: str = "") -> list[int]:
    """Numbers of the attempts in a calculation's folder that have a directory, or a certain file in it."""
    names = (path.relative_to(folder).parts[0] for path in folder.glob(f"attempt-*/{file}"))
    numbers = (name.removeprefix("attempt-") for name in names)
    return [int(number) for number in numbers if number.isdigit()]


def _adsorbate_keys(settings: CampaignSettings) -> list[str]:
    """What stands for each adsorbate in ids: its name, and a hash if it is one of the user's own."""
    return sorted(settings.species(name).key for name in settings.adsorbates)


def _differences(key: str, before: Any, after: Any) -> list[str]:
    """Name each leaf that differs, as ``key was A, is B``."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(set(before) | set(after))
        return [d for n in names for d in _differences(f"{key}.{n}", before.get(n), after.get(n))]
    return [] if before == after else [f"{key} was {before!r}, is {after!r}"]
