"""The schema of the store: one mongoengine document per noun, with its indexes.

Used for validation and queries; connections are not mongoengine's (see ``connection``), so documents
are never saved by themselves. Units as in ``pipeline.domain``.

Bulks, surfaces and sites are kept once per campaign: campaigns that share a database may cut the same
surface at different heights, under the same id. Calculations and observations are content-addressed,
hence shared.
"""

# ruff: noqa: RUF012 - mongoengine wants `meta` to be a plain class attribute.

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    FloatField,
    IntField,
    ListField,
    StringField,
)

from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline.domain import CalculationState
from pipeline.store.records import RoundState

SCHEMA_VERSION = 3
"""Raised whenever documents change so that older code would misread them."""
READABLE_VERSIONS = frozenset({1, 2, 3})
"""Databases of these versions are read as they are. 2 only adds to 1: fields of calculations and campaigns
that have defaults, drivers and leases. 3 only adds to 2: fields of observations and results that have
defaults."""


class StoredDocument(Document):  # type: ignore[misc]
    """Base of all documents; its collection is the subclass's."""

    meta: ClassVar[dict[str, Any]] = {"abstract": True, "auto_create_index": False}


class MetaDocument(StoredDocument):
    """What the database is; one document, ``schema``."""

    key = StringField(primary_key=True)
    version = IntField(required=True)

    meta = {"collection": "meta"}


class CampaignDocument(StoredDocument):
    """A campaign."""

    name = StringField(primary_key=True)
    settings = DictField(required=True)
    digest = StringField(required=True)
    home = StringField(required=True)
    created_at = DateTimeField(required=True)
    stages = DictField()
    elapsed_seconds = FloatField(default=0.0)
    paused = BooleanField(default=False)

    meta = {"collection": "campaigns"}


class BulkDocument(StoredDocument):
    """A bulk of a campaign."""

    key = StringField(primary_key=True)
    campaign = StringField(required=True)
    bulk_id = StringField(required=True)
    source_id = StringField(required=True)
    source = StringField(required=True)
    formula = StringField(required=True)
    elements = ListField(StringField(), required=True)
    atoms = DictField(required=True)

    meta = {"collection": "bulks", "indexes": ["campaign", "bulk_id"]}


class SurfaceDocument(StoredDocument):
    """A surface of a campaign."""

    key = StringField(primary_key=True)
    campaign = StringField(required=True)
    surface_id = StringField(required=True)
    bulk_id = StringField(required=True)
    miller = ListField(IntField(), required=True)
    shift = FloatField(required=True)
    side = StringField(required=True, choices=("top", "bottom"))
    label = StringField(required=True)
    atoms = DictField(required=True)

    meta = {"collection": "surfaces", "indexes": [("campaign", "bulk_id"), "surface_id"]}


class SiteDocument(StoredDocument):
    """A site of a campaign."""

    key = StringField(primary_key=True)
    campaign = StringField(required=True)
    site_id = StringField(required=True)
    surface_id = StringField(required=True)
    bulk_id = StringField(required=True)
    kind = StringField(required=True, choices=("top", "bridge", "hollow"))
    label = StringField(required=True)
    position = ListField(FloatField(), required=True)
    images = ListField(ListField(FloatField()))
    first_shell = ListField(ListField())
    second_shell = ListField(ListField())
    neighbours = ListField(ListField())
    beneath = ListField(ListField(), null=True, default=None)

    meta = {"collection": "sites", "indexes": [("campaign", "surface_id"), "site_id"]}


class HistoryDocument(EmbeddedDocument):  # type: ignore[misc]
    """One move of a calculation."""

    token = StringField()
    state = StringField(required=True, choices=[s.value for s in CalculationState])
    at = DateTimeField(required=True)
    note = StringField()
    attempt = IntField()
    job_dir = StringField()
    job_id = StringField()
    code = StringField(choices=[c.value for c in FailureCode])


class CalculationDocument(StoredDocument):
    """A calculation; one for all campaigns of the database."""

    calculation_id = StringField(primary_key=True)
    kind = StringField(required=True, choices=[k.value for k in CalculationKind])
    label = StringField(required=True)
    state = StringField(required=True, choices=[s.value for s in CalculationState])
    bulk_id = StringField()
    surface_id = StringField()
    site_id = StringField()
    adsorbate = StringField()
    gas = StringField()
    requires = ListField(StringField())
    recipe_digest = StringField()
    code = StringField(choices=[c.value for c in FailureCode])
    message = StringField()
    energy = FloatField()
    attempt = IntField(min_value=0)
    job_dir = StringField()
    job_id = StringField()
    cpu_seconds = FloatField(min_value=0.0)
    owner = StringField()
    since = DateTimeField()
    memory_factor = FloatField(default=1.0)
    forgiven = IntField(default=0)
    fresh_after = IntField(default=0)
    history = EmbeddedDocumentListField(HistoryDocument)

    meta = {
        "collection": "calculations",
        "indexes": [("state", "kind"), "surface_id", "site_id", "recipe_digest"],
    }


class ResultDocument(StoredDocument):
    """What the worker left of a finished calculation: ``result.json`` as it is."""

    calculation_id = StringField(primary_key=True)
    result = DictField(required=True)

    meta = {"collection": "results"}


class ObservationDocument(StoredDocument):
    """An adsorption energy."""

    calculation_id = StringField(primary_key=True)
    site_id = StringField(required=True)
    start_site_id = StringField(required=True)
    surface_id = StringField(required=True)
    bulk_id = StringField(required=True)
    adsorbate = StringField(required=True)
    delta_e_ev = FloatField(required=True)
    recipe_digest = StringField(required=True)
    round = IntField(required=True)
    attempt = IntField(default=0)
    ensemble_std_ev = FloatField()
    warning = StringField(default="")

    meta = {"collection": "observations", "indexes": [("recipe_digest", "adsorbate"), "surface_id"]}


class SelectionDocument(EmbeddedDocument):  # type: ignore[misc]
    """A candidate chosen for a round."""

    calculation_id = StringField(required=True)
    site_id = StringField(required=True)
    adsorbate = StringField(required=True)
    score = FloatField()
    mean_ev = FloatField()
    std_ev = FloatField()
    reason = StringField()


class ProspectDocument(EmbeddedDocument):  # type: ignore[misc]
    """What a round's choice promised."""

    goal = StringField(required=True)
    hits = FloatField(required=True)
    cpu_hours = FloatField(required=True)
    hits_left = FloatField(required=True)


class RoundDocument(StoredDocument):
    """A round of a campaign; the key makes (campaign, number) unique."""

    key = StringField(primary_key=True)
    campaign = StringField(required=True)
    number = IntField(required=True, min_value=0)
    state = StringField(required=True, choices=[s.value for s in RoundState])
    selections = EmbeddedDocumentListField(SelectionDocument)
    prospects = EmbeddedDocumentListField(ProspectDocument)
    seed = IntField(required=True)
    config_digest = StringField(required=True)
    versions = DictField()
    started_at = DateTimeField(required=True)
    closed_at = DateTimeField()

    meta = {"collection": "rounds", "indexes": [("campaign", "number")]}


class ModelDocument(StoredDocument):
    """A trained surrogate; the key makes (campaign, round, adsorbate) unique."""

    key = StringField(primary_key=True)
    campaign = StringField(required=True)
    round = IntField(required=True, min_value=0)
    adsorbate = StringField(required=True)
    record = DictField()
    metrics = DictField()
    training_ids = ListField(StringField())
    created_at = DateTimeField(required=True)

    meta = {"collection": "models", "indexes": [("campaign", "round")]}


class DriverDocument(StoredDocument):
    """A driver at work; ``beat_at`` is the server's time."""

    driver_id = StringField(primary_key=True)
    campaign = StringField(required=True)
    host = StringField(required=True)
    pid = IntField(required=True)
    started_at = DateTimeField(required=True)
    mode = StringField(required=True)
    beat_at = DateTimeField()

    meta = {"collection": "drivers", "indexes": ["campaign"]}


class LeaseDocument(StoredDocument):
    """Something that one driver at a time may do; ``until`` is the server's time."""

    name = StringField(primary_key=True)
    owner = StringField()
    until = DateTimeField(required=True)

    meta = {"collection": "leases"}


ALL_DOCUMENTS: tuple[type[StoredDocument], ...] = (
    MetaDocument,
    CampaignDocument,
    BulkDocument,
    SurfaceDocument,
    SiteDocument,
    CalculationDocument,
    ResultDocument,
    ObservationDocument,
    RoundDocument,
    ModelDocument,
    DriverDocument,
    LeaseDocument,
)
