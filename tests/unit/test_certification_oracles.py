"""The certificates' bounds and tests against libraries that compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from models.certification import LabelledScores, Target, certify, p_value, p_values, rows_needed
from models.evaluation.intervals import exact_upper_bound
from models.policy import Policy
from tests.support.made_up_scores import made_up_rows

POLICY = Policy(("a", "b", "c", "d"), min_confidence=1.0, min_familiarity=-np.inf, certified=True)


@pytest.mark.parametrize(("errors", "rows"), [(0, 1), (0, 299), (3, 500), (17, 40), (40, 40), (250, 4000)])
def test_p_values_and_bounds_are_those_of_the_binomial_test(errors: int, rows: int) -> None:
    from scipy.stats import binomtest

    for share in (0.005, 0.01, 0.05, 0.4):
        test = binomtest(errors, rows, share, alternative="less")
        assert p_value(errors, rows, share) == pytest.approx(test.pvalue, rel=1e-9)
        assert p_values(np.array([errors]), np.array([rows]), share)[0] == p_value(errors, rows, share)
    high = binomtest(errors, rows, 0.1, alternative="less").proportion_ci(0.95, method="exact").high
    assert exact_upper_bound(errors, rows, 0.05) == pytest.approx(high, rel=1e-9)


def test_as_many_rows_without_an_error_are_needed_as_the_binomial_test_says() -> None:
    from scipy.stats import binomtest

    for share, tail in ((0.01, 0.05), (0.02, 0.05), (0.05, 0.05), (0.01, 0.025), (0.001, 0.05)):
        rows = rows_needed(share, tail)
        assert binomtest(0, rows, share, alternative="less").pvalue <= tail
        assert binomtest(0, rows - 1, share, alternative="less").pvalue > tail
    assert rows_needed(0.01, 0.05) == 299


@pytest.mark.parametrize("max_error", [0.05, 0.08, 0.1])
def test_the_threshold_is_the_last_that_the_fixed_sequence_of_mapie_rejects(max_error: float) -> None:
    control_fwer = pytest.importorskip("mapie.risk_control.fwer_control").control_fwer
    choosing, certifying = made_up_rows(3000, 1), made_up_rows(3000, 2)
    found = certify(POLICY, {}, choosing, certifying, Target(max_error)).proofs[0].threshold

    places = np.linspace(0, 2999, 200).astype(int)
    sequence = np.unique(np.sort(choosing.encoder.confidence)[::-1][places])[::-1]  # the strictest first

    def counted(rows: LabelledScores) -> tuple[np.ndarray, np.ndarray]:
        accepted = rows.encoder.confidence >= sequence[:, None]
        wrong = rows.encoder.label_ids != rows.gold_ids
        return (accepted & wrong).sum(axis=1), accepted.sum(axis=1)

    errors, accepted = counted(choosing)
    start = int(np.argmin(p_values(errors + 0.5, accepted, max_error)))  # where a proof is likeliest
    rejected = control_fwer(p_values(*counted(certifying), max_error)[start:], 0.05, "fixed_sequence")
    assert sequence[start + rejected[-1]] == np.float32(found)
