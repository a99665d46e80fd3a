"""Variations of training texts: always the same, around an unchanged concern, in words that no measurement uses."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from benchmarks import edits
from models.training.config import Recipe, Variations
from models.training.recipe import Training
from models.training.variations import NO_VARIATIONS, PHRASES, vary, with_scans, with_variations
from pipelines.sampling.writing import load_phrases
from tests.support.tiny_base import made_up_rows

ROOT = Path(__file__).parents[2]
TEXTS = [f"Where is the parcel number {number} that I am waiting for?" for number in range(300)]
WRAPPED, TYPED = Variations(each=1, wrapped=1.0, slips=0.0), Variations(each=1, wrapped=0.0)


def test_the_same_texts_are_varied_alike_whatever_is_beside_them() -> None:
    together = vary(TEXTS, Variations(each=2))
    assert together == vary(TEXTS, Variations(each=2))
    assert [text for one in TEXTS for text in vary([one], Variations(each=2))] == together
    assert vary(TEXTS, Variations(each=1)) == together[::2]
    assert vary(TEXTS, Variations(each=2, seed=1)) != together
    assert len(set(together)) > 0.95 * len(together)


def test_a_wrapped_concern_stays_as_it_was() -> None:
    for text, varied in zip(TEXTS, vary(TEXTS, WRAPPED), strict=True):
        assert text.lower().rstrip("?") in varied.lower()
        assert len(varied) > len(text)


def test_a_hurried_concern_keeps_most_of_its_letters() -> None:
    changed = 0
    for text, varied in zip(TEXTS, vary(TEXTS, TYPED), strict=True):
        assert abs(len(varied) - len(text)) <= 6
        assert re.findall(r"\d+", varied) == re.findall(r"\d+", text)
        changed += varied != text
    assert changed > 200


def test_letters_mails_replies_and_lines_all_occur() -> None:
    varied = vary(TEXTS, WRAPPED)
    for mark, least in (("subject: ", 5), ("\n> ", 5), ("wrote:", 5), ("\n\n", 60), ("regards", 5)):
        assert sum(mark in text.lower() for text in varied) >= least
    assert sum("\n" not in text for text in varied) > 60


@pytest.mark.parametrize("text", ["?", "ok", "", "ab cd", "\ud800", "日本語のテキスト", "a" * 3000, " \n "])
def test_any_text_can_be_varied(text: str) -> None:
    assert len(vary([text], Variations(each=50))) == 50


def test_a_text_as_ocr_reads_it_loses_some_spaces_and_lines_and_confuses_figures_with_letters() -> None:
    receipt = "\n".join(f"BISCUITS {number} X 1.50 TOTAL 85.00" for number in range(400))
    (read,) = vary([receipt], Variations(scanned=1))
    assert 0 < receipt.count("\n") - read.count("\n") < 30
    assert 0.85 < read.count(" ") / receipt.count(" ") < 0.98
    assert "TOTAL 85.00" in read
    assert "T0TAL" in read
    assert set(read) - set(receipt) <= {"0", "O", "1", "I", "5", "S", "8", "B"}


def test_texts_as_ocr_reads_them_come_behind_the_other_variations_of_their_row() -> None:
    both = vary(TEXTS[:3], Variations(each=2, scanned=1))
    assert [both[place] for place in (0, 1, 3, 4, 6, 7)] == vary(TEXTS[:3], Variations(each=2))
    assert both[2::3] == vary(TEXTS[:3], Variations(scanned=1))
    rows = pd.DataFrame({"text": TEXTS[:3], "label": ["a", "b", "c"]})
    scans = with_scans(rows, Variations(each=2, scanned=1))
    assert scans["text"].tolist() == [*TEXTS[:3], *both[2::3]]
    assert scans["label"].tolist() == ["a", "b", "c"] * 2


def test_variations_follow_the_rows_and_keep_their_columns() -> None:
    rows = pd.DataFrame({"id": ["1", "2"], "text": ["pay my bill", "book a train"], "label": ["bill", "train"]})
    varied = with_variations(rows, Variations(each=2))
    assert varied["id"].tolist() == ["1", "2", "1", "1", "2", "2"]
    assert varied["label"].tolist() == ["bill", "train", "bill", "bill", "train", "train"]
    assert varied["text"].tolist()[2:] == vary(rows["text"].tolist(), Variations(each=2))
    assert with_variations(rows, NO_VARIATIONS) is rows


def test_the_linear_teacher_answers_a_variation_as_its_row(tmp_path: Path) -> None:
    texts, labels = made_up_rows(60)
    varied = vary(texts, Variations(each=2))
    label_ids = np.array([sorted(set(labels)).index(label) for label in labels])
    training = Training(
        Recipe(), tmp_path, [*texts, *varied], np.concatenate([label_ids, np.repeat(label_ids, 2)]), 3, tmp_path,
        n_real=60,
    )  # fmt: skip
    taught = training._for_every_text(training._ask_linear_teacher())
    assert taught.shape == (180, 3)
    assert np.array_equal(taught[60:], np.repeat(taught[:60], 2, axis=0))
    assert len(np.unique(taught[:60].round(4), axis=0)) > 10


def test_no_phrase_is_one_of_those_that_measure() -> None:
    own = {_words(phrase) for phrase in _strings(tomllib.loads(PHRASES.read_text(encoding="utf-8")))}
    measuring = [
        *_strings([load_phrases(name) for name in ("tickets", "writing")]),
        *_strings([tomllib.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "benchmarks").glob("*.toml")]),
        *_strings([value for value in vars(edits).values() if isinstance(value, (tuple, list, dict))]),
    ]
    used = {_words(choice) for phrase in measuring for choice in (phrase, *_choices(phrase))}
    assert {phrase for phrase in own & used if phrase not in _MONTHS_AND_DAYS} == set()
    runs = {run for phrase in used for run in _runs(phrase)}
    assert {phrase: run for phrase in own for run in _runs(phrase) if run in runs} == {}


_MONTHS_AND_DAYS = {name.lower() for key in ("month", "weekday") for name in load_phrases("writing")["values"][key]} | {
    ""
}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_strings, value.values()))
    elif isinstance(value, (list, tuple)):
        yield from itertools.chain.from_iterable(map(_strings, value))


def _words(phrase: str) -> str:
    return " ".join(re.findall(r"\w+", phrase.lower()))


def _choices(phrase: str) -> list[str]:
    """The phrase with the first, and with the second, of each `(a|b)`."""
    return [re.sub(r"\(([^()|]*)\|([^()|]*)[^()]*\)", rf"\{number}", phrase) for number in (1, 2)]


def _runs(phrase: str, length: int = 5) -> set[str]:
    """Every five neighbouring words."""
    words = phrase.split()
    return {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}
