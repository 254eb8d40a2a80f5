"""Names of features in the field's words, for trees, tables and pictures."""

from __future__ import annotations

PLACES = {
    "first": "the first shell",
    "second": "the second shell",
    "beneath": "the atoms beneath",
    "bulk": "the crystal",
}
STATISTICS = {
    "mean": "mean {} of {}",
    "std": "spread of {} over {}",
    "min": "least {} of {}",
    "max": "greatest {} of {}",
}
BINDERS = {"strong": "the most cohesive binding atom", "weak": "the least cohesive binding atom"}
NAMES = {
    "coordination_mean": "mean coordination of the binding atoms",
    "coordination_min": "least coordination of a binding atom",
    "coordination_max": "greatest coordination of a binding atom",
    "own_kind_share": "share of its own kind around a binding atom",
    "volume_per_atom": "volume per atom of the crystal",
    "volume_against_pure": "volume of the crystal against its pure elements",
    "bond_against_pure_min": "shortest bond against the pure elements",
    "bond_against_pure_mean": "mean bond against the pure elements",
    "bond_against_pure_max": "longest bond against the pure elements",
    "bond_min": "shortest bond of the binding elements",
}


def in_words(name: str, unit: str = "") -> str:
    """Say what a feature is, such as ``mean electronegativity of the first shell``.

    A name that follows none of the rules is left as it is, with spaces.
    """
    said = NAMES.get(name) or _by_rule(name) or name.replace("_", " ")
    return f"{said} / {unit}" if unit else said


def _by_rule(name: str) -> str | None:
    place, _, rest = name.partition("_")
    if place in BINDERS:
        around = rest.removeprefix("neighbours_")
        where = BINDERS[place] if around == rest else f"the neighbours of {BINDERS[place]}"
        return f"{around.replace('_', ' ')} of {where}"
    if place not in PLACES:
        return None
    statistic, _, what = rest.partition("_")
    if statistic in STATISTICS:
        return STATISTICS[statistic].format(what.replace("_", " "), PLACES[place])
    return f"{rest.replace('_', ' ')} in {PLACES[place]}"
