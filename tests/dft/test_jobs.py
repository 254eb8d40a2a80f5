from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from pydantic import ValidationError

from config.recipe import RecipeSettings
from dft.jobs import (
    RESULT_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    read_claim,
    read_job,
    read_result,
    take_claim,
    write_job,
    write_result,
)


def result(**fields):
    given = {
        "calculation_id": "calc-1",
        "kind": CalculationKind.GAS,
        "attempt": 1,
        "state": ResultState.DONE,
        "energy": -6.5,
    }
    return JobResult(**(given | fields))


def test_structure_survives_the_record_with_fixed_atoms_and_tags(hydrogen_on_aluminium):
    back = AtomsRecord.from_atoms(hydrogen_on_aluminium).to_atoms()
    assert back == hydrogen_on_aluminium
    assert np.array_equal(back.get_tags(), hydrogen_on_aluminium.get_tags())
    assert list(back.constraints[0].get_indices()) == [0, 1]


def test_job_and_result_read_back_as_written(tmp_path, hydrogen_on_aluminium):
    spec = JobSpec(
        calculation_id="calc-1",
        kind=CalculationKind.ADSLAB,
        attempt=2,
        label="adslab H on Al(111)",
        recipe=RecipeSettings(),
        atoms=AtomsRecord.from_atoms(hydrogen_on_aluminium),
        n_adsorbate_atoms=1,
    )
    write_job(tmp_path / "job", spec)
    assert read_job(tmp_path / "job") == spec
    assert read_result(tmp_path) is None
    write_result(tmp_path, result())
    assert read_result(tmp_path) == result()


def test_result_file_holds_what_outside_readers_rely_on(tmp_path):
    write_result(tmp_path, result(energy=None, state=ResultState.FAILED, code="CRASHED"))
    content = json.loads((tmp_path / RESULT_FILE).read_text())
    assert content["energy"] is None
    assert {"calculation_id", "kind", "state", "code", "cpu_seconds", "versions"} <= set(content)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"energy": 1.0}'])
def test_a_damaged_result_is_an_error_not_a_result(tmp_path, text):
    (tmp_path / RESULT_FILE).write_text(text)
    with pytest.raises(ValueError, match="JobResult"):
        read_result(tmp_path)


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError):
        result(enrgy=1.0)


def test_writing_leaves_no_temporary_files(tmp_path):
    write_result(tmp_path, result())
    take_claim(tmp_path, {"pid": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim", "result.json"]


def test_exactly_one_of_many_processes_gets_the_claim(tmp_path):
    with ProcessPoolExecutor(8) as pool:
        won = list(pool.map(take_claim, [tmp_path] * 40, [{"pid": i} for i in range(40)]))
    assert sum(won) == 1
    assert read_claim(tmp_path) == {"pid": won.index(True)}


def test_nobody_holds_the_claim_of_a_fresh_directory(tmp_path):
    assert read_claim(tmp_path) is None


def test_empty_tags_and_no_constraint_make_a_plain_structure():
    record = AtomsRecord.from_atoms(Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[5, 5, 5], pbc=True))
    assert record.fixed == ()
    assert record.to_atoms().constraints == []
