"""Judging a finished calculation, and turning a valid adslab into an observation.

ΔE = E(adslab) − E(slab) − Σ c · E(gas), all at the identical recipe; the gases are the adsorbate's reference,
½H2 and CO(g) in Tran and Ulissi, Nature Catalysis 1 (2018) 696. With BEEF-vdW every member of its ensemble
gives a ΔE of its own. Units: eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from config.errors import SabatierError
from dft import second_start
from dft.codes import FailureCode
from dft.ensemble import CONTRIBUTIONS, delta_e_std
from dft.jobs import CalculationKind, read_job
from dft.magnetism import OTHER_STATE, change_beside_adsorbate
from dft.validation import Outcome, SiteImage, judge_adslab, judge_slab
from pipeline.domain import Observation
from pipeline.structures.adsorbates import site_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.domain import Calculation
    from pipeline.home import CampaignHome
    from pipeline.materialise import Materialiser
    from pipeline.store.repository import Store

_T = TypeVar("_T")

OBSERVED = frozenset({None, FailureCode.MIGRATED})
"""Verdicts whose energy is an adsorption energy: of the site that was meant, or of another one."""


@dataclass(frozen=True)
class Judge:
    """Judges the calculations of one campaign."""

    store: Store
    materialiser: Materialiser
    home: CampaignHome
    round_of: Mapping[str, int]
    """Round in which each adslab was chosen."""

    def judge(self, calculation: Calculation) -> Outcome:
        """Validate a finished calculation; store the observation if it holds one.

        Gases and bulks are valid once they converged, which their worker has checked.
        """
        if calculation.kind is CalculationKind.SLAB:
            start = read_job(self.home.locate(calculation)).atoms.to_atoms()
            return judge_slab(start, self.materialiser.final_atoms(calculation.id))
        if calculation.kind is not CalculationKind.ADSLAB:
            return Outcome(code=None, site_id=None, message="", details={})
        delta_e_ev = self.delta_e(calculation)
        outcome = self._outcome(calculation, delta_e_ev)
        if outcome.code in OBSERVED:
            self.store.save_observation(self._observation(calculation, outcome, delta_e_ev))
        return outcome

    def delta_e(self, adslab: Calculation) -> float:
        """Adsorption energy of a finished adslab, eV."""
        slab, gases = self._required(adslab)
        energies = {gas: calculation.energy for gas, calculation in gases.items()}
        return adsorption_energy(adslab.energy, slab.energy, energies, self._reference(adslab))

    def ensemble_std(self, adslab: Calculation) -> float | None:
        """Standard deviation of ΔE over the functional's ensemble, eV; None if it has none."""
        details = self._details(adslab)
        if CONTRIBUTIONS not in details:
            return None  # most functionals: the other results need not be read
        slab, gases = self._required(adslab)
        of_gases = {gas: self._details(calculation) for gas, calculation in gases.items()}
        return delta_e_std(details, self._details(slab), of_gases, self._reference(adslab))

    def warning(self, adslab: Calculation) -> str:
        """Say what speaks against the magnetic states of slab and adslab; empty when nothing does."""
        species = self.materialiser.settings.species(str(adslab.adsorbate))
        final = self.materialiser.final_atoms(adslab.id)
        change = change_beside_adsorbate(self.materialiser.relaxed_slab(adslab), final, len(species.symbols))
        doubts = [
            f"the {calculation.kind} lost its moments, and its second start failed"
            for calculation in (self._required(adslab)[0], adslab)
            if second_start.has_failed(self._details(calculation))
        ]
        if change is not None and change > OTHER_STATE:
            doubts.append(
                f"a slab atom that the adsorbate does not touch changed its moment by {change:.2f} μB"
            )
        return "; ".join(doubts)

    def _required(self, adslab: Calculation) -> tuple[Calculation, dict[str, Calculation]]:
        """Return the bare slab of an adslab, and its reference gases by molecule."""
        required = self.store.calculations(ids=adslab.requires)
        slab = next(c for c in required if c.kind is CalculationKind.SLAB)
        return slab, {str(c.gas): c for c in required if c.kind is CalculationKind.GAS}

    def _reference(self, adslab: Calculation) -> Mapping[str, float]:
        assert adslab.adsorbate is not None
        return self.materialiser.settings.species(adslab.adsorbate).reference

    def _details(self, calculation: Calculation) -> dict[str, Any]:
        result = self.store.result(calculation.id)
        return {} if result is None else result.details

    def _outcome(self, adslab: Calculation, delta_e_ev: float) -> Outcome:
        assert adslab.surface_id is not None
        assert adslab.site_id is not None
        slab = self.materialiser.relaxed_slab(adslab)
        surface = self.materialiser.surface(adslab.surface_id)
        sites = self.store.sites(self.materialiser.settings.name, adslab.surface_id)
        labels = {site.id: site.label for site in sites}
        images = [SiteImage(site, xy, labels[site]) for site, xy in site_images(surface, sites, slab)]
        start = read_job(self.home.locate(adslab))
        return judge_adslab(
            initial=start.atoms.to_atoms(),
            final=self.materialiser.final_atoms(adslab.id),
            n_adsorbate_atoms=start.n_adsorbate_atoms,
            sites=images,
            start_site_id=adslab.site_id,
            bare_slab=slab,
            delta_e_ev=delta_e_ev,
        )

    def _observation(self, adslab: Calculation, outcome: Outcome, delta_e_ev: float) -> Observation:
        assert adslab.surface_id is not None
        assert adslab.site_id is not None
        assert adslab.bulk_id is not None
        assert adslab.adsorbate is not None
        std, no_std = _or_why_not("error bar of the functional", lambda: self.ensemble_std(adslab), None)
        warning, no_warning = _or_why_not("comparison of magnetic states", lambda: self.warning(adslab), "")
        return Observation(
            calculation_id=adslab.id,
            site_id=outcome.site_id or adslab.site_id,
            start_site_id=adslab.site_id,
            surface_id=adslab.surface_id,
            bulk_id=adslab.bulk_id,
            adsorbate=adslab.adsorbate,
            delta_e_ev=delta_e_ev,
            recipe_digest=adslab.recipe_digest,
            round=self.round_of.get(adslab.id, 0),
            attempt=adslab.attempt,
            ensemble_std_ev=std,
            warning="; ".join(filter(None, [warning, no_std, no_warning])),
        )


def _or_why_not(what: str, find: Callable[[], _T], absent: _T) -> tuple[_T, str]:
    """Find what only goes with ΔE, or say why there is none: ΔE is kept without it.

    What the store and the disk say is no property of the result: another look may find it.
    """
    try:
        return find(), ""
    except (SabatierError, OSError):
        raise
    except Exception as error:
        return absent, f"no {what}: {type(error).__name__}: {error}"


def adsorption_energy(
    adslab_ev: float | None,
    slab_ev: float | None,
    gases_ev: Mapping[str, float | None],
    reference: Mapping[str, float],
) -> float:
    """ΔE = E(adslab) − E(slab) − Σ coefficient · E(gas), eV.

    Raises
    ------
    ValueError
        If one of the energies is missing.
    """
    energies = [adslab_ev, slab_ev, *(gases_ev.get(molecule) for molecule in reference)]
    if any(energy is None for energy in energies):
        message = f"an energy is missing: adslab {adslab_ev}, slab {slab_ev}, gases {dict(gases_ev)}"
        raise ValueError(message)
    adslab, slab, *gases = (float(energy) for energy in energies if energy is not None)
    return adslab - slab - sum(c * e for c, e in zip(reference.values(), gases, strict=True))
