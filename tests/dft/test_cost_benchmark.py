"""The benchmark of the cost of an adsorption energy: both ways compute the same, no table mixes versions."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import dft_cost


@pytest.mark.parametrize("case", dft_cost.CASES, ids=lambda case: case.name)
def test_both_ways_put_the_same_atoms_over_the_same_site(case):
    slab = dft_cost.bare_slab(case.surface)
    plain, ours = (dft_cost.covered(slab, case, way) for way in dft_cost.WAYS)
    assert np.array_equal(plain.numbers, ours.numbers)
    assert np.allclose(plain.positions[:, :2], ours.positions[:, :2])
    assert np.array_equal(plain.get_tags() == 0, np.arange(len(plain)) >= len(slab))
    for whole in (plain, ours):  # centred, but the slab itself is as it was
        lifts = whole.positions[: len(slab), 2] - slab.positions[:, 2]
        assert np.ptp(lifts) < 1e-9


def test_a_folder_of_results_is_gone_on_with_if_asked_and_by_the_same_code_only(tmp_path, monkeypatch):
    results = tmp_path / "results"
    dft_cost.claim(results, go_on=False)
    with pytest.raises(SystemExit, match="holds results"):
        dft_cost.claim(results, go_on=False)
    dft_cost.claim(results, go_on=True)
    monkeypatch.setattr(dft_cost, "code_digest", lambda: "another")
    with pytest.raises(SystemExit, match="code has changed"):
        dft_cost.claim(results, go_on=True)


def test_the_digest_is_that_of_the_code_that_computes(tmp_path, monkeypatch):
    before = dft_cost.code_digest()
    (tmp_path / "dft").mkdir()
    (tmp_path / "dft" / "new.py").write_text("pass")
    monkeypatch.setattr(dft_cost, "ROOT", tmp_path)
    one = dft_cost.code_digest()
    (tmp_path / "dft" / "new.py").write_text("pass  # changed")
    assert len({before, one, dft_cost.code_digest()}) == 3
