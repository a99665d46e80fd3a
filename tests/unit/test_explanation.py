"""Explanations: the words that moved a label are found, by the deployed model, the same ones every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import load_bundle, write_bundle_manifest
from models.bundle_manifest import ReadingRules
from models.classifier import Classifier
from models.explanation import MAX_PROBES, MAX_TOKENS, explain
from schemas.errors import ConfigError, InputError
from tests.support.small_runs import docyard

PLAIN = "what do i have to do"
QUESTIONS = ("why", "how", "what", "when", "does", "did")
LONG = ". ".join(f"the {word} is not for you on my part" for word in QUESTIONS * 20)


@pytest.fixture(scope="module")
def classifier(tiny_bundle_unchanged: Path) -> Iterator[Classifier]:
    loaded = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield loaded
    loaded.close()


@pytest.mark.parametrize(("word", "label"), [("refund", "billing"), ("courier", "delivery"), ("password", "account")])
@pytest.mark.parametrize("place", range(7))
def test_a_planted_word_is_found_first(classifier: Classifier, word: str, label: str, place: int) -> None:
    words = PLAIN.split()
    text = " ".join([*words[:place], word, *words[place:]])
    found = explain(classifier, text, label)
    span = found.strongest(1)[0]
    assert text[span.start : span.end] == word
    assert [text[span.start : span.end] for span in found.spans] == text.split()


def test_the_weight_of_a_word_is_what_its_absence_takes_from_the_labels_log_odds(classifier: Classifier) -> None:
    found = explain(classifier, "refund the parcel", "billing")
    without = explain(classifier, " the parcel", "billing")
    assert found.spans[0].weight == found.log_odds - without.log_odds > 0
    assert (
        explain(classifier, "refund the parcel").label
        == classifier.bundle.labels[int(classifier.classify(["refund the parcel"], encoder_only=True).label_ids[0])]
    )


def test_a_planted_word_of_a_text_with_more_words_than_probes_is_narrowed_down(tiny_bundle_unchanged: Path) -> None:
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    words = LONG.split()[:600]
    for place in (0, 13, 22):  # the tiny bundle reads 32 tokens and no more
        text = " ".join([*words[:place], "invoice", *words[place:]])
        found = explain(classifier, text, "billing")
        assert found.probes <= MAX_PROBES
        span = found.strongest(1)[0]
        assert "invoice" in text[span.start : span.end]
        assert len(text[span.start : span.end].split()) <= 2
    classifier.close()


def test_all_words_are_in_spans_that_do_not_overlap(classifier: Classifier) -> None:
    found = explain(classifier, LONG, "billing")
    assert all(before.end <= after.start for before, after in zip(found.spans, found.spans[1:], strict=False))
    assert "".join(LONG[span.start : span.end] for span in found.spans).replace(" ", "").replace(
        ".", ""
    ) == LONG.replace(" ", "").replace(".", "")


def test_it_depends_on_nothing_but_the_text_the_label_and_the_bundle(tiny_bundle_unchanged: Path) -> None:
    found = []
    for threads, batch_tokens in ((1, 1), (2, 64), (3, 4096)):
        classifier = Classifier(load_bundle(tiny_bundle_unchanged), batch_tokens=batch_tokens, threads=threads)
        found += [explain(classifier, text) for text in (LONG, PLAIN, "one")]
        classifier.close()
    assert found[:3] == found[3:6] == found[6:]


def test_what_cannot_be_explained_is_refused(classifier: Classifier) -> None:
    with pytest.raises(ConfigError, match="no label 'refunds' in"):
        explain(classifier, "refund", "refunds")
    with pytest.raises(InputError, match="no word"):
        explain(classifier, " ... ")


def test_a_text_that_would_take_too_long_is_refused_and_a_long_one_has_fewer_probes(tiny_bundle: Path) -> None:
    reading = ReadingRules(window_overlap=8)
    bundle = write_bundle_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32, reading=reading
    )
    classifier = Classifier(bundle, threads=1)
    assert explain(classifier, "the parcel is late " * 400).probes == MAX_TOKENS // 1602
    with pytest.raises(InputError, match="4,002 tokens; one of more than 3,640"):
        explain(classifier, "the parcel is late " * 1000)
    classifier.close()


def test_the_command_names_the_words_with_their_places(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("why is the courier not on time", encoding="utf-8")
    arguments = ["explain", str(tiny_bundle_unchanged), "--text-file", str(file), "--label", "delivery"]
    figures = json.loads(docyard(*arguments, "--json").output)
    best = max(figures["spans"], key=lambda span: float(span["weight"]))
    assert (best["text"], best["start"], best["end"]) == ("courier", 11, 18)
    assert (figures["label"], figures["probes"]) == ("delivery", 8)
    assert "courier" in docyard(*arguments).output.splitlines()[1]
    assert docyard(*arguments[:-1], "mail").exit_code == 2
    file.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in docyard(*arguments).output
