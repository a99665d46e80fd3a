from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import ModelBundle, load_bundle
from models.bundle_manifest import ReadingRules
from models.classifier import Classifier
from models.scores import Scores
from models.tokens import TextTokenizer, plan_batches, window_bounds
from tests.support.made_up_certificate import write_certified_manifest

MAX_TOKENS = 32
WORDS = ["refund", "card", "package", "late", "login", "crash", "screen", "my", "the", "please", "."]


def with_windows(folder: Path, overlap: int | None) -> ModelBundle:
    """The tiny bundle, its manifest written anew."""
    reading = ReadingRules(window_overlap=overlap)
    return write_certified_manifest(
        folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=MAX_TOKENS, reading=reading
    )


def windowed(folder: Path, overlap: int | None, batch_tokens: int = 256, threads: int = 2) -> Classifier:
    return Classifier(with_windows(folder, overlap), batch_tokens, threads)


def words(n: int, seed: int = 0) -> str:
    """A text of as many tokens."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


def same_bits(one: Scores, other: Scores, rows: list[int]) -> bool:
    names = ("label_ids", "confidence", "familiarity", "top_label_ids", "top_confidences", "n_tokens", "n_windows")
    return all(getattr(one, name).tobytes() == getattr(other, name)[rows].tobytes() for name in names)


@pytest.fixture
def classifier(tiny_bundle: Path) -> Iterator[Classifier]:
    opened = windowed(tiny_bundle, 10)
    yield opened
    opened.close()


@given(st.data())
def test_windows_hold_every_token_overlap_as_asked_and_are_the_fewest_of_nearly_one_length(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 60))
    overlap = data.draw(st.integers(0, most // 2))
    n_tokens = data.draw(st.integers(most + 1, 2000))
    bounds = window_bounds(n_tokens, most, overlap)
    assert (bounds[0][0], bounds[-1][1]) == (0, n_tokens)
    assert all(stop - start == overlap for (_, stop), (start, _) in pairwise(bounds))
    lengths = [stop - start for start, stop in bounds]
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1
    assert (len(bounds) - 1) * (most - overlap) + overlap < n_tokens  # one window less would not do


@pytest.mark.parametrize("overlap", [0, 7, 15])
def test_every_token_of_a_text_is_read_in_its_order(tiny_bundle_unchanged: Path, overlap: int) -> None:
    content = (tiny_bundle_unchanged / "tokenizer.json").read_bytes()
    whole = TextTokenizer(content, 10**6, None, "tokenizer.json")
    cut = TextTokenizer(content, MAX_TOKENS, overlap, "tokenizer.json")
    for n_tokens in (0, 1, 29, 30, 31, 32, 33, 59, 60, 61, 200, 1000):
        (expected,) = whole.tokenize([words(n_tokens)]).windows
        tokenized = cut.tokenize([words(n_tokens)])
        assert tokenized.n_tokens.tolist() == [n_tokens + 2] == [len(expected)]
        assert tokenized.n_windows.tolist() == [len(tokenized.windows)]
        assert all(len(window) <= MAX_TOKENS for window in tokenized.windows)
        assert all(window[[0, -1]].tolist() == cut.frame.tolist() for window in tokenized.windows)
        contents = [window[1:-1].tolist() for window in tokenized.windows]
        joined = contents[0] + [token for content in contents[1:] for token in content[overlap:]]
        assert joined == expected[1:-1].tolist()


def test_a_long_text_is_answered_by_the_mean_over_its_windows(classifier: Classifier) -> None:
    text = words(75)  # windows of 30 tokens that share 10: 4 of them, 26 or 27 tokens each
    bounds = window_bounds(75, 30, 10)
    windows = [" ".join(text.split()[start:stop]) for start, stop in bounds]
    whole = classifier.classify([text])
    assert (whole.n_tokens.tolist(), whole.n_windows.tolist(), whole.truncated.tolist()) == ([77], [4], [False])
    expected = classifier.logits(windows).mean(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(classifier.logits([text])[0], expected)


def test_a_text_that_fits_is_answered_as_without_windows(classifier: Classifier, tiny_bundle_unchanged: Path) -> None:
    texts = ["", "please refund my card", words(30)]
    plain = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    scores = classifier.classify(texts)
    assert same_bits(scores, plain.classify(texts), [0, 1, 2])
    assert scores.n_windows.tolist() == [1, 1, 1]


def test_without_an_overlap_a_long_text_is_cut_and_says_so(tiny_bundle: Path) -> None:
    scores = windowed(tiny_bundle, None).classify([words(30), words(31)])
    assert scores.truncated.tolist() == [False, True]
    assert scores.n_windows.tolist() == [1, 1]
    assert scores.n_tokens.tolist() == [32, 33]


def test_an_overlap_of_nothing_is_not_no_windows(tiny_bundle: Path) -> None:
    scores = windowed(tiny_bundle, 0).classify([words(60), words(61)])
    assert scores.truncated.tolist() == [False, False]
    assert scores.n_windows.tolist() == [2, 3]


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory, tiny_bundle_unchanged: Path) -> Iterator[list[Classifier]]:
    folder = tmp_path_factory.mktemp("windowed")
    for file in tiny_bundle_unchanged.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    opened = [windowed(folder, 15, batch_tokens, threads) for batch_tokens, threads in ((1, 1), (100, 3), (4096, 2))]
    yield opened
    for one in opened:
        one.close()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_the_answer_to_a_long_text_depends_on_no_batch_and_no_neighbour(
    classifiers: list[Classifier], sizes: list[int]
) -> None:
    texts = [words(size, seed) for seed, size in enumerate(sizes)]
    first, *others = (one.classify(texts) for one in classifiers)
    assert all(same_bits(other, first, list(range(len(texts)))) for other in others)
    backwards = classifiers[1].classify(texts[::-1])
    assert same_bits(backwards, first, list(range(len(texts)))[::-1])
    assert same_bits(classifiers[2].classify(texts[-1:]), first, [len(texts) - 1])


def test_a_window_that_fails_fails_its_document_alone(tiny_bundle: Path, model_that_fails_on_poison: bytes) -> None:
    (tiny_bundle / "model.onnx").write_bytes(model_that_fails_on_poison)
    texts = [words(200, 1), f"{words(90, 2)} poison {words(90, 3)} poison", words(200, 4), "poison", ""]
    opened = windowed(tiny_bundle, 5)
    scores = opened.classify(texts)
    opened.close()
    assert scores.failed.tolist() == [False, True, False, True, False]
    assert set(scores.failures) == {1, 3}
    assert all(reason.startswith("model: ") for reason in scores.failures.values())
    assert np.isnan(scores.confidence).tolist() == scores.failed.tolist()


def test_a_text_of_a_mebibyte_is_read_whole(classifier: Classifier) -> None:
    text = words(200_000)
    scores = classifier.classify([text])
    assert scores.n_tokens.tolist() == [200_002]
    assert scores.n_windows.tolist() == [len(window_bounds(200_000, 30, 10))]
    assert not scores.failed.any()


@given(
    lengths=st.lists(st.integers(0, 9), max_size=60).map(lambda values: np.array(values, dtype=np.int32)),
    batch_tokens=st.integers(1, 64),
)
def test_batches_hold_every_row_once_are_of_one_length_and_never_lonely_without_need(
    lengths: np.ndarray, batch_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_tokens)
    assert sorted(row for rows in batches for row in rows.tolist()) == np.flatnonzero(lengths).tolist()
    for rows in batches:
        length = int(lengths[rows[0]])
        assert (lengths[rows] == length).all()
        assert len(rows) > 1 or (lengths == length).sum() == 1
        assert len(rows) * length <= max(batch_tokens, 3 * length)
    assert [lengths[rows[0]] for rows in batches] == sorted((lengths[rows[0]] for rows in batches), reverse=True)
