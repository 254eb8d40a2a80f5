"""Campaign files: what loads, and what a bad one is told."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import CampaignSettings
from config.errors import ConfigError
from config.loader import load_campaign, load_recipe, parse_campaign, preset_names, recipe_names

MINIMAL = """\
name: try
bulks:
  ids: [mp-30]
adsorbates:
  CO: {}
recipe: demo
"""


def load(text: str) -> CampaignSettings:
    return parse_campaign(text, "try.yaml", Path("/folder"))


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


# What loads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    assert load_campaign(name).recipe.name in recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_under_its_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_what_is_left_out_takes_its_default() -> None:
    campaign = load(MINIMAL)
    assert campaign.adsorbates["CO"].target_ev == -0.67
    assert campaign.seed_size == CampaignSettings.model_fields["seed_size"].default
    assert campaign.recipe == load_recipe("demo")


def test_a_recipe_may_be_a_base_with_overrides() -> None:
    campaign = load(MINIMAL.replace("demo", "{base: demo, cutoff_ev: 350}"))
    assert campaign.recipe.name == "demo+overrides"
    assert campaign.recipe.cutoff_ev == 350.0
    assert campaign.recipe.smearing_ev == load_recipe("demo").smearing_ev
    assert campaign.recipe.digest() != load_recipe("demo").digest()


def test_a_base_without_overrides_is_the_recipe_itself() -> None:
    assert load(MINIMAL.replace("demo", "{base: demo}")).recipe == load_recipe("demo")


def test_a_section_whose_keys_are_all_comments_is_left_out() -> None:
    assert load(MINIMAL + "surfaces:\n  # vacuum_a: 3\nbudget:\n").surfaces.vacuum_a == 12.0


def test_no_is_nobelium_and_nitric_oxide_not_false() -> None:
    campaign = load(MINIMAL.replace("ids: [mp-30]", "elements: [No, Y, N]"))
    assert campaign.bulks.elements == ("No", "Y", "N")
    assert "NO" in load(MINIMAL.replace("CO: {}", "NO: {target_ev: 1}")).adsorbates


def test_scientific_notation_is_a_number() -> None:
    campaign = load(MINIMAL + "budget: {calculations: 1e3, cpu_hours: 1.5e2}\n")
    assert (campaign.budget.calculations, campaign.budget.cpu_hours) == (1000, 150.0)


def test_anchors_and_merge_keys_work() -> None:
    text = MINIMAL.replace("CO: {}", "CO: &c {window_ev: 0.2}\n  H: {<<: *c, target_ev: -0.3}")
    campaign = load(text)
    assert campaign.adsorbates["H"].window_ev == 0.2


def test_bulk_files_count_from_the_campaign_files_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "c.yaml"
    path.write_text(MINIMAL.replace("ids: [mp-30]", "files: [../cifs, /abs/x.cif]"), encoding="utf-8")
    assert load_campaign(path).bulks.files == (str(tmp_path / "cifs"), "/abs/x.cif")


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL, encoding="utf-8-sig")
    assert load_campaign(str(path)).name == "try"


def test_a_preset_goes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emt").mkdir()
    assert load_campaign("emt").name == "emt"


# What a bad file is told --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key_line", "expected"),
    [
        (
            "seed_siz: 4",
            "try.yaml, line 7: seed_siz: unknown key (did you mean 'seed_size'?); allowed: name, bulks,",
        ),
        ("cutoff_ev: 300", "line 7: cutoff_ev: unknown key (did you mean 'recipe.cutoff_ev'?)"),
        ("surfaces: {vacum_a: 9}", "line 7: surfaces.vacum_a: unknown key (did you mean 'vacuum_a'?)"),
        ("surfaces: {vacuum_a: 1}", "surfaces.vacuum_a: got 1; allowed: number, 4 to 40"),
        ("surfaces: {vacuum_a: true}", "surfaces.vacuum_a: got true; allowed: number, 4 to 40"),
        ("surfaces: {vacuum_a: '9'}", 'surfaces.vacuum_a: got "9"; allowed: number, 4 to 40'),
        ("surfaces: {vacuum_a: }", "surfaces.vacuum_a: got nothing; allowed: number, 4 to 40"),
        ("seed_size: 2.5", "seed_size: got 2.5; allowed: whole number, 1 to 1000000"),
        ("seed: true", "seed: got true; allowed: whole number, 0 to 9223372036854775807"),
        ("batch_size: 99999999", "batch_size: got 99999999; allowed: whole number, 1 to 1000000"),
        ("budget: {rounds: -1}", "budget.rounds: got -1; allowed: whole number, 0 to 1000000"),
        ("store: {database: a.b}", 'store.database: got "a.b"; must hold no space and none of'),
        ("store: {database: admin}", 'got "admin"; is a database of MongoDB'),
        (f"store: {{database: {'x' * 64}}}", "must have 1 to 63 bytes"),
        ("surfaces: {miller_indices: [[1, 0, -11]]}", "[1, 0, -11] is too steep; allowed: -10 to 10"),
        ("store: {database: 7}", "store.database: got 7; allowed: text"),
        ("store: {uri: 'http://x'}", 'store.uri: got "http://x"; must start with mongodb://'),
        ("store: {uri: 'mongo://me:secret@x'}", 'got "mongo://***@x"; must start'),
        ("execution: {backend: lokal}", "\"lokal\" (did you mean 'local'?); allowed: one of local, slurm"),
        (
            "acquisition: {strategy: gredy}",
            "did you mean 'greedy'?); allowed: one of gaussian, hit_probability",
        ),
        ("acquisition: greedy", 'acquisition: got "greedy"; allowed: section with keys of its own'),
        ("surfaces: {miller_indices: [[1, 1]]}", "allowed: list, each a list of 3 whole numbers"),
        ("surfaces: {miller_indices: [[0, 0, 0]]}", "[0, 0, 0] is no facet"),
        (
            "execution: {cores: 1, cores_per_calculation: 2}",
            "line 7: execution: cores_per_calculation (2) exceeds cores (1)",
        ),
        ("budget: {cpu_hours: .nan}", "line 7: budget.cpu_hours: cannot use nan; must be a finite number"),
        ("budget: {cpu_hours: -.inf}", "must be a finite number"),
        ("seed: 2026-01-01", "line 7: seed: cannot use 2026-01-01; put quotes around it if it is text"),
        ("7: x", "line 7: the key 7 is not text"),
        ("name: again", "line 7: the key 'name' is given twice"),
        ("surfaces:\n\tvacuum_a: 9", "line 8: a tab; YAML is indented with spaces"),
        ("seed: [1, 2", "not valid YAML"),
        ("seed: !!python/name:os.system x", "not valid YAML"),
        ("seed: *nowhere", "undefined alias"),
        ("---\nname: second", "another document"),
        ("store: &s {uri: *s}", "nested too deeply"),
        ("seed: " + "[" * 3000, "nested too deeply"),
        ("seed: \x01", "special characters are not allowed"),
    ],
)
def test_a_bad_key_is_named_with_line_value_and_what_is_allowed(key_line: str, expected: str) -> None:
    message = complaint(MINIMAL + key_line + "\n")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (("name: try", "name: 'a b'"), 'line 1: name: got "a b"; must start with a letter'),
        (("name: try\n", ""), "name: is missing (text, at most 60 characters)"),
        (("name: try", "name: no/where"), 'line 1: name: got "no/where"; must start'),
        (("name: try", f"name: {'x' * 61}"), "at most 60 characters"),
        (("  ids: [mp-30]", "  max_atoms: 5"), "line 2: bulks: selects nothing"),
        (("ids: [mp-30]", "ids: mp-30"), 'line 3: bulks.ids: got "mp-30"; allowed: list, each a text'),
        (("ids: [mp-30]", "ids: [mp-30, 7]"), "line 3: bulks.ids[1]: got 7"),
        (("ids: [mp-30]", "elements: [Xx]"), "'Xx' is not a chemical element"),
        (
            ("ids: [mp-30]", "elements: [CU, Pd, Xx]"),
            "'CU' (did you mean 'Cu'?), 'Xx' are not chemical elements",
        ),
        (("ids: [mp-30]", "files: ['']"), "line 3: bulks.files: holds an empty name"),
        (
            ("CO: {}", "CH4: {}"),
            "line 5: adsorbates.CH4: unknown adsorbate; allowed: CO, H, C, N, O, OH, OOH,",
        ),
        (("CO: {}", "cooh: {}"), "adsorbates.cooh: unknown adsorbate (did you mean 'COOH'?); allowed: CO, H"),
        (("CO: {}", "OH: {}"), "line 5: adsorbates.OH.target_ev: is missing: Sabatier knows no published"),
        (
            ("CO: {}", "OH: {target: 0.1}"),
            "line 5: adsorbates.OH.target: unknown key (did you mean 'target_ev'?); allowed: target_ev, ",
        ),
        (("CO: {}", "OH: {window_ev: 1}"), "line 5: adsorbates.OH.target_ev: is missing"),
        (
            ("CO: {}", "CH3: {target_ev: 0, atoms: [C]}"),
            "line 5: adsorbates.CH3.positions_a: is missing: 'CH3' is none of the adsorbates",
        ),
        (("CO: {}", "C/H: {target_ev: 0, atoms: [C]}"), "adsorbates.C/H: must be 1 to 30 letters, digits"),
        (
            ("CO: {}", "O: {target_ev: 0, reference: {O2: 0.5}}"),
            "adsorbates.O.reference: got 'O2'; allowed: H2,",
        ),
        (
            ("CO: {}", "OH: {target_ev: 0, reference: {H2O: 1}}"),
            "adsorbates.OH.reference: +1 H2O does not have the atoms of the adsorbate: 2 H for 1",
        ),
        (("CO: {}", "CO: {reference: {CO: x}}"), 'adsorbates.CO.reference.CO: got "x"; allowed: number'),
        (("CO: {}", "CO: {atoms: [C, Xy]}"), "adsorbates.CO.atoms: 'Xy' is not a chemical element"),
        (("CO: {}", "CO: {atoms: C}"), 'adsorbates.CO.atoms: got "C"; allowed: list, each a text'),
        (("CO: {}", "CO: {positions_a: [[0, 0, 0]]}"), "positions_a: gives 1 positions for 2 atoms"),
        (
            ("CO: {}", "CO: {positions_a: [[0, 0, 0], [0, 0, 0.3]]}"),
            "adsorbates.CO.positions_a: puts atoms 0 and 1 0.30 Å apart; allowed: 0.5 Å or more",
        ),
        (
            ("CO: {}", "OH: {target_ev: 0, positions_a: [[0, 0, 0], [0, 0, 9]]}"),
            "line 5: adsorbates.OH.positions_a: puts atoms 0 (O) and 1 (H) 9.00 Å apart, with no bond "
            "between their parts of the adsorbate; allowed: 1.26 Å or less",
        ),
        (
            ("CO: {}", "OOH: {target_ev: 0, positions_a: [[0, 0, 0], [0, 0, 3.0], [0, 0.9, 3.4]]}"),
            "puts atoms 0 (O) and 1 (O) 3.00 Å apart",  # O and OH, each whole
        ),
        (("CO: {}", "CO: {binding_atom: 2}"), "adsorbates.CO.binding_atom: got 2; allowed: 0 to 1"),
        (("CO: {}", "CO: {orientation: [0, 0, 0]}"), "CO.orientation: is no direction: its length is 0"),
        (("demo", "{base: demo, slab_kpoint_mesh: [4, 0]}"), "got [4, 0]; allowed: 2 whole numbers, 1 to 50"),
        (("CO: {}", "CO: {target_ev: low}"), 'line 5: adsorbates.CO.target_ev: got "low"; allowed: number'),
        (
            ("CO: {}", "CO: {windw_ev: 1}"),
            "line 5: adsorbates.CO.windw_ev: unknown key (did you mean 'window_ev'?)",
        ),
        (
            ("  CO: {}", "  {}"),
            "line 4: adsorbates: got {}; allowed: section with a key for each name, at least 1",
        ),
        (("recipe: demo\n", ""), "recipe: is missing"),
        (("demo", "dmo"), "line 6: recipe: got \"dmo\" (did you mean 'demo'?); allowed: beef, demo, emt"),
        (("demo", "{base: screning}"), "line 6: recipe.base: got \"screning\" (did you mean 'screening'?)"),
        (("demo", "{cutoff_ev: 400}"), "line 6: recipe: needs the key 'base'"),
        (("demo", "{base: demo, cutof_ev: 400}"), "recipe.cutof_ev: unknown key (did you mean 'cutoff_ev'?)"),
        (("demo", "{base: demo, xc: LDA}"), 'recipe.xc: got "LDA"; allowed: one of RPBE, PBE, BEEF-vdW'),
        (("demo", "[demo]"), 'recipe: got ["demo"]; allowed: beef, demo, emt'),
        (("demo", ""), "recipe: got nothing; allowed: beef, demo, emt"),
    ],
)
def test_a_bad_required_key_is_told_what_it_takes(changed: tuple[str, str], expected: str) -> None:
    assert expected in complaint(MINIMAL.replace(*changed))


def test_all_problems_of_a_file_come_in_one_error_in_the_order_of_lines() -> None:
    message = complaint(
        MINIMAL.replace("demo", "nothing-like-it")
        + "seed: x\nbudgt: {}\nsurfaces:\n  max_atoms: 0\n  vacuum_a: 1\n"
    )
    lines = message.splitlines()
    assert lines[0] == "try.yaml has 5 problems:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"line {n}" for n in (6, 7, 8, 10, 11)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds a list"),
        ("just words\n", "holds a single value"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_in_one_line(text: str, expected: str) -> None:
    assert expected in complaint(text)
    assert "\n" not in complaint(text)


def test_what_is_no_readable_file_is_refused_in_one_line(tmp_path: Path) -> None:
    binary, folder = tmp_path / "b.yaml", tmp_path / "d.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    folder.mkdir()
    for path, expected in [(binary, "not UTF-8 text (byte 7)"), (folder, "is a directory")]:
        with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
            load_campaign(str(path))
        assert expected in str(caught.value)
    if os.getuid() != 0:
        binary.chmod(0)
        with pytest.raises(ConfigError, match="Permission denied"):
            load_campaign(binary)


def test_an_unknown_campaign_is_told_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alloys.yaml").write_text(MINIMAL, encoding="utf-8")
    for asked, expected in [
        ("screning", "did you mean 'screening'?"),
        ("screning", "presets: "),
        ("aloys.yaml", "did you mean 'alloys.yaml'?"),
        ("deep/er.yaml", "no campaign file 'deep/er.yaml'"),
        ("", "directory"),
        ("a\0b", "cannot read|no campaign file"),
    ]:
        with pytest.raises(ConfigError, match=expected.replace("?", r"\?")):
            load_campaign(asked)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from(list(":-[]{}&*!|>'\"%@`#,?<= \n\tabNO01.e~")), max_size=60))
def test_no_text_whatever_escapes_as_anything_but_a_config_error(text: str) -> None:
    for whole in (text, MINIMAL + text):
        with contextlib.suppress(ConfigError):
            load(whole)


def test_the_only_fingerprint_that_earlier_releases_had_may_still_be_named(tmp_path: Path) -> None:
    text = "bulks: {ids: [mp-30]}\nname: old\nadsorbates: {H: {}}\nrecipe: emt\n"
    text += "surrogate: {fingerprint: gaspy}\n"
    (tmp_path / "old.yaml").write_text(text)
    assert load_campaign(str(tmp_path / "old.yaml")).surrogate.model == "ensemble"
