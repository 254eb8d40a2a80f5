"""Campaigns whose adslabs a person has given: nothing is chosen, everything else is as in any campaign.

Store, ledger, back-ends and verdicts are those of every campaign; the given adslabs are kept as rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.campaign import Campaign
    from pipeline.domain import Bulk, Calculation, Site, Surface
    from pipeline.store.records import Selection


def plan_given(
    campaign: Campaign,
    *,
    bulks: Sequence[Bulk],
    surfaces: Sequence[Surface],
    sites: Sequence[Site],
    calculations: Iterable[Calculation],
    selections: Iterable[Selection],
) -> None:
    """Put what is given into the store, its new adslabs as a round; what is there stays untouched.

    Parameters
    ----------
    sites
        All sites of the surfaces: where an adsorbate may have moved to.
    calculations
        Prerequisites first.
    selections
        The adslabs.
    """
    from pipeline.enumeration import BULKS, SITES, SURFACES
    from pipeline.store.records import RoundRecord
    from pipeline.versions import package_versions

    store, name = campaign.store, campaign.name
    store.save_bulks(name, bulks)
    store.save_surfaces(name, surfaces)
    store.save_sites(name, sites)
    for stage, count in ((BULKS, len(bulks)), (SURFACES, len(surfaces)), (SITES, len(sites))):
        store.mark_stage(name, stage, count)
    store.plan(calculations)
    rounds = campaign.rounds()
    known = {i for r in rounds for i in r.calculation_ids}
    new = tuple(selection for selection in selections if selection.calculation_id not in known)
    if new:
        record = RoundRecord(
            campaign=name,
            number=len(rounds),
            selections=new,
            seed=campaign.settings.seed,
            config_digest=campaign.settings.digest(),
            versions=package_versions(),
        )
        store.create_round(record)


def close_given(campaign: Campaign) -> None:
    """Close the rounds whose calculations have all come to an end."""
    from pipeline.batch import is_computed

    for record in campaign.rounds():
        if not record.is_closed and is_computed(campaign, record.number):
            campaign.store.close_round(campaign.name, record.number)
