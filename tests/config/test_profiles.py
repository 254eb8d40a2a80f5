"""Execution profiles: where they are looked for, how they mix with a campaign's keys, what is told."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import CampaignSettings
from config.errors import ConfigError
from config.execution import LocalExecution, SlurmExecution
from config.loader import load_campaign, parse_campaign
from config.profiles import load_profile, merge, profile_names, profiles_path

MINIMAL = "name: try\nbulks: {ids: [mp-30]}\nadsorbates: {CO: {}}\nrecipe: emt\n"
PROFILES = """\
# how I run
niflheim:
  backend: slurm
  partition: xeon40
  tasks: 40
  options: {exclusive: true, mail-type: END}
  kinds:
    gas: {tasks: 8, walltime_minutes: 60}
workstation: {cores: 8}
"""


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my-profiles.yaml"
    path.write_text(PROFILES, encoding="utf-8")
    monkeypatch.setenv("SABATIER_PROFILES", str(path))
    return path


def load(section: str, profile: str | None = None) -> CampaignSettings:
    return parse_campaign(f"{MINIMAL}execution: {section}\n", "try.yaml", Path("/folder"), profile)


def complaint(section: str, profile: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(section, profile)
    return str(caught.value)


# Where profiles are -------------------------------------------------------------------------------


def test_profiles_are_in_the_users_configuration_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SABATIER_PROFILES", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles_path() == tmp_path / ".config" / "sabatier" / "profiles.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    assert profiles_path() == tmp_path / ".config" / "sabatier" / "profiles.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert profiles_path() == tmp_path / "xdg" / "sabatier" / "profiles.yaml"
    monkeypatch.setenv("SABATIER_PROFILES", "~/other.yaml")
    assert profiles_path() == tmp_path / "other.yaml"


def test_the_names_of_all_profiles_are_listed(profiles: Path) -> None:
    assert profile_names() == ["niflheim", "workstation"]
    profiles.unlink()
    assert profile_names() == []


# What a profile gives -----------------------------------------------------------------------------


def test_a_campaigns_keys_go_on_top_of_its_profile(profiles: Path) -> None:
    execution = load(
        "{profile: niflheim, partition: , walltime_minutes: 90, options: {mail-type: FAIL}, "
        "kinds: {gas: {tasks: 4}, slab: {nodes: 2}}}"
    ).execution
    assert isinstance(execution, SlurmExecution)
    assert (execution.profile, execution.partition, execution.tasks) == ("niflheim", None, 40)
    assert execution.options == {"exclusive": True, "mail-type": "FAIL"}
    assert (execution.tasks_for("gas"), execution.walltime_minutes_for("gas")) == (4, 60.0)
    assert execution.resources_for("slab").nodes == 2


def test_a_profile_on_the_command_line_takes_the_place_of_the_whole_section(profiles: Path) -> None:
    for section in ("{profile: niflheim, tasks: 80}", "{profile: nowhere}", "{no_such_key: 1}"):
        assert load(section, "workstation").execution == LocalExecution(profile="workstation", cores=8)


def test_a_preset_takes_a_profile_too(profiles: Path) -> None:
    assert load_campaign("emt", "workstation").execution.profile == "workstation"


def test_settings_remember_their_profile_but_no_longer_need_it(profiles: Path) -> None:
    loaded = load("{profile: niflheim}")
    profiles.unlink()
    assert CampaignSettings.model_validate_json(loaded.model_dump_json()) == loaded


def test_only_the_profile_in_use_must_be_in_order(profiles: Path) -> None:
    profiles.write_text(PROFILES + "broken: {cors: 1}\nworse: 7\n", encoding="utf-8")
    assert load("{profile: workstation}").execution.profile == "workstation"


keys = st.sampled_from(["options", "kinds", "slab", "gas", "tasks", "partition"])
sections = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=2),
)
mappings = st.dictionaries(keys, sections, max_size=5)


def flat(section: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Values by their paths; empty mappings count as values."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in section.items():
        inner = flat(value) if isinstance(value, dict) else {}
        found |= {(key, *path): v for path, v in inner.items()} if inner else {(key,): value}
    return found


@settings(deadline=None)
@given(base=mappings, changes=mappings)
def test_merging_keeps_every_change_and_whatever_no_change_is_in_the_way_of(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    merged = flat(merge(base, changes))
    changed = flat(changes)
    for path, value in changed.items():
        assert merged.get(path) == value or value == {}
    kept = {
        path: value
        for path, value in flat(base).items()
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in changed)
    }
    assert all(merged[path] == value for path, value in kept.items())
    assert merge(base, {}) == base
    assert merge({}, changes) == changes
    assert merge(merge(base, changes), changes) == merge(base, changes)


# What is told -------------------------------------------------------------------------------------


def test_an_unknown_profile_is_told_which_there_are_and_where(profiles: Path) -> None:
    told = f"no profile 'niflhem' (did you mean 'niflheim'?); {profiles} has: niflheim, workstation"
    assert complaint("{profile: niflhem, tasks: 2}") == f"try.yaml, line 5: execution.profile: {told}"
    assert complaint("{}", "niflhem") == told
    assert "line 5: execution.profile: got 7; allowed: text" in complaint("{profile: 7}")


def test_without_a_profiles_file_its_place_and_an_example_are_told(profiles: Path) -> None:
    profiles.unlink()
    message = complaint("{profile: niflheim}")
    first, *example = message.splitlines()
    assert first == (
        "try.yaml, line 5: execution.profile: no profile 'niflheim', "
        f"as there is no file {profiles}; make it, such as"
    )
    profiles.write_text("\n".join(example), encoding="utf-8")
    assert load_profile("my-cluster")["backend"] == "slurm"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (("partition:", "partiton:"), "line 4: niflheim.partiton: unknown key (did you mean 'partition'?)"),
        (("tasks: 8", "tasks: x"), 'line 8: niflheim.kinds.gas.tasks: got "x"; allowed: whole number'),
        (
            ("backend: slurm", "backend: slrm"),
            "line 3: niflheim.backend: got \"slrm\" (did you mean 'slurm'?)",
        ),
        (("backend: slurm", "cores: 4"), "line 4: niflheim.partition: belongs to backend slurm"),
        (("tasks: 40", "nodes: 40"), "line 2: niflheim: nodes (40) exceeds tasks (1)"),
        (("backend: slurm", "profile: other"), "line 3: niflheim.profile: a profile cannot build on another"),
        (("tasks: 40", "tasks: ["), "not valid YAML"),
        (("tasks: 40", "partition: x"), "line 5: the key 'partition' is given twice"),
        ((PROFILES, "niflheim: slurm"), 'line 1: niflheim: got "slurm"; it takes an execution section'),
        ((PROFILES, "niflheim:"), "line 1: niflheim: got nothing; it takes an execution section"),
        ((PROFILES, "- niflheim"), "holds a list; it must hold keys"),
        ((PROFILES, "# nothing"), "is empty; it maps names to execution sections, such as"),
    ],
)
def test_a_broken_profile_is_reported_with_its_own_file_and_line(
    profiles: Path, changed: tuple[str, str], expected: str
) -> None:
    profiles.write_text(PROFILES.replace(*changed), encoding="utf-8")
    for message in (complaint("{profile: niflheim}"), complaint("{}", "niflheim")):
        assert message.startswith(str(profiles))
        assert expected in message
        assert "try.yaml" not in message


def test_an_unreadable_profiles_file_is_reported(profiles: Path) -> None:
    profiles.unlink()
    profiles.mkdir()
    assert complaint("{profile: niflheim}") == f"{profiles} is a directory, not a file"
    profiles.rmdir()
    profiles.write_text(PROFILES, encoding="utf-8")
    if os.getuid() != 0:
        profiles.chmod(0)
        assert "Permission denied" in complaint("{profile: niflheim}")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "{profile: niflheim, backend: local}",
            "execution.backend: got \"local\", but profile 'niflheim' is of backend slurm; leave it out",
        ),
        (
            "{profile: niflheim, cores: 4}",
            "execution.cores: belongs to backend local; the backend here is slurm",
        ),
        ("{profile: niflheim, tasks: 0}", "execution.tasks: got 0; allowed: whole number, 1 to"),
        ("{profile: niflheim, tasks: 1, nodes: 2}", "execution: nodes (2) exceeds tasks (1)"),
        ("{profile: niflheim, kinds: 3}", "execution.kinds: got 3; allowed: section with keys gas"),
    ],
)
def test_what_a_campaign_gets_wrong_on_top_of_a_profile_is_its_own_fault(
    profiles: Path, section: str, expected: str
) -> None:
    message = complaint(section)
    assert message.startswith("try.yaml, line 5: ")
    assert expected in message


def test_the_examples_of_the_documentation_work(profiles: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "profiles.md").read_text(encoding="utf-8")
    examples, campaign = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    profiles.write_text(examples, encoding="utf-8")
    assert profile_names() == ["niflheim", "workstation"]
    assert load_profile("workstation") == {"backend": "local", "cores": 8}
    execution = parse_campaign(MINIMAL + campaign, "try.yaml", Path()).execution
    assert isinstance(execution, SlurmExecution)
    assert execution.options == {"exclusive": True, "mail-type": "END"}
    assert (execution.tasks_for("gas"), execution.walltime_minutes_for("gas")) == (4, 60.0)
    assert (execution.account, execution.walltime_minutes) == (None, 1440.0)
