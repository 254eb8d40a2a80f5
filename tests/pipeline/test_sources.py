"""Files of old energies: read as they are, refused with line and column, counted in training."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import BulkSelection
from config.errors import ConfigError
from config.loader import load_campaign, parse_campaign
from config.surrogate import SourceSettings, SurrogateSettings
from pipeline.campaign import Campaign
from pipeline.domain import Observation
from pipeline.export import export
from pipeline.learning import train, train_round
from pipeline.report import status_document
from pipeline.selection import select_round
from pipeline.source_files import describe, read_sources
from pipeline.sources import sources_of
from surrogate.published import NAME
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from config.campaign import CampaignSettings
    from pipeline.source_files import SourceTable
    from pipeline.store.repository import Store
    from surrogate.source import Source

HEADER = "mpid,formula,miller,coordination,neighborcoord,energy_eV"
GOOD = "mp-30,Cu,1 1 1,Cu-Cu-Cu,Cu:Cu-Cu|Cu:Cu-Cu|Cu:Cu-Cu,-0.2"
H = {"H": AdsorbateSettings(target_ev=-0.27, window_ev=0.1)}
CO = {"CO": AdsorbateSettings(target_ev=-0.67, window_ev=0.1)}


def settings_of(
    folder: Path, *rows: str, header: str = HEADER, adsorbate: str | None = "H"
) -> CampaignSettings:
    """Settings of a campaign of CO and H with one source of these rows."""
    (folder / "old.csv").write_text("\n".join([header, *rows]) + "\n")
    return with_source(folder / "old.csv", adsorbate)


def with_source(file: Path, adsorbate: str | None = "H") -> CampaignSettings:
    surrogate = SurrogateSettings(sources=(SourceSettings(file=str(file), adsorbate=adsorbate),))
    return load_campaign("emt").model_copy(update={"surrogate": surrogate, "adsorbates": CO | H})


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on Cu and Pd with H and CO, and observations of its seed round."""
    settings = load_campaign("emt").model_copy(
        update={"bulks": BulkSelection(ids=("mp-30", "mp-2")), "adsorbates": CO | H, "seed_size": 6}
    )
    opened = enumerated(settings, store, tmp_path)
    train_round(opened, 0)
    chosen = set(select_round(opened, 0).calculation_ids)
    for i, candidate in enumerate(c for c in opened.candidates if c.calculation_id in chosen):
        site, digest = candidate.site, settings.recipe.digest()
        place = (site.id, site.id, site.surface_id, site.bulk_id)
        energy = -0.3 - 0.05 * i
        store.save_observation(
            Observation(candidate.calculation_id, *place, candidate.adsorbate, energy, digest, 0)
        )
    return opened


def from_files(campaign: Campaign, adsorbate: str, tables: list[SourceTable]) -> list[Source]:
    """Sources that files hold; a campaign with few observations has the published metals besides."""
    return [s for s in sources_of(campaign, adsorbate, tables, {}) if s.name != NAME]


def retold(campaign: Campaign, **surrogate: object) -> Campaign:
    """Give the same campaign with other settings of the surrogate."""
    update = {"surrogate": SurrogateSettings(**surrogate)}  # type: ignore[arg-type]
    return Campaign(campaign.settings.model_copy(update=update), campaign.home, campaign.store)


@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_an_export_is_read_back_as_the_sites_that_it_was_written_of(
    campaign: Campaign, tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / f"old.{file_format}"
    assert export(campaign, path, file_format) > 3
    tables = read_sources(with_source(path, None))
    seen = 0
    for adsorbate in ("CO", "H"):
        observed = {o.delta_e_ev: o.site_id for o in campaign.observations(adsorbate)}
        source = next(iter(from_files(campaign, adsorbate, tables)), None)
        if source is None:
            assert not observed
            continue
        for energy, environment in zip(source.delta_e, source.environments, strict=True):
            # A table holds no coordinates.
            site = replace(campaign.environments[observed[float(energy)]], geometry=None)
            assert environment == site
            seen += 1
    assert seen == len(campaign.observations())


def test_the_record_of_a_round_holds_the_files_hash_and_what_was_learned(
    campaign: Campaign, tmp_path: Path
) -> None:
    path = tmp_path / "old.csv"
    export(campaign, path, "csv")
    old = retold(campaign, sources=(SourceSettings(file=str(path), name="old PBE data"),))
    record = train(old, 1, with_metrics=False)["H"].model.record
    assert record["source_files"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [s["name"] for s in record["parameters"]["sources"]] == ["old PBE data", NAME]
    train_round(old, 1)
    shown = [m["sources"] for m in status_document(old)["models"] if m["round"] == 1]
    assert {source["name"] for sources in shown for source in sources} == {"old PBE data", NAME}


def test_other_adsorbates_count_when_they_are_to(campaign: Campaign) -> None:
    shared = train(retold(campaign, share_adsorbates=True), 1, with_metrics=False)["H"].model.record
    alone = train(campaign, 1, with_metrics=False)["H"].model.record
    published = (NAME, "same")
    assert [(s["name"], s["kind"]) for s in shared["parameters"]["sources"]] == [("CO", "other"), published]
    assert [(s["name"], s["kind"]) for s in alone["parameters"]["sources"]] == [published]


def test_a_table_is_read_with_its_faces_neighbours_and_crystals(campaign: Campaign, tmp_path: Path) -> None:
    rows = [GOOD, "x-1,Cu3Pd,100,Cu-Pd,,0.1", 'x-2,CuPd,"(1, 0, -1)",Pd,,0.2']
    (source,) = from_files(campaign, "H", read_sources(settings_of(tmp_path, *rows)))
    first, second, third = source.environments
    assert first.neighbours == (("Cu", (("Cu", 2),)),) * 3
    assert first.second_shell == (("Cu", 6),)
    assert first.bulk in {environment.bulk for environment in campaign.environments.values()}
    assert [e.miller for e in source.environments] == [(1, 1, 1), (1, 0, 0), (1, 0, -1)]
    assert second.bulk is not None
    assert second.bulk.composition == (("Cu", 3), ("Pd", 1))
    assert third.bulk is not None
    assert third.bulk.volume_per_atom is None
    assert source.groups == ["mp-30", "x-1", "x-2"]


def test_a_compressed_table_with_indices_in_columns_is_read(tmp_path: Path) -> None:
    text = "mpid,h,k,l,coordination,energy_eV\nmp-30,2,-1,1,Cu,-0.1\n"
    (tmp_path / "old.csv.gz").write_bytes(gzip.compress(text.encode()))
    (table,) = read_sources(with_source(tmp_path / "old.csv.gz"))
    assert table.rows[0].site.miller == (2, -1, 1)
    assert table.name == "old.csv.gz"


def test_rows_that_are_of_no_use_are_told(tmp_path: Path) -> None:
    rows = [GOOD, "mp-30,Cu,1 1 1,,,-0.2", "mp-30,Cu,1 1 1,Cu,,", "mp-30,Cu,1 1 1,Cu,,-17.3"]
    (table,) = read_sources(settings_of(tmp_path, *rows))
    assert len(table.rows) == 1
    assert table.left_out == (
        "line 3: coordination is empty",
        "line 4: no energy",
        "line 5: -17.3 eV is no adsorption energy",
    )
    told = "\n".join(describe(table))
    assert "1 energies of H on 1 bulks" in told
    assert "3 rows left out" in told


def test_a_row_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    (table,) = read_sources(settings_of(tmp_path, GOOD, GOOD.replace("-0.2", "-0.3"), GOOD))
    assert [row.delta_e_ev for row in table.rows] == [-0.2, -0.3]
    assert table.left_out == ("line 4: the same as line 2",)


def test_a_site_of_atoms_that_its_crystal_lacks_is_left_out(tmp_path: Path) -> None:
    rows = ["x-1,Al(CoSi)2,,Co-Si,,0.1", "x-2,Al(CoSi)2,,Co-Pd-Au,,0.2"]
    (table,) = read_sources(settings_of(tmp_path, *rows))
    assert [row.bulk for row in table.rows] == ["x-1"]
    assert table.left_out == ("line 3: coordination has Au, Pd, which Al(CoSi)2 has not",)


def test_a_formula_with_brackets_is_read(campaign: Campaign, tmp_path: Path) -> None:
    rows = ["Al(CoSi)2,Co-Co,0.1"]
    tables = read_sources(settings_of(tmp_path, *rows, header="formula,coordination,energy_ev"))
    (source,) = from_files(campaign, "H", tables)
    assert source.environments[0].bulk is not None
    assert source.environments[0].bulk.composition == (("Al", 1), ("Co", 2), ("Si", 2))


def test_rows_of_adsorbates_that_the_campaign_lacks_are_told(tmp_path: Path) -> None:
    header = "adsorbate,mpid,coordination,energy_ev"
    rows = ("H,mp-30,Cu,-0.2", "OH,mp-30,Cu,-0.2", "CO,mp-30,Cu,-0.5")
    (table,) = read_sources(settings_of(tmp_path, *rows, header=header, adsorbate=None))
    assert [row.adsorbate for row in table.rows] == ["H", "CO"]
    assert table.left_out == ("line 3: of OH, not CO or H",)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("mp-30,Cu,1 1 1,Cu,,abc", ("line 3, energy_ev", "'abc'", "a number, in eV")),
        ("mp-30,Cu,1 1 1,Cu,,nan", ("line 3, energy_ev", "'nan'")),
        ("mp-30,Cu,1 1 1,Cu-Xx,,0.1", ("line 3, coordination", "'Cu-Xx'", "such as Cu-Cu-Pd")),
        ("mp-30,Cu,1 1 1,-,,0.1", ("line 3, coordination", "'-'", "such as Cu-Cu-Pd")),
        ("mp-30,Cu,1 1,Cu,,0.1", ("line 3, miller", "'1 1'", "three whole numbers")),
        ("mp-30,Cu,0 0 0,Cu,,0.1", ("line 3, miller", "'0 0 0'", "not all zero")),
        ("mp-30,Cu,9999 1 1,Cu,,0.1", ("line 3, miller", "'9999 1 1'", "three whole numbers")),
        ("mp-30,Cu,1 1 1,Cu,Cu-Cu,0.1", ("line 3, neighborcoord", "'Cu-Cu'", "Cu:Al-Al|Al:Cu-Cu")),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, row: str, told: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_sources(settings_of(tmp_path, GOOD, row))
    assert all(words in str(refused.value) for words in (*told, "old.csv"))


@pytest.mark.parametrize(
    ("header", "adsorbate", "told"),
    [
        ("mpid,coordination", "H", "no column delta_e_ev or energy_ev"),
        ("mpid,energy_ev", "H", "no column coordination"),
        ("coordination,energy_ev", "H", "no column mpid, bulk_source or formula"),
        ("mpid,coordination,energy_ev", None, "no column adsorbate"),
    ],
)
def test_a_file_that_lacks_a_column_is_refused(
    tmp_path: Path, header: str, adsorbate: str | None, told: str
) -> None:
    row = ",".join("1" for _ in header.split(","))
    with pytest.raises(ConfigError, match=told):
        read_sources(settings_of(tmp_path, row, header=header, adsorbate=adsorbate))


def test_a_file_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read"):
        read_sources(with_source(tmp_path / "gone.csv"))
    with pytest.raises(ConfigError, match="no energy that is of use: it has no rows"):
        read_sources(settings_of(tmp_path))


@pytest.mark.parametrize("text", ['{"rows": 3}', '{"rows": null}', '{"rows": [1]}', '{"data": []}'])
def test_json_that_is_no_export_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(ConfigError, match=r"old\.json cannot be read .*no list 'rows'"):
        read_sources(with_source(tmp_path / "old.json"))


def test_a_row_of_json_that_lacks_a_key_is_left_out(tmp_path: Path) -> None:
    whole = {"mpid": "mp-30", "coordination": "Cu", "energy_ev": -0.1}
    (tmp_path / "old.json").write_text(json.dumps({"rows": [whole, {"mpid": "mp-30"}]}))
    (table,) = read_sources(with_source(tmp_path / "old.json"))
    assert (len(table.rows), table.left_out) == (1, ("row 2: no energy",))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress((HEADER + "\n" + GOOD).encode()))
    content[10] = 0xFF  # a kind of block that there is not
    (tmp_path / "old.csv.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"old\.csv\.gz cannot be read"):
        read_sources(with_source(tmp_path / "old.csv.gz"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_another_separator_than_commas_is_told(tmp_path: Path, separator: str) -> None:
    header, row = (line.replace(",", separator) for line in (HEADER, GOOD))
    with pytest.raises(ConfigError, match="separated by commas"):
        read_sources(settings_of(tmp_path, row, header=header))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (GOOD.replace("-0.2", "-0,2"), "line 2 has 7 values, the first line names 6 columns"),
        (GOOD.replace("Cu,1", '"Cu,1') + "\n" + GOOD, "line 2: unexpected end of data"),
    ],
    ids=["decimal comma", "open quotation mark"],
)
def test_a_line_whose_values_are_in_others_places_is_refused(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_sources(settings_of(tmp_path, row))


def test_empty_values_beyond_the_last_column_do_not_matter(tmp_path: Path) -> None:
    (table,) = read_sources(settings_of(tmp_path, f"{GOOD},,"))
    assert [row.delta_e_ev for row in table.rows] == [-0.2]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="column 'energy_ev' occurs 2 times"):
        read_sources(settings_of(tmp_path, f"{GOOD},-0.4", header=f"{HEADER},Energy_ev"))


def test_many_problems_are_told_at_once_but_not_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="and 3 more") as refused:
        read_sources(settings_of(tmp_path, *(f"mp-{i},Cu,1 1 1,Cu,,abc" for i in range(8))))
    assert str(refused.value).count("'abc'") == 5


def test_files_count_from_the_campaign_file(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "name": "x",
            "bulks": {"ids": ["mp-30"]},
            "adsorbates": {"H": {}},
            "recipe": "emt",
            "surrogate": {"sources": [{"file": "old.csv"}]},
        }
    )
    settings = parse_campaign(text, "x.yaml", tmp_path)
    assert settings.surrogate.sources[0].file == str(tmp_path / "old.csv")
    with pytest.raises(ConfigError, match=r"adsorbate 'OH'; allowed: H"):
        parse_campaign(text.replace('"old.csv"', '"old.csv", "adsorbate": "OH"'), "x.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"sources\[0\]\.file: got .*is empty; give the path"):
        parse_campaign(text.replace('"old.csv"', '" "'), "x.yaml", tmp_path)
    for impossible in ("a\\u0000.csv", "~nobody-of-that-name/a.csv"):
        with pytest.raises(ConfigError, match=r"surrogate\.sources: .* is not the path of a file"):
            parse_campaign(text.replace("old.csv", impossible), "x.yaml", tmp_path)


def test_a_file_is_parsed_once_and_again_when_its_content_changes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, GOOD)
    (first,), (again,) = read_sources(settings), read_sources(settings)
    assert first is again
    settings_of(tmp_path, GOOD, GOOD.replace("-0.2", "-0.3"))
    (changed,) = read_sources(settings)
    assert (len(first.rows), len(changed.rows)) == (1, 2)


def test_rows_of_an_export_need_not_have_every_column(tmp_path: Path) -> None:
    whole = {"bulk": "Cu", "adsorbate": "H", "coordination": "Cu", "delta_e_ev": -0.2, "miller": "1 1 1"}
    bare = {key: value for key, value in whole.items() if key != "miller"}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"rows": [whole, bare]}))
    (table,) = read_sources(with_source(path, None))
    assert [row.site.miller for row in table.rows] == [(1, 1, 1), None]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b'{"rows": [1]}'), ("deep.json", b'{"rows":' + b"[" * 100_000), ("a.csv.gz", None)],
)
def test_files_that_are_damaged_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    damaged = bytearray(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    damaged[10] ^= 0xFF
    (tmp_path / name).write_bytes(content or bytes(damaged))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sources(with_source(tmp_path / name))
