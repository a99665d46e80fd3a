"""The benchmark's own arithmetic, and its turns with the one contender that needs nothing further."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.contenders import Job
from benchmarks.report import REFERENCES, markdown, summary
from benchmarks.rounds import Measured, run_rounds
from benchmarks.settings import DEFAULT, TextSet, read_settings, read_texts
from models.bundle import load_bundle
from schemas.errors import ConfigError, RunFailedError

TEXTS = ("please refund my card", "the parcel did not arrive", "my login does not work")


def job(bundle: Path) -> Job:
    return Job(str(bundle), "", "", load_bundle(bundle).labels, 32, 1)


def test_a_ratio_is_that_of_two_times_of_the_same_round() -> None:
    ours = Measured((1.0, 2.0, 1.0), ("a", "b"), 10)
    theirs = Measured((4.0, 4.0, 3.0), ("a", "c"), 20)
    figures = summary({"docyard": ours, REFERENCES[0]: theirs}, ["b", ""], 7.0, 1)
    own, other = figures["contenders"]
    assert (own["texts_per_second"], other["texts_per_second"]) == (2.0, 0.5)
    assert own["times_as_fast_as"] == {REFERENCES[0]: [3.0, 2.0, 4.0]}
    assert (own["accuracy"], own["same_label_as_docyard"], other["same_label_as_docyard"]) == (0.0, 1.0, 0.5)
    about = {"processor": "made up", "features": ["VNNI"], "date": "2026-11-22", "versions": {"torch": "1"}}
    table = markdown({"surroundings": about, "sets": {"tickets": figures}})
    assert "| docyard | 2 [1, 2] | 3.00 [2.00, 4.00] | 0.00% | 100.00% |" in table
    assert f"| {REFERENCES[0]} | 0 [0, 1] |  | 0.00% | 50.00% |" in table


def test_docyard_labels_the_texts_in_every_round(tiny_bundle_unchanged: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:1]
    measured = run_rounds({"docyard": job(tiny_bundle_unchanged)}, TEXTS, 2, cores)["docyard"]
    assert measured.labels == ("billing", "delivery", "account")
    assert len(measured.seconds) == 2
    assert min(measured.seconds) > 0
    assert measured.memory_bytes > 10_000_000


def test_a_contender_that_fails_ends_the_benchmark(tiny_bundle: Path) -> None:
    broken = job(tiny_bundle)
    (tiny_bundle / "model.onnx").unlink()
    with pytest.raises(RunFailedError, match="docyard: gave no answer"):
        run_rounds({"docyard": broken}, TEXTS, 1, sorted(os.sched_getaffinity(0))[:1])


def test_the_settings_that_are_shipped_can_be_read() -> None:
    settings = read_settings(DEFAULT)
    assert settings.rounds >= 5
    assert len({text_set.name for text_set in settings.sets}) == len(settings.sets) == 4


def test_texts_are_spread_over_the_file(tmp_path: Path) -> None:
    pd.DataFrame({"text": list("abcde"), "label": list("vwxyz")}).to_parquet(tmp_path / "validation.parquet")
    text_set = TextSet("s", "validation.parquet", "b", "n", rows=3)
    texts = read_texts(text_set, tmp_path)
    assert (texts.texts, texts.labels) == (("a", "c", "e"), ("v", "x", "z"))
    with pytest.raises(ConfigError, match="no such file; name the folder of the labelled data"):
        read_texts(text_set, tmp_path / "elsewhere")
