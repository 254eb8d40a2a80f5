"""The ``execution`` section: which back-ends there are, what they accept, and what a bad one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import CampaignSettings
from config.errors import ConfigError
from config.execution import JobResources, KindResources, LocalExecution, SlurmExecution
from config.loader import parse_campaign

MINIMAL = "name: try\nbulks: {ids: [mp-30]}\nadsorbates: {CO: {}}\nrecipe: emt\n"


def load(section: str) -> CampaignSettings:
    return parse_campaign(f"{MINIMAL}execution: {section}\n", "try.yaml", Path("/folder"))


def slurm(keys: str) -> SlurmExecution:
    execution = load(f"{{backend: slurm, {keys}}}").execution
    assert isinstance(execution, SlurmExecution)
    return execution


def complaint(section: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(section)
    return str(caught.value)


# What loads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["{}", "", "{max_attempts: 3}", "{backend: local}"])
def test_without_a_backend_calculations_run_on_this_machine(section: str) -> None:
    assert load(section).execution == LocalExecution()


def test_a_kind_asks_for_what_it_names_and_else_for_what_all_ask_for() -> None:
    execution = slurm(
        "partition: xeon40, tasks: 40, walltime_minutes: 600, options: {exclusive: true}, pack: array, "
        "kinds: {gas: {tasks: 8, options: {}}, slab: {pack: single, memory_gb: 64}}"
    )
    gas, slab, bulk = (execution.resources_for(kind) for kind in ("gas", "slab", "bulk"))
    assert (gas.partition, gas.tasks, gas.options) == ("xeon40", 8, {})
    assert (slab.tasks, slab.memory_gb, slab.options) == (40, 64.0, {"exclusive": True})
    assert bulk.tasks == execution.tasks_for("bulk") == 40
    assert execution.walltime_minutes_for("gas") == 600.0
    assert execution.pack_for("gas") == ("array", 50)
    assert execution.pack_for("slab") == ("single", 1)


def test_options_go_by_their_long_names_however_written() -> None:
    execution = slurm(
        "options: {--mail-type: END, mail_user: a@b.c, nice: 100}, kinds: {gas: {options: {--hold: true}}}"
    )
    assert execution.options == {"mail-type": "END", "mail-user": "a@b.c", "nice": 100}
    assert execution.resources_for("gas").options == {"hold": True}


def test_the_python_of_the_jobs_may_start_at_the_home_folder() -> None:
    assert slurm("python: ~/venv/bin/python").python == str(Path("~/venv/bin/python").expanduser())
    assert slurm("python: python3").python == "python3"


resources = st.fixed_dictionaries(
    {},
    optional={
        "partition": st.sampled_from(["xeon40", "epyc"]),
        "walltime_minutes": st.floats(61, 1e6),
        "tasks": st.integers(10, 100),
        "nodes": st.integers(1, 10),
        "memory_gb": st.floats(0.5, 1e4),
        "options": st.dictionaries(
            st.from_regex(r"\A(--)?mail[-_][a-z]{2,6}\Z"),
            st.booleans() | st.integers() | st.just("x y"),
            max_size=1,
        ),
        "pack": st.sampled_from(["single", "array", "bundle"]),
        "pack_size": st.integers(2, 1000),
    },
)


@settings(deadline=None)
@given(base=resources, kinds=st.dictionaries(st.sampled_from(["gas", "bulk", "slab", "adslab"]), resources))
def test_settings_written_down_read_back_the_same(base: dict[str, Any], kinds: dict[str, Any]) -> None:
    execution = SlurmExecution.model_validate({"backend": "slurm", "tasks": 10, **base, "kinds": kinds})
    assert SlurmExecution.model_validate_json(execution.model_dump_json()) == execution
    for kind in ("gas", "bulk", "slab", "adslab"):
        asked = execution.resources_for(kind)
        own = kinds.get(kind, {})
        for key in ("partition", "walltime_minutes", "tasks", "nodes", "memory_gb"):
            assert getattr(asked, key) == own.get(key, getattr(execution, key))


def test_kinds_may_change_all_that_a_job_asks_for_and_how_it_is_packed() -> None:
    assert set(KindResources.model_fields) == {*JobResources.model_fields, "pack", "pack_size"}


# What a bad section is told -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "{backend: slrm}",
            "execution.backend: got \"slrm\" (did you mean 'slurm'?); allowed: one of local, slurm",
        ),
        ("{backend: 7}", "execution.backend: got 7; allowed: one of local, slurm"),
        ("{backend: }", "execution.backend: got nothing; allowed: one of local, slurm"),
        ("{backend: [slurm]}", 'execution.backend: got ["slurm"]; allowed: one of local, slurm'),
        ("slurm", 'execution: got "slurm"; write it as {backend: slurm} or {profile: slurm}'),
        ("[slurm]", 'execution: got ["slurm"]; allowed: section with keys of its own'),
        ("{partition: a}", "execution.partition: belongs to backend slurm; the backend here is local"),
        ("{local: {cores: 1}}", "execution.local: unknown key; allowed: backend, profile, cores"),
        (
            "{core: 4}",
            "execution.core: unknown key (did you mean 'cores'?); allowed: backend, profile, cores",
        ),
        ("{cores: 0}", "execution.cores: got 0; allowed: whole number, 1 to 1000000"),
    ],
)
def test_a_bad_section_is_named_with_line_value_and_what_is_allowed(section: str, expected: str) -> None:
    message = complaint(section)
    assert message.startswith("try.yaml, line 5: execution")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("cores: 4", "execution.cores: belongs to backend local; the backend here is slurm"),
        ("slurm: 1", "execution.slurm: unknown key; allowed: backend, profile, partition"),
        ("partiton: a", "execution.partiton: unknown key (did you mean 'partition'?)"),
        ("mem: 4G", "execution.mem: unknown key; use the key 'memory_gb'"),
        ("ntasks: 16", "execution.ntasks: unknown key; use the key 'tasks'"),
        ("exclude: n1", "other options of the scheduler go under 'options'"),
        ("tasks: '4'", 'execution.tasks: got "4"; allowed: whole number, 1 to 1000000'),
        ("pack: bundel", "got \"bundel\" (did you mean 'bundle'?); allowed: one of single"),
        ("partition: 'a b'", 'execution.partition: got "a b"; must be one word'),
        ("account: ''", 'execution.account: got ""; must be one word'),
        ("setup: module load x", 'execution.setup: got "module load x"; allowed: list, each a text'),
        ("setup: [module, 3]", "execution.setup[1]: got 3; allowed: list, each a text"),
        ("setup: ['#SBATCH -p x']", "'#SBATCH -p x' has no effect after the job's header"),
        ("launcher: srun", 'execution.launcher: got "srun"; must hold {tasks}, which stands'),
        ("launcher: 'srun -n {tasks} -N {nodes}'", "no braces but those of {tasks}"),
        ('launcher: "srun -n {tasks} \'x"', "is no command: no closing quotation"),
        ("python: venv/bin/python", "must be an absolute path, one from ~, or the name of a"),
        ("python: ''", "must be an absolute path"),
        ("nodes: 2", "execution: nodes (2) exceeds tasks (1), which counts those of all nodes"),
        ("walltime_minutes: 2", "walltime_minutes (2) must exceed warning_seconds (120, 2 min)"),
        ("bundle_width: 2", "bundle_width (2) is of use with 'pack: bundle' only, not single"),
        ("pack: bundle, pack_size: 2, bundle_width: 3", "bundle_width (3) exceeds pack_size (2)"),
        ("pack: array, pack_size: 1", "pack_size (1) makes 'pack: array' the same as 'pack: single'"),
        ("max_jobs: 0", "execution.max_jobs: got 0; allowed: whole number, 1 to 100000"),
        ("gpus: 1, options: {gres: 'gpu:2'}", "gpus (1) and options.gres cannot both be given"),
        ("kinds: {slb: {}}", "execution.kinds.slb: unknown name (did you mean 'slab'?); allowed: gas,"),
        ("kinds: {slab: }", "kinds.slab: got nothing; allowed: section with keys of its own"),
        ("kinds: slab", 'kinds: got "slab"; allowed: section with keys gas, bulk, slab, adslab'),
        ("kinds: {slab: {taks: 4}}", "execution.kinds.slab.taks: unknown key (did you mean 'tasks'?)"),
        ("kinds: {slab: {max_jobs: 4}}", "(did you mean 'execution.max_jobs'?)"),
        ("kinds: {slab: {tasks: no}}", 'execution.kinds.slab.tasks: got "no"; allowed: whole number'),
        ("kinds: {slab: {nodes: 3}}", "execution: kinds.slab: nodes (3) exceeds tasks (1)"),
        ("kinds: {slab: {options: {time: 5}}}", "execution.kinds: slab.options: 'time' cannot be set"),
        ("options: {exclude: [n1, n2]}", 'execution.options.exclude: got ["n1", "n2"]; allowed: text or'),
        ("options: {nice: 1.5}", "execution.options.nice: got 1.5; allowed: text or whole number"),
        ("options: {exclude: }", "execution.options.exclude: got nothing; allowed: text or"),
        ("options: exclusive", 'got "exclusive"; allowed: section with a key for each name: text or'),
        ("options: {--partition: a}", "'--partition' cannot be set here: use the key 'partition'"),
        ("options: {time_min: 1}", "'time_min' cannot be set here: use the key 'walltime_minutes'"),
        ("options: {job-name: x}", "'job-name' cannot be set here: Sabatier finds its jobs by"),
        ("options: {output: x}", "'output' cannot be set here: a job writes into its own folder"),
        ("options: {array: 1-4}", "'array' cannot be set here: use the keys 'pack' and 'pack_size'"),
        ("options: {signal: TERM}", "'signal' cannot be set here: use the key 'warning_seconds'"),
        ("options: {requeue: true}", "'requeue' cannot be set here: Sabatier itself starts"),
        ("options: {requ: true}", "'requ' cannot be set here: Sabatier itself starts the next attempt"),
        ("options: {mem: 4G}", "'mem' cannot be set here: use the key 'memory_gb'"),
        ("options: {-p: a}", "'-p' is no long name of an option"),
        ("options: {'exclude=n1': true}", "'exclude=n1' is no long name of an option"),
        ("options: {--nice: 1, nice: 2}", "'nice' is given twice"),
        ('options: {comment: "a\\n#SBATCH b"}', "'comment' needs text on one line"),
        (
            "options: {exclusive: ''}",
            "'exclusive' needs text on one line, without double quotes; 'true' if it",
        ),
    ],
)
def test_a_bad_key_for_a_cluster_is_told_what_to_do_instead(keys: str, expected: str) -> None:
    message = complaint(f"{{backend: slurm, {keys}}}")
    assert message.startswith("try.yaml, line 5: execution")
    assert expected in message
    assert "\n" not in message


def test_all_problems_of_the_section_come_at_once_at_their_lines() -> None:
    message = complaint("\n  backend: slurm\n  taks: 4\n  pack: bundel\n  kinds:\n    gas: {nodes: x}")
    assert [line.strip().split(": ")[:2] for line in message.splitlines()[1:]] == [
        ["line 7", "execution.taks"],
        ["line 8", "execution.pack"],
        ["line 10", "execution.kinds.gas.nodes"],
    ]


@settings(deadline=None)
@given(
    section=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.sampled_from(["slurm", "x y", "{"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "backend",
                        "local",
                        "slurm",
                        "options",
                        "kinds",
                        "slab",
                        "setup",
                        "tasks",
                        "[key]",
                        "str",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_section_whatever_escapes_as_anything_but_a_config_error(section: Any) -> None:
    try:
        loaded = load(json.dumps(section))
    except ConfigError:
        return
    assert CampaignSettings.model_validate_json(loaded.model_dump_json()) == loaded
