"""A convergence study as calculations: what every point needs, shared where it is the same.

Each ΔE has its adslab, slab and gases at identical settings. No gas and no bulk depends on the in-plane
k-points of slabs, so a series in them shares both. The study is a campaign of its own whose adslabs a person
has chosen: store, ledger and back-ends are those of every campaign. Units: eV, Å, CPU-seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline import attempts
from pipeline.campaign import SECONDS_PER_HOUR, Campaign
from pipeline.candidates import Planner
from pipeline.convergence.series import PARAMETERS, Setting
from pipeline.domain import CalculationState
from pipeline.given import plan_given
from pipeline.materialise import Materialiser
from pipeline.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.campaign import CampaignSettings
    from dft.jobs import JobSpec
    from pipeline.convergence.series import Series
    from pipeline.domain import Bulk, Calculation, Site, Surface
    from pipeline.home import CampaignHome

SHARED_KINDS = frozenset({CalculationKind.GAS, CalculationKind.BULK})
"""Kinds that the in-plane k-points of slabs do not touch."""


@dataclass(frozen=True)
class Subject:
    """The one adsorption whose energy is looked at."""

    bulk: Bulk
    surface: Surface
    site: Site
    sites: tuple[Site, ...]
    """All sites of the surface: where an adsorbate may have moved to."""
    adsorbate: str


@dataclass(frozen=True)
class Study:
    """What is varied on what, and which calculations that takes."""

    subject: Subject
    settings: CampaignSettings
    """The study as a campaign, at its starting recipe."""
    series: tuple[Series, ...]

    @property
    def start(self) -> Setting:
        """The setting that all series have in common."""
        return Setting(self.settings.recipe, self.settings.surfaces)

    @cached_property
    def calculations(self) -> dict[str, Calculation]:
        """Every calculation by id, prerequisites first; the start names what it shares with other points."""
        found: dict[str, Calculation] = {}
        for label, setting in self._settings:
            for calculation in self._needed(setting):
                named = replace(calculation, label=f"{calculation.label}, {label}")
                found.setdefault(calculation.id, named)
        return found

    @cached_property
    def settings_of(self) -> dict[str, CampaignSettings]:
        """The settings that each calculation is computed with, by id."""
        settings = [each for _, s in self._settings for each in (s, self._with_common_kpoints(s))]
        return {c.id: self._campaign(setting) for setting in settings for c in self._own(setting)}

    def adslab_id(self, setting: Setting) -> str:
        """Id of the calculation that answers a setting."""
        return self._own(setting)[-1].id

    @cached_property
    def adslab_ids(self) -> tuple[str, ...]:
        """Ids of the adslabs of all points, each once."""
        return tuple(c.id for c in self.calculations.values() if c.kind is CalculationKind.ADSLAB)

    @property
    def _settings(self) -> list[tuple[str, Setting]]:
        """The settings of all points, the start first and once."""
        points = [(f"{s.parameter.name} {p.label.split()[0]}", p) for s in self.series for p in s.points]
        return [("start", self.start), *((label, p.setting) for label, p in points if not p.is_start)]

    def _needed(self, setting: Setting) -> list[Calculation]:
        """What a setting needs, prerequisites first, the adslab last."""
        shared = [c for c in self._own(self._with_common_kpoints(setting)) if c.kind in SHARED_KINDS]
        slab, adslab = (c for c in self._own(setting) if c.kind not in SHARED_KINDS)
        bulks = (c.id for c in shared if c.kind is CalculationKind.BULK)
        gases = (c.id for c in shared if c.kind is CalculationKind.GAS)
        return [
            *shared,
            replace(slab, requires=tuple(bulks)),
            replace(adslab, requires=(slab.id, *gases)),
        ]

    def _own(self, setting: Setting) -> list[Calculation]:
        """All that a campaign at this setting would compute for the site."""
        planner, subject = Planner(self._campaign(setting)), self.subject
        (candidate,) = planner.candidates([subject.site])
        return planner.calculations(candidate, subject.surface, subject.bulk)

    def _campaign(self, setting: Setting) -> CampaignSettings:
        return self.settings.model_copy(update={"recipe": setting.recipe, "surfaces": setting.surfaces})

    def _with_common_kpoints(self, setting: Setting) -> Setting:
        return setting.with_that_of(self.start, PARAMETERS["kpoints"])


@dataclass(frozen=True)
class PointMaterialiser(Materialiser):
    """Builds each calculation with the settings of the point that it belongs to."""

    settings_of: Mapping[str, CampaignSettings]

    def job_spec(self, calculation: Calculation, attempt: int) -> JobSpec:
        """Build the specification of one attempt; as :meth:`Materialiser.job_spec`."""
        own = Materialiser(self.store, self.settings_of[calculation.id])
        return own.job_spec(calculation, attempt)


@dataclass(frozen=True)
class StudyCampaign(Campaign):
    """A campaign that computes what its study needs and chooses nothing itself."""

    study: Study = field(kw_only=True)

    @cached_property
    def materialiser(self) -> Materialiser:
        """Builds the structures of this study's calculations."""
        return PointMaterialiser(self.store, self.settings, self.study.settings_of)

    def chosen_ids(self) -> list[str]:
        """Adslabs of the study as it is asked for now; the rounds keep those of earlier calls too."""
        return list(self.study.adslab_ids)


class StudyProgress(Progress):
    """Progress of a campaign that has no rounds to tell of."""

    @property
    def stage(self) -> str:
        """What is under way."""
        return "convergence"

    @property
    def scope(self) -> str:
        """What :attr:`seconds_left` is the end of."""
        return "study"


def plan_study(campaign: StudyCampaign) -> None:
    """Put the study into its store, its new adslabs as a round; what is there stays untouched."""
    from pipeline.store.records import Selection

    study, subject = campaign.study, campaign.study.subject
    plan_given(
        campaign,
        bulks=[subject.bulk],
        surfaces=[subject.surface],
        sites=subject.sites,
        calculations=study.calculations.values(),
        selections=[Selection(i, subject.site.id, subject.adsorbate) for i in study.adslab_ids],
    )


def plan_document(study: Study, home: CampaignHome) -> dict[str, Any]:
    """List the calculations of a study with their estimated cost; nothing is written."""
    from pipeline.estimate import expected_cpu_seconds

    subject = study.subject
    bulks, surfaces = {subject.bulk.id: subject.bulk}, {subject.surface.id: subject.surface}
    rows = []
    total = left = 0.0
    for calculation in study.calculations.values():
        settings = study.settings_of[calculation.id]
        seconds = expected_cpu_seconds(calculation, settings, bulks, surfaces)
        is_done = attempts.unused_energy(home.jobs / calculation.id, calculation) is not None
        row = {"id": calculation.id, "kind": calculation.kind.value, "label": calculation.label}
        rows.append({**row, "cpu_seconds_estimated": seconds, "done": is_done})
        total += seconds
        left += 0.0 if is_done else seconds
    return {
        "study": study.settings.name,
        "home": str(home.path),
        "calculations": rows,
        "cpu_hours_estimated": total / SECONDS_PER_HOUR,
        "cpu_hours_left_estimated": left / SECONDS_PER_HOUR,
    }


@dataclass(frozen=True)
class Measured:
    """What came of one setting."""

    calculation_id: str
    state: CalculationState
    code: FailureCode | None
    message: str
    delta_e_ev: float | None
    """None unless the adsorbate stayed on its site."""
    cpu_seconds: float
    """Of the adslab and its slab, all attempts."""
    n_atoms: int | None


def measure(campaign: StudyCampaign, setting: Setting) -> Measured:
    """Read what came of a setting."""
    from pipeline.harvest import Judge

    store = campaign.store
    identifier = campaign.study.adslab_id(setting)
    adslab = store.calculation(identifier)
    assert adslab is not None
    slabs = store.calculations(ids=adslab.requires, kinds={CalculationKind.SLAB})
    is_valid = adslab.state is CalculationState.VALID
    judge = Judge(store, campaign.materialiser, campaign.home, {})
    return Measured(
        calculation_id=identifier,
        state=adslab.state,
        code=adslab.code,
        message=adslab.message,
        delta_e_ev=judge.delta_e(adslab) if is_valid else None,
        cpu_seconds=adslab.cpu_seconds + sum(s.cpu_seconds for s in slabs),
        n_atoms=len(campaign.materialiser.final_atoms(identifier)) if is_valid else None,
    )


def equilibrium_scale(campaign: StudyCampaign) -> float:
    """Equilibrium over reference lattice at the starting recipe; 1 while it is not known."""
    slab = next(c for c in campaign.study.calculations.values() if c.kind is CalculationKind.SLAB)
    bulk = campaign.store.calculation(slab.requires[0])
    if bulk is None or bulk.state is not CalculationState.VALID:
        return 1.0
    return campaign.materialiser.linear_scale(slab)
