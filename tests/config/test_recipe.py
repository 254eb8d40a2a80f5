"""Recipes: their digests never change by themselves, and slab and adslab are treated alike."""

from __future__ import annotations

import pytest

from config.loader import load_recipe, recipe_names
from config.recipe import ALWAYS_IN_DIGEST, LABELS, RecipeSettings

DIGESTS = {
    # Recorded from the code that the first campaigns were computed with: ids of finished calculations.
    "demo": "78a170db53067d5b",
    "emt": "df8438f527df5c39",
    "screening": "2a0535ef9de7e533",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digest_of_a_recipe_that_was_computed_with_stays(name: str) -> None:
    assert load_recipe(name).digest() == DIGESTS[name]


def test_every_recipe_has_a_digest_of_its_own() -> None:
    assert len({load_recipe(name).digest() for name in recipe_names()}) == len(recipe_names())


def test_labels_are_no_part_of_the_digest() -> None:
    plain = RecipeSettings()
    assert {plain.model_copy(update={key: "x"}).digest() for key in LABELS} == {plain.digest()}


def test_a_later_field_enters_the_digest_only_where_it_differs_from_its_default() -> None:
    plain = RecipeSettings()
    later = set(RecipeSettings.model_fields) - ALWAYS_IN_DIGEST - LABELS
    assert "slab_kpoint_mesh" in later
    assert RecipeSettings.model_validate({"slab_kpoint_mesh": None}).digest() == plain.digest()
    meshes = {plain.model_copy(update={"slab_kpoint_mesh": m}).digest() for m in ((4, 4), (4, 5), None)}
    assert len(meshes) == 3


def test_the_gaspy_recipe_holds_the_settings_of_the_paper() -> None:
    """Tran and Ulissi, Nature Catalysis 1 (2018) 696, methods; their defaults of the code agree."""
    recipe = load_recipe("gaspy")
    assert (recipe.xc, recipe.cutoff_ev, recipe.fmax_ev_per_a) == ("RPBE", 350.0, 0.03)
    assert recipe.slab_kpoint_mesh == (4, 4)


def test_production_is_tighter_than_screening_in_everything_that_costs() -> None:
    screening = load_recipe("screening")
    for name in ("production", "beef"):
        tight = load_recipe(name)
        assert tight.cutoff_ev > screening.cutoff_ev
        assert tight.slab_kpoint_density > screening.slab_kpoint_density
        assert tight.bulk_kpoint_density >= screening.bulk_kpoint_density
        assert tight.fmax_ev_per_a < screening.fmax_ev_per_a
        assert tight.gas_box_a > screening.gas_box_a
        assert tight.dipole_correction
    production, beef = (load_recipe(n).model_dump() for n in ("production", "beef"))
    assert {k for k in beef if beef[k] != production[k]} == {"name", "description", "xc"}
