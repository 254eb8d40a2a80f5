"""The settings of a campaign: what a user may write in a campaign file, and what it means.

Every key has a docstring; the commented file that ``sabatier init`` writes and the settings reference
in the docs are generated from them. Units: eV, Å, CPU-hours, seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.adsorbates import AdsorbateSettings, Species, first_problem, problems, shipped, species
from config.execution import MAX_COUNT, ExecutionSettings, LocalExecution
from config.recipe import RecipeSettings, StrictModel
from config.surrogate import NEWER_KEYS, AcquisitionSettings, SurrogateSettings

MAX_MILLER_INDEX = 10
"""Largest Miller index that may be asked for by name; its slabs have very large cells already."""
MAX_DATABASE_BYTES = 63
"""Longest name of a MongoDB database."""

PATH_KEYS = ("password_file", "tls_ca_file", "tls_certificate_key_file", "folder")
"""Keys of the ``store`` section that hold paths relative to the campaign file."""

MillerIndex = tuple[int, int, int]


class PropertyScreen(StrictModel):
    """A limit on a property that a model predicts of each bulk."""

    model: str = Field(examples=["bulk-modulus.skops"])
    """File that `sabatier properties train` wrote; relative to the campaign file."""
    property: str | None = Field(default=None, examples=["bulk_modulus_gpa"])
    """What the model predicts; checked where it is given."""
    min: float | None = Field(default=None, examples=[50.0])
    """Leave out bulks of which less is predicted; of a class, such as `is_metal`, it is a probability."""
    max: float | None = Field(default=None, examples=[300.0])
    """Leave out bulks of which more is predicted."""

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.min is None and self.max is None:
            message = "limits nothing: give min, max, or both"
            raise ValueError(message)
        if self.min is not None and self.max is not None and self.min > self.max:
            message = f"no value is at least {self.min:g} and at most {self.max:g}"
            raise ValueError(message)
        return self


class BulkSelection(StrictModel):
    """Which crystals to screen. Sources add up; the filters apply to the built-in library."""

    ids: tuple[str, ...] = ()
    """Bulks of the built-in library by Materials Project id, such as `mp-30`."""
    elements: tuple[str, ...] = ()
    """Take every library bulk made of only these elements."""
    max_components: int = Field(default=3, ge=1, le=3)
    """With `elements`: most elements in a bulk."""
    max_atoms: int = Field(default=20, ge=1, le=200)
    """With `elements`: most atoms in a bulk's primitive cell."""
    files: tuple[str, ...] = ()
    """Structure files or folders of them (CIF, POSCAR, extxyz, ASE db); relative to the campaign file."""
    materials_project: tuple[str, ...] = ()
    """Materials Project ids to download (extra `mp`; key from the environment variable MP_API_KEY)."""
    with_pure_elements: bool = True
    """Add the pure metal of every element that occurs: its ΔE tells much of its alloys."""
    screen: tuple[PropertyScreen, ...] = Field(
        default=(), examples=[[{"model": "bulk-modulus.skops", "min": 50.0}]]
    )
    """Leave out bulks by predicted properties; pure metals that were added as references stay."""

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from ase.data import chemical_symbols

        known = set(chemical_symbols[1:])
        wrong = [symbol for symbol in value if symbol not in known]
        if wrong:
            named = [
                repr(s) + (f" (did you mean {s.capitalize()!r}?)" if s.capitalize() in known else "")
                for s in wrong
            ]
            predicate = "is not a chemical element" if len(wrong) == 1 else "are not chemical elements"
            message = f"{', '.join(named)} {predicate}"
            raise ValueError(message)
        return value

    @field_validator("files")
    @classmethod
    def _named_files(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() for name in value):
            message = "holds an empty name; give the path of a structure file or a folder of them"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _something_selected(self) -> Self:
        if not (self.ids or self.elements or self.files or self.materials_project):
            message = "selects nothing: give at least one of ids, elements, files, materials_project"
            raise ValueError(message)
        return self


class SurfaceSettings(StrictModel):
    """How bulks are cut into slabs."""

    max_miller_index: int = Field(default=2, ge=1, le=4)
    """Enumerate every symmetry-distinct facet up to this Miller index."""
    miller_indices: tuple[MillerIndex, ...] = ()
    """Only these facets (and those equivalent by symmetry) instead of all up to `max_miller_index`."""
    min_height_a: float = Field(default=7.0, ge=2.0, le=40.0)
    """Smallest height of a slab between its outermost atomic planes, Å."""
    min_lateral_a: float = Field(default=4.5, ge=2.0, le=30.0)
    """Smallest in-plane distance between an adsorbate and its periodic copies, Å."""
    vacuum_a: float = Field(default=12.0, ge=4.0, le=40.0)
    """Empty space between a slab and its periodic copy, Å."""
    free_depth_a: float = Field(default=3.0, ge=0.0, le=40.0)
    """Atoms this close to the topmost plane may relax, Å; 0 holds the whole slab fixed."""
    max_atoms: int = Field(default=80, ge=1, le=1000)
    """Leave out surfaces whose slab would hold more atoms."""

    @field_validator("miller_indices")
    @classmethod
    def _are_facets(cls, value: tuple[MillerIndex, ...]) -> tuple[MillerIndex, ...]:
        if (0, 0, 0) in value:
            message = "[0, 0, 0] is no facet"
            raise ValueError(message)
        for miller in value:
            if max(map(abs, miller)) > MAX_MILLER_INDEX:
                message = f"{list(miller)} is too steep; allowed: -{MAX_MILLER_INDEX} to {MAX_MILLER_INDEX}"
                raise ValueError(message)
        return value


class Budget(StrictModel):
    """What the campaign may spend; it ends when any of these is used up."""

    calculations: int = Field(default=100, ge=1, le=MAX_COUNT)
    """Adsorption energies to compute (bulks, slabs and gases that they need come on top)."""
    rounds: int = Field(default=10, ge=0, le=MAX_COUNT)
    """Rounds chosen by the surrogate, after the seed round; with `mode: async` they are not limited."""
    cpu_hours: float = Field(default=1000.0, gt=0.0)
    """CPU-hours of all calculations together."""


class StoreSettings(StrictModel):
    """The MongoDB that holds the campaign."""

    uri: str | None = Field(default=None, examples=["mongodb://mongo.example.org:27017"])
    """`mongodb://` address of a server, without a password; an embedded server in the campaign's home
    when left out. The environment variable SABATIER_MONGODB_URI takes precedence."""
    database: str = "sabatier"
    """Name of the database."""
    username: str | None = None
    """User of the server; the environment variable SABATIER_MONGODB_USERNAME takes precedence."""
    password_file: str | None = Field(default=None, examples=["~/.config/sabatier/mongodb-password"])
    """File that holds the user's password and that only you may read (`chmod 600`); relative to the
    campaign file. The environment variable SABATIER_MONGODB_PASSWORD takes precedence."""
    tls: bool = False
    """Encrypt the connection to the server; either of the two files below implies it."""
    tls_ca_file: str | None = None
    """Certificate of the authority that signed the server's, if the system does not know it; relative to
    the campaign file."""
    tls_certificate_key_file: str | None = None
    """Your certificate and key in one file, if the server asks for them; relative to the campaign file."""
    outage_minutes: float = Field(default=30.0, ge=0.0, le=10_080.0)
    """How long a running campaign waits for a database that does not answer."""
    folder: str | None = Field(default=None, examples=["/scratch/me/sabatier-db"])
    """Where the embedded server keeps its files, for a home on a network file system: a folder on a local
    disk, for this campaign alone; relative to the campaign file. In the home when left out."""

    @field_validator("uri")
    @classmethod
    def _address_without_password(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("mongodb://", "mongodb+srv://")):
            message = "must start with mongodb:// or mongodb+srv://"
            raise ValueError(message)
        if holds_password(value):
            message = (
                "must hold no password, which would end up in the campaign's home: name a file with "
                "'password_file' and the user with 'username', or export SABATIER_MONGODB_URI"
            )
            raise ValueError(message)
        return value

    @field_validator("username", *PATH_KEYS)
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            message = "is empty; leave the key out instead"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.uri is not None and self.folder is not None:
            message = "folder is of the embedded server, and uri asks for another one; give one of them"
            raise ValueError(message)
        return self

    @field_validator("database")
    @classmethod
    def _database_name(cls, value: str) -> str:
        """Follow MongoDB's rules for names, those of Windows servers too, and spare its own databases."""
        if not value or len(value.encode()) > MAX_DATABASE_BYTES:
            message = f"must have 1 to {MAX_DATABASE_BYTES} bytes"
            raise ValueError(message)
        if set(value) & set('/\\. "$*<>:|?\0'):
            message = 'must hold no space and none of / \\ . " $ * < > : | ?'
            raise ValueError(message)
        if value.lower() in {"admin", "local", "config"}:
            message = "is a database of MongoDB's own; choose another name"
            raise ValueError(message)
        return value


def holds_password(uri: str) -> bool:
    """Tell whether a MongoDB address holds a password, even one that is not escaped as it should be."""
    if re.search(r"[?&].*(password|passphrase|session_token)", uri, re.IGNORECASE | re.DOTALL):
        return True
    user = re.match(r"mongodb(?:\+srv)?://(.*)@", uri, re.DOTALL)
    if user is None or ":" not in user[1]:
        return False
    # The @ may be that of an option: host:27017/?appName=me@home
    return not re.match(r"[^@/?:]+(:\d+)?(,[^@/?:]+(:\d+)?)*/[^@/?]*\?\w+=", user[1])


class CampaignSettings(StrictModel):
    """A whole campaign file."""

    name: Annotated[str, Field(max_length=60)]
    """Name of the campaign; its home is `runs/<name>` unless `--home` says otherwise."""
    bulks: BulkSelection
    """Which crystals to screen."""
    surfaces: SurfaceSettings = SurfaceSettings()
    """How bulks are cut into slabs."""
    adsorbates: dict[str, AdsorbateSettings] = Field(min_length=1)
    """Adsorbates (`CO`, `H`, `OH`, ...) with the ΔE wanted of each; also ones of your own."""
    recipe: RecipeSettings
    """DFT settings: a recipe's name, or `base` (a name) with overrides."""
    budget: Budget = Budget()
    """What the campaign may spend."""
    mode: Literal["batch", "async"] = "batch"
    """`batch`: a round is computed to its end before the surrogate is trained again; `async`: whenever
    results arrive it is trained and chooses replacements, so that the queue stays full."""
    seed_size: int = Field(default=10, ge=1, le=MAX_COUNT)
    """Adsorption energies in the seed round, before the surrogate chooses."""
    batch_size: int = Field(default=10, ge=1, le=MAX_COUNT)
    """Adsorption energies that the surrogate chooses each round; with `mode: async` it is how many are
    under way at once."""
    surrogate: SurrogateSettings = SurrogateSettings()
    """The model that predicts ΔE."""
    acquisition: AcquisitionSettings = AcquisitionSettings()
    """How candidates are chosen."""
    execution: ExecutionSettings = LocalExecution()
    """Where calculations run."""
    store: StoreSettings = StoreSettings()
    """The MongoDB that holds the campaign."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Seed of every random choice."""

    @field_validator("name")
    @classmethod
    def _usable_as_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            message = "must start with a letter or digit and hold only letters, digits, '.', '_', '-'"
            raise ValueError(message)
        return value

    @field_validator("adsorbates", mode="before")
    @classmethod
    def _published_targets(cls, value: Any) -> Any:
        """Let ``CO: {}`` stand for the published target."""
        if not isinstance(value, dict):
            return value
        given = {name: {} if settings is None else settings for name, settings in value.items()}
        plain = {name: settings for name, settings in given.items() if isinstance(settings, dict)}
        cls._refuse({name: filter(None, [first_problem(name, keys)]) for name, keys in plain.items()})
        return {
            name: {"target_ev": shipped()[name]["target_ev"], **keys}
            if name in plain and "target_ev" not in keys
            else keys
            for name, keys in given.items()
        }

    @field_validator("adsorbates")
    @classmethod
    def _possible_adsorbates(cls, value: dict[str, AdsorbateSettings]) -> dict[str, AdsorbateSettings]:
        cls._refuse({name: problems(name, settings) for name, settings in value.items()})
        return value

    @classmethod
    def _refuse(cls, found: Mapping[str, Iterable[tuple[str | None, str]]]) -> None:
        """Raise if there are problems, each at the key that it is about."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("value_error", "{told}", {"told": told}),
                loc=(name, key) if key else (name,),
                input=None,
            )
            for name, listed in found.items()
            for key, told in listed
        ]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)

    @model_validator(mode="after")
    def _sources_of_its_adsorbates(self) -> Self:
        for adsorbate in filter(None, (source.adsorbate for source in self.surrogate.sources)):
            if adsorbate not in self.adsorbates:
                message = f"surrogate.sources: adsorbate {adsorbate!r}; allowed: {', '.join(self.adsorbates)}"
                raise ValueError(message)
        return self

    def species(self, adsorbate: str) -> Species:
        """Return one of the campaign's adsorbates as it is computed."""
        return species(adsorbate, self.adsorbates[adsorbate])

    def digest(self) -> str:
        """Hash of the whole configuration (hex, 16 digits), recorded with every round."""
        content = self.model_dump(mode="json")
        for name, keys in NEWER_KEYS.items():
            section = getattr(self, name)
            for key in keys:
                if getattr(section, key) == type(section).model_fields[key].default:
                    del content[name][key]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
