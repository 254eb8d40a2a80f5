"""What a surrogate is told beside a campaign's own energies of an adsorbate.

Files of the user's (:mod:`pipeline.source_files`), the campaign's other adsorbates, a pretrained potential
(:mod:`pipeline.pretrained`), published pure metals. What the surrogate makes of them:
:mod:`surrogate.transfer`. Units: eV.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pipeline.source_files import composition_of
from surrogate.sites import BulkContext
from surrogate.transfer import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.campaign import Campaign
    from pipeline.domain import Bulk, Observation
    from pipeline.source_files import SourceTable


def sources_of(
    campaign: Campaign,
    adsorbate: str,
    tables: Sequence[SourceTable],
    observed: Mapping[str, list[Observation]],
) -> list[Source]:
    """Everything but its own observations that may tell of an adsorbate, as the settings will have it.

    Parameters
    ----------
    tables
        The campaign's files.
    observed
        Observations of all its adsorbates.
    """
    from surrogate.published import published

    shares = campaign.settings.surrogate.share_adsorbates
    others = {name: seen for name, seen in observed.items() if shares and name != adsorbate}
    known = {name: bulk for bulk in campaign.bulks for name in (bulk.id, bulk.source_id)}
    found = [_source(table, adsorbate, _crystals(table, known)) for table in tables]
    for name, observations in others.items():
        if observations:
            environments = [campaign.environments[o.site_id] for o in observations]
            energies = np.array([o.delta_e_ev for o in observations])
            found.append(Source(name, environments, energies, [o.bulk_id for o in observations], "other"))
    found += campaign.guesses.get(adsorbate, ())
    found += published(campaign.settings.species(adsorbate).key, len(observed.get(adsorbate, ())))
    return [source for source in found if source is not None]


def _crystals(table: SourceTable, known: Mapping[str, Bulk]) -> tuple[tuple[str, BulkContext], ...]:
    """Describe the bulks of a file: those of the campaign, of the library, or by their formula alone."""
    from pipeline.structures.context import crystal, library_crystal
    from pipeline.structures.library import library

    found = {}
    for row in table.rows:
        if row.bulk in found:
            continue
        if row.bulk in known:
            found[row.bulk] = crystal(known[row.bulk])
        elif row.bulk in library():
            found[row.bulk] = library_crystal(row.bulk)
        elif row.formula:
            found[row.bulk] = BulkContext(composition_of(row.formula))
    return tuple(found.items())


@lru_cache(maxsize=64)
def _source(
    table: SourceTable, adsorbate: str, crystals: tuple[tuple[str, BulkContext], ...]
) -> Source | None:
    """Make a source; the same one for the same table, as what is trained on it is kept with it."""
    rows = [row for row in table.rows if row.adsorbate == adsorbate]
    if not rows:
        return None
    context = dict(crystals)
    environments = [replace(row.site, bulk=context.get(row.bulk)) for row in rows]
    energies = np.array([row.delta_e_ev for row in rows])
    return Source(table.name, environments, energies, [row.bulk for row in rows])
