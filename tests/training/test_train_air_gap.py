"""A training on a base model that lies here leaves the machine as little as a run does."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.support.air_gap import LOOPBACK, Watched, left_behind, reaching_out, watch, written_elsewhere
from tests.support.tiny_base import COARSE_PARITY, made_up_rows, write_tiny_base

CONFIG = f"""
name = "mail"
document_type = "mail"
base_model = "base"
max_tokens = 64

[data]
train = ["mail.csv"]

[fine_tuning]
epochs = 1
max_tokens = 32

[policy]
max_error = 0.15
{COARSE_PARITY}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    def training(place: Path, _: bool) -> list[str]:
        texts, labels = made_up_rows(600)
        with (place / "mail.csv").open("w", encoding="utf-8", newline="") as file:
            rows = zip(texts, labels, strict=True)
            csv.writer(file).writerows([["id", "text", "label"], *([n, *row] for n, row in enumerate(rows))])
        write_tiny_base(place / "base")
        (place / "mail.toml").write_text(CONFIG.replace('"base"', f'"{place}/base"'))
        out = ["--data", str(place), "--work", str(place / "work"), "--out", str(place / "bundle")]
        return ["-m", "pipelines.cli", "train", str(place / "mail.toml"), *out]

    return watch(tmp_path_factory.mktemp("trained"), training)


def test_a_training_reaches_nobody_and_looks_up_no_name(trained: Watched) -> None:
    assert (trained.place / "bundle/bundle.json").is_file()
    assert [line for line in trained.audit if not LOOPBACK.search(line)] == []
    if trained.trace is not None:
        assert reaching_out(trained.trace) == []


def test_a_training_writes_nothing_outside_the_folders_that_were_given(trained: Watched) -> None:
    assert left_behind(trained) == []
    if trained.trace is not None:
        allowed = (str(trained.place), str(trained.temporary), str(trained.place.with_name("audit")))
        assert written_elsewhere(trained.trace, str(trained.here), allowed) == []
