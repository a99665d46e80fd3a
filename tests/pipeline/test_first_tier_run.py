"""A run whose bundle has a first tier: every row says who answered it, and by which threshold it was accepted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from tests.support.made_up_first_tier import weights, with_first_tier
from tests.support.small_runs import RUN_DATE, classify_arguments, docyard

TEXTS = ["please refund my card", "the parcel did not arrive", "my login does not work", "the app is slow", "hello you"]
COLUMNS = ["document_id", "tier", "route", "route_reason", "threshold", "confidence"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    lines = [{"id": str(n), "text": " ".join(TEXTS[n % 5].split()[n % 3 :])} for n in range(60)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "in.jsonl"


def run(tmp_path: Path, source: Path, bundle: Path, first_tier: str) -> dict[str, dict[str, object]]:
    config = tmp_path / f"{first_tier}.toml"
    config.write_text(
        f"run_date = {RUN_DATE!r}\nwarehouse = {str(tmp_path / first_tier)!r}\n"
        f"[[inputs]]\npaths = [{str(source)!r}]\ndocument_type = 'ticket'\nbundle = {str(bundle)!r}\n"
        f"[classification]\nfirst_tier = {first_tier!r}\n"
    )
    result = docyard("classify", "--config", config)
    assert result.exit_code == 0, result.output
    table = ds.dataset(tmp_path / first_tier / "classifications").to_table(COLUMNS)
    return {row["document_id"]: row for row in table.to_pylist()}


def test_rows_say_who_answered_and_the_encoder_s_rows_are_as_without_a_first_tier(
    tmp_path: Path, source: Path, tiny_bundle: Path
) -> None:
    with_first_tier(tiny_bundle, weights(sure=8.0).to_bytes(), threshold=0.9)
    strict, off = run(tmp_path, source, tiny_bundle, "strict"), run(tmp_path, source, tiny_bundle, "off")
    assert set(strict) == set(off)
    assert {row["tier"] for row in off.values()} == {"encoder"}
    assert {row["tier"] for row in strict.values()} == {"encoder", "first_tier"}
    for name, row in strict.items():
        if row["tier"] == "encoder":
            assert row == off[name]
        else:
            assert (row["route"], row["route_reason"]) == ("accepted", "certain")
            assert row["threshold"] == np.float32(0.9)
            assert row["confidence"] >= row["threshold"]


def test_an_unknown_criterion_is_refused(tmp_path: Path, source: Path, tiny_bundle: Path) -> None:
    (tmp_path / "run.toml").write_text("[classification]\nfirst_tier = 'lax'\n")
    flags = classify_arguments(source, tiny_bundle, tmp_path / "warehouse")
    result = docyard(*flags, "--config", tmp_path / "run.toml")
    assert result.exit_code == 2
    assert (
        "classification.first_tier: expected 'strict', 'equal_average', 'near_average' or 'off', found 'lax'"
        in result.output
    )
