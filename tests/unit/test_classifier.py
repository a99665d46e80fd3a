from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.bundle import bundle_in_memory, load_bundle
from models.bundle_manifest import FingerprintRow
from models.classifier import Classifier, cached_classifier
from models.machine import open_session
from models.scores import Scores
from schemas.errors import BundleError, ConfigError, RunFailedError
from tests.support.made_up_certificate import write_certified_manifest

WORDS = ["refund", "card", "package", "late", "login", "crash", "screen", "my", "the", "please", ".", "?", "xyzzy", "é"]
TEXTS = [
    "please refund my card",
    "the package is late.",
    "i can not login, password reset?",
    "the app does crash on my phone",
    "refund",
    "the refund of my package is late and the app does crash please help",
    "",
    "xyzzy plugh",
]
LONG_TEXT = "package late " * 40


def write_again(folder: Path, max_tokens: int = 32, fingerprint: Sequence[FingerprintRow] = ()) -> None:
    write_certified_manifest(
        folder,
        name="tiny",
        created="2026-11-22",
        document_type="ticket",
        max_tokens=max_tokens,
        fingerprint=fingerprint,
    )


def change_model(folder: Path, old: bytes, new: bytes) -> None:
    """Edits the graph's bytes, as another exporter would have written them, and writes the manifest again."""
    content = (folder / "model.onnx").read_bytes()
    assert len(old) == len(new)
    assert old in content
    (folder / "model.onnx").write_bytes(content.replace(old, new))
    write_again(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Classifier(load_bundle(folder), threads=1)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_same_bits(one: Scores, other: Scores, rows: Sequence[int] | slice = slice(None)) -> None:
    """Asserts that `one` is `other[rows]`, to the last bit, signs of NaN included."""
    for name in ("label_ids", "confidence", "familiarity", "top_label_ids", "top_confidences", "n_tokens"):
        assert getattr(one, name).tobytes() == getattr(other, name)[rows].tobytes(), name
    assert one.truncated.tolist() == other.truncated[rows].tolist()
    assert one.failed.tolist() == other.failed[rows].tolist()


@pytest.fixture(scope="module")
def classifier(tiny_bundle_unchanged: Path) -> Iterator[Classifier]:
    opened = Classifier(load_bundle(tiny_bundle_unchanged), batch_tokens=64, threads=2)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def classifiers(tiny_bundle_unchanged: Path) -> Iterator[list[Classifier]]:
    bundle = load_bundle(tiny_bundle_unchanged)
    opened = [Classifier(bundle, batch_tokens, threads) for batch_tokens, threads in ((1, 1), (20, 3), (4096, 2))]
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def poisoned(tiny_bundle: Path, model_that_fails_on_poison: bytes) -> Iterator[Classifier]:
    (tiny_bundle / "model.onnx").write_bytes(model_that_fails_on_poison)
    write_again(tiny_bundle)
    opened = Classifier(load_bundle(tiny_bundle), batch_tokens=256, threads=2)
    yield opened
    opened.close()


def test_every_answer_has_its_shape_and_type(classifier: Classifier) -> None:
    scores = classifier.classify(TEXTS)
    n = len(TEXTS)
    assert (scores.label_ids.shape, scores.label_ids.dtype) == ((n,), np.int32)
    assert (scores.confidence.shape, scores.confidence.dtype) == ((n,), np.float32)
    assert (scores.familiarity.shape, scores.familiarity.dtype) == ((n,), np.float32)
    assert (scores.top_label_ids.shape, scores.top_label_ids.dtype) == ((n, 4), np.int32)
    assert (scores.top_confidences.shape, scores.top_confidences.dtype) == ((n, 4), np.float32)
    assert (scores.n_tokens.shape, scores.n_tokens.dtype) == ((n,), np.int32)
    assert (scores.truncated.dtype, scores.failed.dtype) == (np.bool_, np.bool_)


def test_the_tiny_model_knows_its_words(classifier: Classifier) -> None:
    scores = classifier.classify(TEXTS[:4])
    assert [classifier.bundle.labels[i] for i in scores.label_ids] == ["billing", "delivery", "account", "technical"]


def test_answers_are_those_of_the_graph_run_by_hand(classifier: Classifier, tiny_bundle_unchanged: Path) -> None:
    session = ort.InferenceSession(tiny_bundle_unchanged / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(tiny_bundle_unchanged / "tokenizer.json"))
    scores = classifier.classify(TEXTS)
    for row, text in enumerate(TEXTS):
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        logits = session.run(["logits"], {"input_ids": ids})[0][0].astype(float)
        odds = np.exp(logits / 1.25)
        assert scores.confidence[row] == pytest.approx(odds.max() / odds.sum(), abs=1e-5)
        assert scores.familiarity[row] == pytest.approx(np.log(np.exp(logits).sum()), abs=1e-4)
        assert scores.label_ids[row] == logits.argmax()
        assert scores.n_tokens[row] == ids.shape[1]


def test_no_texts_have_no_answers(classifier: Classifier) -> None:
    scores = classifier.classify([])
    assert scores.label_ids.shape == (0,)
    assert scores.top_label_ids.shape == (0, 4)


def test_a_long_text_is_cut_keeps_its_last_special_token_and_says_so(classifier: Classifier) -> None:
    scores = classifier.classify([LONG_TEXT, "package late " * 15])
    assert scores.n_tokens.tolist() == [82, 32]
    assert scores.truncated.tolist() == [True, False]
    # Cut to 32 tokens with the special ones, the long text is the other.
    assert scores.confidence[0] == scores.confidence[1]


def test_the_limits_of_the_tokenizer_file_are_not_used(tiny_bundle: Path) -> None:
    before = Classifier(load_bundle(tiny_bundle), threads=1).classify(TEXTS)
    tokenizer = Tokenizer.from_file(str(tiny_bundle / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tiny_bundle / "tokenizer.json"))
    write_again(tiny_bundle)
    assert_same_bits(Classifier(load_bundle(tiny_bundle), threads=1).classify(TEXTS), before)


texts_of_few_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(texts=texts_of_few_words, data=st.data())
def test_an_answer_depends_on_nothing_but_its_text(
    classifiers: list[Classifier], texts: list[str], data: st.DataObject
) -> None:
    together = classifiers[0].classify(texts)
    for other in classifiers[1:]:
        assert_same_bits(other.classify(texts), together)
    order = data.draw(st.permutations(range(len(texts))))
    part = order[: data.draw(st.integers(1, len(texts)))]
    for one in classifiers:
        assert_same_bits(one.classify([texts[row] for row in part]), together, part)


def test_a_text_alone_gets_the_answer_it_gets_among_a_thousand(classifier: Classifier) -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 30))) for _ in range(1000)]
    together = classifier.classify(texts)
    for row in range(0, 1000, 25):
        assert_same_bits(classifier.classify([texts[row]]), together, [row])


def test_an_embedding_is_that_of_the_graph_and_the_same_among_others(
    classifier: Classifier, tiny_bundle_unchanged: Path
) -> None:
    session = ort.InferenceSession(tiny_bundle_unchanged / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(tiny_bundle_unchanged / "tokenizer.json"))
    found = classifier.embeddings(TEXTS)
    for row, text in enumerate(TEXTS):
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        np.testing.assert_allclose(found[row], session.run(["embedding"], {"input_ids": ids})[0][0], atol=1e-6)
        assert classifier.embeddings([text])[0].tobytes() == found[row].tobytes()


def test_a_text_the_model_fails_on_has_no_embedding_and_spoils_none(poisoned: Classifier) -> None:
    texts = ["please refund my card", "please refund my poison", "please refund my bill"]
    found = poisoned.embeddings(texts)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    assert poisoned.embeddings(texts[::2]).tobytes() == found[::2].tobytes()


def test_a_text_the_model_fails_on_fails_alone(poisoned: Classifier) -> None:
    # All of one length, so that they share a batch.
    texts = [f"please refund my {word}" for word in ("card", "poison", "bill", "fee", "money", "poison", "invoice")]
    scores = poisoned.classify(texts)
    assert scores.failed.tolist() == [False, True, False, False, False, True, False]
    assert set(scores.failures) == {1, 5}
    assert all(reason.startswith("model: ") and "poison" not in reason for reason in scores.failures.values())
    assert scores.label_ids[[1, 5]].tolist() == [-1, -1]
    assert np.isnan(scores.confidence[[1, 5]]).all()
    good = [0, 2, 3, 4, 6]
    assert_same_bits(poisoned.classify([texts[row] for row in good]), scores, good)


def test_a_text_that_cannot_be_tokenized_fails_alone(classifier: Classifier) -> None:
    scores = classifier.classify(["refund", "half a \ud800 pair", "package late"])
    assert scores.failed.tolist() == [False, True, False]
    assert scores.n_tokens[1] == 0
    assert scores.failures[1].startswith("tokenizer: ")
    assert_same_bits(classifier.classify(["refund", "package late"]), scores, [0, 2])


def test_a_model_that_fails_on_everything_ends_the_run_instead_of_blaming_the_documents(
    poisoned: Classifier, tiny_bundle_unchanged: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bundle_unchanged / "tokenizer.json"))
    poisoned._tokenizer.highest_id = tokenizer.token_to_id("poison")  # now even the longest text fails
    with pytest.raises(RunFailedError, match="outside the documents") as caught:
        poisoned.classify(["refund my card", "drink my poison"])
    assert "drink" not in str(caught.value)


def test_a_failed_run_leaves_the_classifier_usable(poisoned: Classifier) -> None:
    highest = poisoned._tokenizer.highest_id
    poisoned._tokenizer.highest_id = 10_000
    with pytest.raises(RunFailedError):
        poisoned.classify(["poison"] * 20)
    poisoned._tokenizer.highest_id = highest
    assert not poisoned.classify(["refund"]).failed.any()


def test_several_threads_may_share_a_classifier(classifier: Classifier) -> None:
    expected = classifier.classify(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: classifier.classify(TEXTS), range(20)):
            assert_same_bits(scores, expected)


@pytest.mark.parametrize(("batch_tokens", "threads"), [(0, 1), (1, -1)])
def test_settings_out_of_range_are_refused(tiny_bundle: Path, batch_tokens: int, threads: int) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Classifier(load_bundle(tiny_bundle), batch_tokens, threads)


def test_a_model_with_another_number_of_labels_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "labels.json").write_text(json.dumps({"labels": [{"name": name} for name in ("billing", "b", "c")]}))
    write_again(tiny_bundle)
    message = refusal(tiny_bundle)
    assert "model.onnx: its logits have 4 columns, labels.json has 3 labels" in message


def test_a_model_that_is_no_graph_or_a_damaged_one_is_refused(tiny_bundle: Path) -> None:
    content = (tiny_bundle / "model.onnx").read_bytes()
    opsets = content[content.index(b"B\x04\n\x00\x10\x11") :]
    for damaged in (opsets, content.replace(b"LayerNormalization", b"LayerNormalisation")):
        (tiny_bundle / "model.onnx").write_bytes(damaged)
        write_again(tiny_bundle)
        assert "model.onnx: ONNX Runtime" in refusal(tiny_bundle)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"input_ids", b"input_idx", "expected the inputs input_ids, found input_idx"),
        (b"logits", b"scores", "expected outputs logits, embedding, found embedding, scores"),
        (b"embedding", b"embeddinx", "found embeddinx, logits"),
    ],
)
def test_a_model_with_other_inputs_or_outputs_is_refused(
    tiny_bundle: Path, old: bytes, new: bytes, expected: str
) -> None:
    change_model(tiny_bundle, old, new)
    assert expected in refusal(tiny_bundle)


def test_a_model_for_another_tokenizer_is_refused(tiny_bundle: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bundle / "tokenizer.json"))
    tokenizer.add_tokens(["unheard"])
    tokenizer.save(str(tiny_bundle / "tokenizer.json"))
    write_again(tiny_bundle)
    assert "does not belong to this tokenizer.json" in refusal(tiny_bundle)


def test_a_manifest_that_promises_more_tokens_than_the_model_reads_is_refused(tiny_bundle: Path) -> None:
    write_again(tiny_bundle, max_tokens=33)
    assert "'max_tokens' in bundle.json is more than it reads" in refusal(tiny_bundle)


def test_a_tokenizer_that_is_none_or_frames_no_text_is_refused(tiny_bundle: Path) -> None:
    tokenizer = json.loads((tiny_bundle / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (tiny_bundle / "tokenizer.json").write_text(json.dumps(tokenizer))
    write_again(tiny_bundle)
    assert "one special token before the text and one after it, found 0" in refusal(tiny_bundle)
    (tiny_bundle / "tokenizer.json").write_text("{}")
    write_again(tiny_bundle)
    assert "tokenizer.json: not a readable tokenizer" in refusal(tiny_bundle)


def test_a_text_the_model_fails_on_makes_no_fingerprint(poisoned: Classifier) -> None:
    with pytest.raises(BundleError, match="fingerprint text 1"):
        poisoned.fingerprint(["refund", "poison"])


def test_a_fingerprint_this_machine_reproduces_is_accepted(tiny_bundle: Path) -> None:
    fingerprint = Classifier(load_bundle(tiny_bundle), threads=1).fingerprint(TEXTS)
    write_again(tiny_bundle, fingerprint=fingerprint)
    assert Classifier(load_bundle(tiny_bundle), threads=1).bundle.fingerprint == fingerprint


@pytest.mark.parametrize(
    "change", [FingerprintRow(TEXTS[0], "delivery", 0.97), FingerprintRow(TEXTS[0], "billing", 0.5)]
)
def test_a_fingerprint_this_machine_does_not_reproduce_is_refused(tiny_bundle: Path, change: FingerprintRow) -> None:
    write_again(tiny_bundle, fingerprint=[change])
    gc.collect()  # the threads of classifiers that nothing holds any longer end now
    threads = threading.active_count()
    message = refusal(tiny_bundle)
    assert "fingerprint text 0" in message
    assert TEXTS[0] not in message
    gc.collect()
    assert threading.active_count() == threads


def test_a_file_changed_between_checking_and_opening_is_refused(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    (tiny_bundle / "model.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Classifier(bundle, threads=1)


def test_a_process_keeps_one_classifier_for_each_bundle_and_setting(tiny_bundle: Path) -> None:
    digest = load_bundle(tiny_bundle).digest
    with ThreadPoolExecutor(4) as pool:
        opened = set(pool.map(lambda _: cached_classifier(str(tiny_bundle), 64, 1, "strict", digest), range(8)))
    assert len(opened) == 1
    assert cached_classifier(str(tiny_bundle), 65, 1, "strict", digest) not in opened


def test_a_bundle_replaced_under_a_running_job_is_refused(tiny_bundle: Path) -> None:
    digest = load_bundle(tiny_bundle).digest
    (tiny_bundle / "card.md").write_text("# Another\n")
    write_again(tiny_bundle)
    with pytest.raises(BundleError, match="replaced while the run was going on"):
        cached_classifier(str(tiny_bundle), 64, 1, "strict", digest)


def test_the_fused_kernel_that_slows_the_model_down_stays_out(tiny_bundle: Path, tmp_path: Path) -> None:
    session = open_session((tiny_bundle / "model.onnx").read_bytes(), 4, "model.onnx")
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_bundle_in_memory_answers_like_one_in_a_folder(tiny_bundle_unchanged: Path, classifier: Classifier) -> None:
    bundle = load_bundle(tiny_bundle_unchanged)
    files = {name: bundle.read(name) for name in ("model.onnx", "tokenizer.json", "labels.json")}
    facts: dict[str, Any] = {
        "name": "tiny",
        "created": "2026-11-22",
        "document_type": "ticket",
        "max_tokens": bundle.max_tokens,
    }
    draft = Classifier(bundle_in_memory(files, **facts), threads=1)
    np.testing.assert_array_equal(draft.logits(TEXTS), classifier.logits(TEXTS))
    assert (draft.bundle.temperature, draft.bundle.policy.min_familiarity) == (1.0, -np.inf)
    assert draft.bundle.policy.route(draft.classify(TEXTS)).accepted.tolist() == [True] * len(TEXTS)
    draft.close()
    whole = Classifier(bundle_in_memory({name: bundle.read(name) for name in bundle.manifest.files}, **facts))
    assert_same_bits(whole.classify(TEXTS), classifier.classify(TEXTS))
    whole.close()
    with pytest.raises(BundleError, match=r"labels\.json: "):
        bundle_in_memory(files | {"labels.json": b"[]"}, **facts)
