"""The benchmark of the confidence: each order gets its own figures, and the oracle's are the best possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.confidence import markdown, measure
from benchmarks.scored import ScoredSet
from models.bundle import load_bundle
from models.certification import LabelledScores
from models.scores import score_logits


def test_only_untouched_rows_of_a_label_count_and_the_better_order_wins(tiny_bundle_unchanged: Path) -> None:
    rng = np.random.default_rng(1)
    scores = score_logits(rng.normal(size=(400, 4)).astype(np.float32), 1.0)
    gold_ids = np.where(rng.random(400) < 0.7, scores.label_ids, (scores.label_ids + 1) % 4)
    right = gold_ids == scores.label_ids
    scores.confidence[:] = np.where(right, 0.7, 0.3) + rng.normal(scale=0.2, size=400)
    gold_ids[::10] = -1
    choosing = np.arange(400) < 100
    found = ScoredSet("made up", load_bundle(tiny_bundle_unchanged), LabelledScores(scores, gold_ids), choosing)
    result = measure(found)
    areas = {name: figures["area"] for name, figures in result["orders"].items()}
    assert result["rows"] == 270
    assert areas["oracle"] < areas["all signals"] < areas["softmax"]
    kept = (~choosing) & (gold_ids >= 0)
    best = right[kept].mean() / 0.95
    assert result["orders"]["oracle"]["coverage_at_error"]["0.05"] == pytest.approx(best, abs=0.01)
    assert markdown({"sets": {"made_up": result}}).count("\n") == 5
