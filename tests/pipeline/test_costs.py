"""What candidates are expected to cost."""

from __future__ import annotations

import pytest

from dft.jobs import CalculationKind
from pipeline.costs import correction_factors

ADSLAB, SLAB = CalculationKind.ADSLAB, CalculationKind.SLAB


def test_estimates_are_corrected_by_what_was_spent_kind_by_kind():
    factors = correction_factors([(ADSLAB, 400.0, 100.0)] * 9 + [(SLAB, 5.0, 10.0)] * 99)
    assert 3.3 < factors[ADSLAB] < 4.0
    assert factors[SLAB] == pytest.approx(0.5, rel=0.01)


def test_one_calculation_corrects_half_way():
    assert correction_factors([(ADSLAB, 400.0, 100.0)])[ADSLAB] == pytest.approx(2.0)


def test_a_result_that_cost_nothing_corrects_nothing():
    assert correction_factors([(ADSLAB, 0.0, 100.0)]) == {}
