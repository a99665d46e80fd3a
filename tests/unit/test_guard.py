"""The guard: keeps the false alarms it was asked for, defers sorts it never saw, and judges each text by itself."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.guard import FILE_NAME, THRESHOLD, Guard, GuardWeights, parse_guard
from models.training.guard import Answered, fit_guard, guard_file
from models.training.strangers import made_up_strangers
from schemas.errors import BundleError, ConfigError
from tests.support.made_up_certificate import write_certified_manifest

TINY = Path(__file__).parents[1] / "tiny_bundle"
N_PIECES, N_LABELS, WIDTH, PAIRS = 400, 4, 16, 256
BILLING = [
    "refund",
    "payment",
    "card",
    "charge",
    "invoice",
    "fee",
    "bill",
    "bank",
    "parcel",
    "courier",
    "login",
    "password",
]
OPENING = ["please help with my", "why was the", "i have a", "can you", "what is the", "when does my"]


def made_up(sort: int, n_texts: int, salt: int = 0) -> Answered:
    """Texts of a sort: its own pieces, half of them shared with all sorts; scores and embeddings that hardly tell."""
    rng = np.random.default_rng([sort, salt])
    own = np.arange(50 * sort, 50 * sort + 50)
    token_ids = [
        np.where(rng.random(length) < 0.5, rng.choice(own, length), rng.integers(350, 400, length)).astype(np.int32)
        for length in rng.integers(6, 30, n_texts)
    ]
    embedding = rng.standard_normal((n_texts, WIDTH)).astype(np.float32)
    embedding[:, 0] += 1.0 if sort == 0 else -0.2
    logits = rng.standard_normal((n_texts, N_LABELS)).astype(np.float32)
    return Answered(token_ids, [logits], embedding)


@functools.cache
def fitted(**changes: float) -> GuardWeights:
    others = {str(sort): made_up(sort, 100) for sort in (1, 2, 3)}
    return fit_guard(made_up(0, 500).token_ids, made_up(0, 400, 1), others, N_PIECES, n_pairs=PAIRS, **changes)


def familiarity(weights: GuardWeights, texts: Answered) -> npt.NDArray[np.float32]:
    return Guard(weights, N_PIECES).familiarity(texts.token_ids, texts.logits[0], texts.embedding)


def test_about_the_asked_share_of_fresh_familiar_texts_is_lost() -> None:
    for asked in (0.05, 0.2):
        lost = (familiarity(fitted(false_alarms=asked), made_up(0, 2000, 2)) < THRESHOLD).mean()
        assert abs(lost - asked) < 0.03


def test_texts_of_a_sort_it_never_saw_are_unfamiliar() -> None:
    weights = fitted()
    for unseen in (4, 5, 6):
        assert (familiarity(weights, made_up(unseen, 500)) >= THRESHOLD).mean() < 0.05
    assert np.median(familiarity(weights, made_up(0, 500, 3))) == pytest.approx(1.0, abs=0.1)


def test_a_length_that_no_familiar_text_has_counts_against_a_text() -> None:
    own = made_up(0, 200, 4)
    lines = Answered([ids[:2] for ids in own.token_ids], own.logits, own.embedding)
    weights = fit_guard(
        made_up(0, 500).token_ids, made_up(0, 400, 1), {"1": made_up(1, 100), "lines": lines}, N_PIECES, n_pairs=PAIRS
    )
    unseen = made_up(0, 200, 5)
    short = Answered([ids[2:4] for ids in unseen.token_ids], unseen.logits, unseen.embedding)
    assert (familiarity(weights, short) >= THRESHOLD).mean() < 0.5 * (familiarity(fitted(), short) >= THRESHOLD).mean()


def test_the_same_texts_give_the_same_file_and_it_reads_back() -> None:
    weights = fitted()
    content = weights.to_bytes()
    assert fitted.__wrapped__().to_bytes() == content
    read = parse_guard(content, N_PIECES, WIDTH, 1, "here")
    for item in dataclasses.fields(GuardWeights):
        assert np.array_equal(getattr(read, item.name), getattr(weights, item.name))


def test_a_familiarity_does_not_depend_on_the_texts_beside_it() -> None:
    weights, texts = fitted(), made_up(0, 60, 5)
    together = familiarity(weights, texts)
    for row in range(60):
        alone = Answered([texts.token_ids[row]], [texts.logits[0][row : row + 1]], texts.embedding[row : row + 1])
        assert familiarity(weights, alone)[0] == together[row]
    none = Answered([], [np.empty((0, N_LABELS), np.float32)], np.empty((0, WIDTH), np.float32))
    assert familiarity(weights, none).shape == (0,)


def test_a_text_that_the_model_failed_on_has_no_familiarity() -> None:
    texts = made_up(0, 2)
    texts.logits[0][1] = np.nan
    assert np.isnan(familiarity(fitted(), texts)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"odds": np.zeros(3, np.int8)}, "expected 'odds' as int8"),
        (
            {"known": np.zeros(N_PIECES + 3, np.int8), "odds": np.zeros(N_PIECES + 3, np.int8)},
            "a power of two of pairs",
        ),
        ({"direction": np.full(WIDTH, np.nan, np.float32)}, "'direction' holds values that are not finite"),
        ({"spread": np.zeros((1, 8))}, "a spread, scale or weight below"),
        ({"usual": np.zeros((2, 3, 8))}, "expected 'usual' as float64"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(changes: dict[str, npt.NDArray[np.generic]], problem: str) -> None:
    content = dataclasses.replace(fitted(), **changes).to_bytes()
    with pytest.raises(BundleError, match=problem):
        parse_guard(content, N_PIECES, WIDTH, 1, "here")


def test_a_guard_of_two_tiers_serves_a_policy_without_the_first_but_not_the_other_way_round() -> None:
    own, others = made_up(0, 50), {"1": made_up(1, 50)}
    both = fit_guard(own.token_ids, dataclasses.replace(own, logits=own.logits * 2), {
        name: dataclasses.replace(group, logits=group.logits * 2) for name, group in others.items()
    }, N_PIECES, n_pairs=PAIRS)  # fmt: skip
    assert len(parse_guard(both.to_bytes(), N_PIECES, WIDTH, 1, "here").scale) == 2
    with pytest.raises(BundleError, match="expected 'usual'"):
        parse_guard(fitted().to_bytes(), N_PIECES, WIDTH, 2, "here")


def test_a_spoilt_file_is_refused() -> None:
    content = fitted().to_bytes()
    for spoilt in (b"", b"not a zip", content[:-100], content[:200] + bytes(50) + content[250:]):
        with pytest.raises(BundleError, match="not readable"):
            parse_guard(spoilt, N_PIECES, WIDTH, 1, "here")


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 8 validation rows"):
        fit_guard([], made_up(0, 3), {"1": made_up(1, 9)}, N_PIECES)
    with pytest.raises(ConfigError, match="at least 8 texts of a source"):
        guard_file(load_bundle(TINY), ["a"], ["a"] * 9, {"few": ["b"]})


def own_texts(n_texts: int, salt: int) -> list[str]:
    rng = np.random.default_rng(salt)
    return [f"{rng.choice(OPENING)} {' '.join(rng.choice(BILLING, 3))}?" for _ in range(n_texts)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(TINY, folder)
    content = guard_file(load_bundle(TINY), own_texts(300, 1), own_texts(100, 2), {}, n_pairs=PAIRS)
    (folder / FILE_NAME).write_bytes(content)
    return write_certified_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)


def test_a_bundle_with_a_guard_knows_its_own_sort(guarded: ModelBundle) -> None:
    classifier = Classifier(guarded, threads=1)
    own, others = own_texts(200, 3), ["Der Zug nach Leipzig hat heute Verspätung", "x = [n for n in range(9)]"]
    known = classifier.classify(own).familiarity
    assert (known >= THRESHOLD).mean() > 0.85
    assert (classifier.classify(others).familiarity < THRESHOLD).all()
    one_by_one = np.concatenate([classifier.classify([text]).familiarity for text in own[:20]])
    assert np.array_equal(one_by_one, known[:20])
    classifier.close()


def test_a_guard_leaves_labels_and_confidences_as_they_are(guarded: ModelBundle) -> None:
    with_guard, without = Classifier(guarded, threads=1), Classifier(load_bundle(TINY), threads=1)
    scores, plain = with_guard.classify(own_texts(50, 4)), without.classify(own_texts(50, 4))
    assert np.array_equal(scores.top_label_ids, plain.top_label_ids)
    assert np.array_equal(scores.confidence, plain.confidence)
    assert not np.array_equal(scores.familiarity, plain.familiarity)
    with_guard.close()
    without.close()


def test_a_guard_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    (folder / FILE_NAME).write_bytes(fitted().to_bytes())
    with pytest.raises(BundleError, match="guard"):
        Classifier(
            write_certified_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)
        )


def test_made_up_strangers_are_the_same_every_time() -> None:
    texts = own_texts(30, 5)
    found = made_up_strangers(texts, 20)
    assert found == made_up_strangers(texts, 20)
    assert all(len(made) == 20 and all(made) for made in found.values())
