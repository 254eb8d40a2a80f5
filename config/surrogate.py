"""The settings of what decides: the surrogate that predicts ΔE, and the choice of candidates by it.

Every key has a docstring; the commented campaign file and the settings reference are generated from them.
Units: eV, CPU-hours.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.execution import MAX_COUNT
from config.recipe import StrictModel

NEWER_KEYS = {
    "surrogate": ("sources", "share_adsorbates", "pretrained", "pretrained_sites"),
    "acquisition": ("exploration", "sharing", "goal"),
}
"""Keys by section that count in a campaign's digest only if they are not at their default: campaigns of
releases that did not know them keep theirs."""


class SourceSettings(StrictModel):
    """Adsorption energies that were computed elsewhere."""

    file: str = Field(examples=["old-pbe.csv"])
    """CSV file of energies by site, or what `sabatier export` wrote of another campaign (CSV or JSON);
    relative to the campaign file."""
    name: str | None = Field(default=None, examples=["old PBE data"])
    """What it is called in reports; the file's name when left out."""
    adsorbate: str | None = Field(default=None, examples=["CO"])
    """Adsorbate of all its rows, for a file without a column `adsorbate`."""

    @field_validator("file")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            message = "is empty; give the path of a CSV file or of an export"
            raise ValueError(message)
        return value


class SurrogateSettings(StrictModel):
    """The model that predicts ΔE."""

    model: Literal["ensemble", "auto", "gaussian_process", "neural_network", "boosting", "extra_trees"] = (
        "ensemble"
    )
    """`ensemble`: neural networks and a Gaussian process on statistics of elemental properties, blended by
    how well they predict bulks held out; `auto`: that, or whichever model does better there; the
    others alone. Each gives a mean and a standard deviation."""
    sources: tuple[SourceSettings, ...] = Field(
        default=(),
        strict=False,
        examples=[[{"file": "old-pbe.csv", "name": "old PBE data", "adsorbate": "CO"}]],
    )
    """Energies from elsewhere to start from: another functional, code, campaign. Their level is learned, and
    they count only as far as they help to predict bulks held out."""
    share_adsorbates: bool = False
    """Let the energies of the campaign's other adsorbates count in the same way. Measured to help only where
    fifty energies of one meet thousands of another; training takes twice as long."""
    pretrained: Literal["diep"] | None = None
    """Ask a pretrained potential (extra `mlip`) for ΔE of some sites before anything is computed: it ranks
    sites from the start, and its level is learned from the campaign's own energies."""
    pretrained_sites: int = Field(default=300, ge=1, le=MAX_COUNT)
    """With `pretrained`: of how many sites; each takes 0.1 to 0.5 CPU-seconds."""

    @field_validator("sources", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        """Behind the validator of the whole section a list no longer counts as one of JSON."""
        return tuple(value) if isinstance(value, list) else value

    @field_validator("sources")
    @classmethod
    def _told_apart(cls, value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name or source.file for source in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"{', '.join(map(repr, twice))} occurs twice; give each source a name of its own"
            raise ValueError(message)
        return value

    @model_validator(mode="before")
    @classmethod
    def _without_the_former_choice_of_one(cls, value: Any) -> Any:
        """Let campaigns of earlier releases name the only fingerprint that there was."""
        if isinstance(value, dict) and value.get("fingerprint") == "gaspy":
            return {key: given for key, given in value.items() if key != "fingerprint"}
        return value


class AcquisitionSettings(StrictModel):
    """How candidates are chosen from the predictions."""

    strategy: Literal["gaussian", "hit_probability", "hits_per_cpu_hour", "greedy", "random"] = (
        "hit_probability"
    )
    """`gaussian`: draw, weighted by a normal around the target (Tran and Ulissi); `hit_probability`: that
    ΔE lies in the window; `hits_per_cpu_hour`: the same over the expected cost; `greedy`: closest mean;
    `random`."""
    gaussian_width_ev: float = Field(default=0.10, ge=1e-3, le=5.0)
    """Standard deviation of the normal of `gaussian`, eV."""
    learn_from_failures: bool = True
    """Whether strategies that rest on the probability of a hit weigh it with the chance, learned from
    failed and rejected calculations, that a candidate gives an energy at all."""
    least_hits_per_cpu_hour: float | None = Field(default=None, gt=0.0, examples=[0.01])
    """The campaign stops when a round promises fewer new hits than this for each CPU-hour, by the predicted
    probabilities and the expected cost; never when left out."""
    exploration: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of each round spent on the candidates of which the surrogate knows least, so that one that is
    wrong and sure of itself is found out."""
    sharing: Literal["even", "promise"] = "even"
    """How adsorbates share a round: `even`, or by `promise`: each place goes to the adsorbate whose next
    candidate promises more hits (per CPU-hour with `hits_per_cpu_hour`)."""
    goal: Literal["each", "all"] = "each"
    """`each`: the hits of every adsorbate count by themselves; `all`: only surfaces count whose lowest ΔE of
    every adsorbate lies in its window, so the probability of a hit is multiplied by that of the surface to
    be one for the other adsorbates."""

    @model_validator(mode="after")
    def _rests_on_probabilities(self) -> Self:
        """Refuse what the strategy would pass over in silence."""
        if self.strategy not in {"hit_probability", "hits_per_cpu_hour"}:
            for key, value in (("sharing", self.sharing), ("goal", self.goal)):
                if value != type(self).model_fields[key].default:
                    message = (
                        f"{key}: {value} rests on the probability of a hit: it needs strategy "
                        f"hit_probability or hits_per_cpu_hour, got {self.strategy}"
                    )
                    raise ValueError(message)
        return self
