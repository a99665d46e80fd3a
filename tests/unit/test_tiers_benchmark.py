"""The comparison of the tiers with the encoder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import tiers
from models.bundle import load_bundle


def test_what_the_first_tier_loses_is_told_apart_from_what_it_accepts_wrongly(
    tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(*values: int) -> np.ndarray:
        return np.array(values, dtype=bool)

    # Four rows in scope and a stranger. The first tier gets one wrong that the encoder had right, and accepts it; by
    # the other criterion it accepts the stranger.
    made_up = {
        "off": tiers.Answers(row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 0), row(0, 0, 0, 0, 0)),
        "strict": tiers.Answers(row(1, 1, 0, 0, 0), row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 0)),
        "equal_average": tiers.Answers(row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 1), row(1, 0, 0, 0, 1)),
    }
    monkeypatch.setattr(tiers, "answers", lambda bundle, criterion, texts, labels: made_up[criterion])
    bundle = load_bundle(tiny_bundle_unchanged)
    label = bundle.labels[0]
    table = tiers.tiers_markdown(bundle, ["a"] * 5, [*[label] * 4, "stranger"]).splitlines()
    assert table[0].startswith("4 rows in scope, 1 strangers")
    strict, equal_average = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[-2:])
    assert strict[:4] == ["strict", "75.0%", "50.00%", "75.00%"]
    assert strict[4].startswith("25.00 [")
    assert strict[5:7] == ["20.00%", "0.00%"]
    assert strict[7].startswith("20.00 [")
    assert strict[8:] == ["0", "0"]
    assert equal_average[1:4] == ["25.0%", "75.00%", "75.00%"]
    assert equal_average[4].startswith("0.00 [")
    assert equal_average[8:] == ["1", "0"]


def test_the_rows_are_answered_by_the_bundle(tiny_bundle_unchanged: Path) -> None:
    texts = ["please refund my card", "the parcel did not arrive", "my login does not work"]
    found = tiers.answers(load_bundle(tiny_bundle_unchanged), "off", texts, ["billing", "delivery", "delivery"])
    assert found.right.tolist() == [True, True, False]
    assert not found.first_tier.any()
