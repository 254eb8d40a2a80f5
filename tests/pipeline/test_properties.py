"""Tables of properties, and bulks left out by what is predicted of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from config.campaign import BulkSelection, PropertyScreen
from config.errors import ConfigError, StructureError
from config.loader import parse_campaign
from pipeline.properties import read_crystal, read_table, screened, table_crystals, train
from pipeline.structures.bulks import load_bulks
from pipeline.structures.library import library
from surrogate import property_model

CAMPAIGN = "{name: x, bulks: {ids: [mp-30], screen: [%s]}, adsorbates: {H: {}}, recipe: emt}"


def table(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learn the volume per atom, which needs no calculation, of forty crystals of the library."""
    folder = tmp_path_factory.mktemp("model")
    chosen = [b for b in library().values() if len(b.numbers) <= 4][::40]
    rows = [f"{b.id},{b.atoms().get_volume() / len(b.numbers)}" for b in chosen]
    read = read_table(table(folder, "\n".join(["id,volume", *rows])), "volume", "id")
    with pytest.MonkeyPatch.context() as patch:  # few trees do for a limit
        patch.setitem(property_model._BOOSTING, "max_iter", 40)
        learned = train(read, table_crystals(folder, read, None), "volume", seed=0)
    learned.save(folder / "volume.skops")
    return folder / "volume.skops"


def test_numbers_are_read_and_rows_without_one_left_out(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "mp,k\na,1.5\nb,\nc,-2e1\n"), "k", "mp")
    assert (found.ids, found.rows, found.values) == (("a", "c"), (2, 4), (1.5, -20.0))
    assert not found.is_class
    assert found.n_empty == 1


def test_a_column_of_yes_and_no_is_a_class(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "id,metal\na,Yes\nb,false\nc,1\n"), "metal", "id")
    assert found.is_class
    assert found.values == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,gap\na,1.0\n", "has no column 'k'; it has: id, gap"),
        ("", "has no column 'id'; it has: none"),
        ("id,k\na,1\nb,high\n", "line 3: k is 'high'; allowed: a number"),
        ("id,k\na,1\nb,nan\n", "line 3: k is 'nan'"),
        ("id,k\na,1.5\n,2\n", "line 3: id is empty"),
        ("id,k\na,1,5\n", "line 2 has 3 values"),
        ("id,k,k\na,1,2\n", "column 'k' occurs 2 times"),
        ("id;k\na;1,5\n", "separated by commas"),
        ('id,k\na,"1\nb,2\n', "line 2: unexpected end of data"),
        ("id,k\na\n", None),
    ],
)
def test_a_table_that_is_not_in_order_is_refused_by_row(tmp_path: Path, text: str, told: str | None) -> None:
    if told is None:  # a row that ends early says nothing of the property
        assert read_table(table(tmp_path, text), "k", "id").n_empty == 1
        return
    with pytest.raises(ConfigError, match=told):
        read_table(table(tmp_path, text), "k", "id")


def test_crystals_are_found_by_the_name_of_their_file(tmp_path: Path) -> None:
    for symbol in ("Cu", "Ag"):
        write(tmp_path / f"{symbol}.cif", bulk(symbol))
    found = read_table(table(tmp_path, "id,k\nCu,1.5\nAg.cif,2\n"), "k", "id")
    crystals = table_crystals(tmp_path, found, tmp_path)
    assert [str(atoms.symbols[0]) for atoms in crystals] == ["Cu", "Ag"]


@pytest.mark.parametrize("in_folder", [True, False])
def test_an_unknown_id_is_refused_by_row(tmp_path: Path, in_folder: bool) -> None:
    path = table(tmp_path, "id,k\nmp-0,1.5\n")
    with pytest.raises(ConfigError, match=r"line 2: .*'mp-0'"):
        table_crystals(path, read_table(path, "k", "id"), tmp_path if in_folder else None)


def test_what_is_no_crystal_is_refused(tmp_path: Path) -> None:
    slab = bulk("Cu")
    slab.pbc = (True, True, False)
    write(tmp_path / "slab.xyz", slab)
    with pytest.raises(StructureError, match=r"slab.xyz: is no crystal"):
        read_crystal(tmp_path / "slab.xyz")
    write(tmp_path / "two.extxyz", [bulk("Cu"), bulk("Ag")])
    with pytest.raises(StructureError, match="holds 2 structures"):
        read_crystal(tmp_path / "two.extxyz")


def test_bulks_outside_the_limits_are_left_out_and_references_stay(model: Path) -> None:
    selection = BulkSelection(
        elements=("Cu", "Y"), max_components=2, screen=(PropertyScreen(model=str(model), max=18.0),)
    )
    bulks = load_bulks(selection, Path())
    kept, left_out = screened(bulks, selection)
    assert {b.id for b in kept} | {o.bulk.id for o in left_out} == {b.id for b in bulks}
    assert left_out
    assert all("volume" in o.reason and "above 18" in o.reason for o in left_out)
    assert all(not o.bulk.is_element for o in left_out)
    assert {b.formula for b in kept if b.is_element} == {"Cu", "Y"}


def test_a_campaign_of_pure_elements_passes_every_screen(model: Path) -> None:
    selection = BulkSelection(ids=("mp-30",), screen=(PropertyScreen(model=str(model), min=1e6),))
    bulks = load_bulks(selection, Path())
    assert screened(bulks, selection) == (bulks, [])


def test_screens_that_leave_nothing_are_refused(model: Path) -> None:
    selection = BulkSelection(ids=("mp-1018029",), screen=(PropertyScreen(model=str(model), min=1e6),))
    with pytest.raises(ConfigError, match=r"bulks\.screen leaves no bulk: .*volume .* below 1e\+06"):
        screened(load_bulks(selection, Path()), selection)


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"property": "band_gap"}, "predicts volume, not band_gap"), ({"model": "x"}, "no such")],
)
def test_a_screen_by_the_wrong_model_is_refused(model: Path, changed: dict[str, str], told: str) -> None:
    screen = PropertyScreen(**{"model": str(model), "min": 1.0, **changed})
    selection = BulkSelection(ids=("mp-1018029",), screen=(screen,))
    with pytest.raises(ConfigError, match=rf"bulks\.screen: .*{told}"):
        screened(load_bulks(selection, Path()), selection)


def test_a_models_file_counts_from_the_campaign_file(tmp_path: Path) -> None:
    settings = parse_campaign(CAMPAIGN % "{model: m.skops, min: 1}", "x", tmp_path)
    assert settings.bulks.screen[0].model == str(tmp_path / "m.skops")


@pytest.mark.parametrize(
    ("screen", "told"),
    [
        ("{model: m.skops}", "limits nothing"),
        ("{model: m.skops, min: 2, max: 1}", "no value is at least 2 and at most 1"),
        ("{min: 2}", "model"),
        ("{model: m.skops, mim: 2}", "did you mean 'min'"),
    ],
)
def test_a_screen_that_cannot_be_is_refused_with_its_key(tmp_path: Path, screen: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        parse_campaign(CAMPAIGN % screen, "x", tmp_path)
    assert "bulks.screen" in str(error.value)
