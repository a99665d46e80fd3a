"""Kinds: each document gets one, or none, from its own text only; a damaged bundle of kinds is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.kind import CHARACTERS, NO_KIND, KindModel, KindPolicy, groups, load_kinds, write_kinds
from models.words import Words
from schemas.errors import BundleError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models/bundles/kinds"
TEXTS = {
    "ticket": "I still have not received my new card, can you tell me when it will arrive?",
    "receipt": "CORNER CAFE\n2 Espresso 5.00\n1 Croissant 2.40\nSubtotal 7.40\nGST 0.44\nTotal 7.84\nCash 10.00",
    "contract": "The Licensee shall not assign this Agreement without the prior written consent of the Licensor, and "
    "any attempted assignment in violation of this Section shall be null and void. This Agreement shall be governed by "
    "the laws of the State of Delaware.",
    "transaction": "city taxis ltd | 14.20 | VZ | Childrens Home Oakleigh | People",
    "card_payment": "11:02 Bauer and Sons grocery_net USD 23.90 cardholder Salem OR pop 9100 age 37 merchant distance "
    "61 km",
    "letter": "14 Rowan Road\nLeeds\n\n3 May 2019\n\nDear Mrs Finch,\n\nI regret to inform you that I shall not be "
    "able to attend the annual dinner of the gardening society. My wife and I thank the committee for its kind "
    "invitation, and we wish our friends a most enjoyable evening in the old town hall.\n\nYours sincerely,\n"
    "Harold Stone",
}
STRANGERS = (
    "import os\n\ndef main():\n    for name in os.listdir('.'):\n        print(name)\n",
    "Ingredients:\n- 3 eggs\n- 200 g sugar\n- 150 g flour\n\nMethod:\n1. Whisk the eggs with the sugar until pale.\n"
    "2. Fold in the flour.\n3. Bake for forty minutes at 180 degrees and leave to cool on a rack.",
    "Der Zug nach Hamburg fährt heute von Gleis sieben, und alle Reisenden müssen dort umsteigen.",
)


@pytest.fixture(scope="module")
def shipped() -> KindModel:
    return load_kinds(SHIPPED)


def made_up(**changes: object) -> KindModel:
    rng = np.random.default_rng(3)
    words = Words(
        weights=rng.integers(-127, 128, (64, 3)).astype(np.int8),
        scale=np.full(3, 0.05, dtype=np.float32),
        bias=np.array([0, 0, 0.4], dtype=np.float32),
        rarity=rng.integers(1, 200, 64).astype(np.uint8),
    )
    policy = KindPolicy(
        temperature=1.0, min_probability={"letter": 0.5, "ticket": 0.5}, min_doubtful=0.2, certificate={}
    )
    return KindModel(("letter", "ticket"), words, dataclasses.replace(policy, **changes))  # type: ignore[arg-type]


def written(folder: Path, model: KindModel) -> KindModel:
    return write_kinds(
        folder, model, name="kinds", created="2026-11-29", card="# Card\n", training={}, fingerprint=["a text", "no"]
    )


def replace_file(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    values = json.loads((folder / "bundle.json").read_text())
    values["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "bundle.json").write_text(json.dumps(values))


def test_each_kind_is_found_without_doubt_and_strangers_are_of_none(shipped: KindModel) -> None:
    answers = shipped.detect([*TEXTS.values(), *STRANGERS])
    found = [shipped.kinds[kind_id] if kind_id >= 0 else "none" for kind_id in answers.kind_ids]
    assert found == [*TEXTS, *["none"] * len(STRANGERS)]
    assert not answers.doubtful.any()
    assert ((answers.probability >= 0) & (answers.probability <= 1)).all()


@pytest.mark.parametrize("text", ["", " \n", "-----", "20261129", "aaaaaaaaaaaaaaaaaaaaaaaa", "Page 2 of 7"])
def test_what_is_too_short_to_be_of_a_kind_is_of_none(shipped: KindModel, text: str) -> None:
    assert shipped.detect([text]).kind_ids.tolist() == [NO_KIND]


def test_a_mail_about_a_concern_is_a_ticket_though_it_greets_like_a_letter(shipped: KindModel) -> None:
    mail = f"Dear support team,\n\n{TEXTS['ticket']}\n\nKind regards,\nMary Cole"
    answers = shipped.detect([mail])
    assert shipped.kinds[answers.kind_ids[0]] == "ticket"
    assert not answers.doubtful[0]


def test_a_formal_letter_about_a_concern_is_a_ticket_and_another_one_of_no_kind(shipped: KindModel) -> None:
    concern = f"Dear Customer Services,\n\n{TEXTS['ticket']}\n\nYours faithfully,\nA. Dale"
    answers = shipped.detect([concern, TEXTS["letter"]], set(TEXTS) - {"letter"})
    assert answers.kind_ids.tolist() == [shipped.kinds.index("ticket"), NO_KIND]
    assert not answers.doubtful.any()


def test_an_answer_depends_on_its_own_text_only(shipped: KindModel) -> None:
    texts = [*TEXTS.values(), "", " \n\t", "\ud800 lone", *STRANGERS] * 12  # more than are read at once
    together = shipped.probabilities(texts)
    alone = np.concatenate([shipped.probabilities([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    assert shipped.detect([]).kind_ids.shape == (0,)


def test_case_white_space_figures_and_what_stands_behind_the_beginning_make_no_difference() -> None:
    np.testing.assert_array_equal(groups("Total  12.30\n"), groups("tOTAL\t 98.76"))
    long = "word " * CHARACTERS
    np.testing.assert_array_equal(groups(long), groups(long + "more"))
    assert len(groups("")) == 0
    assert len(groups("ab")) == 2  # a space is at each end


def test_a_document_is_doubtful_where_its_kind_is_not_likeliest_of_all_or_below_its_threshold() -> None:
    texts = list(TEXTS.values())
    free = made_up(min_doubtful=0.0, min_probability={"letter": 0.0, "ticket": 0.0})
    chances = free.probabilities(texts)
    answers = free.detect(texts)
    np.testing.assert_array_equal(answers.doubtful, chances[:, 2] > chances[:, :2].max(axis=1))
    strict = made_up(min_doubtful=0.0, min_probability={"letter": 1.0, "ticket": 1.0}).detect(texts)
    assert strict.doubtful.all()
    np.testing.assert_array_equal(strict.kind_ids, chances[:, :2].argmax(axis=1))


def test_a_document_is_of_no_kind_only_where_none_is_sure_or_likely_enough_for_doubt() -> None:
    texts = [*TEXTS.values(), *STRANGERS]
    least = {"letter": 0.42, "ticket": 0.42}
    chances = made_up().probabilities(texts)
    sure = (chances.argmax(axis=1) < 2) & (chances.max(axis=1) >= 0.42)
    assert 0 < sure.sum() < len(texts)
    answers = made_up(min_doubtful=1.0, min_probability=least).detect(texts)
    np.testing.assert_array_equal(answers.kind_ids == NO_KIND, ~sure)
    assert not answers.doubtful.any()
    assert (made_up(min_doubtful=0.0).detect(texts).kind_ids != NO_KIND).all()


def test_a_document_of_a_kind_without_a_bundle_is_in_doubt_between_the_others_or_of_none() -> None:
    texts = [*TEXTS.values(), *STRANGERS]
    model = made_up(min_doubtful=0.2)
    chances = model.probabilities(texts)
    tickets = chances.argmax(axis=1) == 1  # as if these had no bundle
    likely = chances[:, 0] >= 0.2
    assert (tickets & likely).any()
    assert (tickets & ~likely).any()
    answers = model.detect(texts, {"letter"})
    np.testing.assert_array_equal(answers.kind_ids[tickets], np.where(likely, 0, NO_KIND)[tickets])
    np.testing.assert_array_equal(answers.doubtful[tickets], likely[tickets])
    rest = answers.kind_ids == NO_KIND
    np.testing.assert_allclose(answers.probability[rest], 1 - chances[rest, 0], atol=1e-6)


def test_a_written_bundle_is_the_same_twice_and_answers_alike(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", made_up()), written(tmp_path / "b", made_up())
    assert first.digest == second.digest
    assert first.reference == f"kinds@{first.digest[:12]}"
    texts = list(TEXTS.values())
    np.testing.assert_array_equal(first.probabilities(texts), made_up().probabilities(texts))


def test_a_bundle_of_labels_is_no_bundle_of_kinds_nor_the_other_way_round() -> None:
    with pytest.raises(BundleError, match="expected a bundle of kinds of format 'kinds 1', found 2"):
        load_kinds(ROOT / "models/bundles/fraud")
    with pytest.raises(BundleError, match="expected bundle format 2, found 'kinds 1'"):
        load_bundle(SHIPPED)


@pytest.mark.parametrize("name", ["words.npz", "policy.json", "card.md"])
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, made_up())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{name}: changed"):
        load_kinds(tmp_path)


def test_a_missing_a_further_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        load_kinds(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"bundle\.json: missing"):
        load_kinds(tmp_path)
    written(tmp_path, made_up())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="not listed"):
        load_kinds(tmp_path)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "words.npz").unlink()
    with pytest.raises(BundleError, match=r"listed in bundle\.json, but missing"):
        load_kinds(tmp_path)


def test_thresholds_of_other_kinds_and_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a threshold of each of letter, ticket, found those of letter"):
        written(tmp_path / "a", made_up(min_probability={"letter": 0.5}))
    written(tmp_path / "b", made_up())
    few = dataclasses.replace(made_up().words, weights=np.ones((64, 2), np.int8), scale=np.ones(2), bias=np.ones(2))
    replace_file(tmp_path / "b", "words.npz", few.to_bytes())
    with pytest.raises(BundleError, match=r"expected 'weights' of shape \(64, 3\), found \(64, 2\)"):
        load_kinds(tmp_path / "b")


def test_a_machine_that_answers_the_fingerprint_otherwise_is_refused(tmp_path: Path) -> None:
    written(tmp_path, made_up())
    path = tmp_path / "bundle.json"
    values = json.loads(path.read_text())
    values["fingerprint"][1]["probability"] = 0.999
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match="this machine answers fingerprint text 1 with"):
        load_kinds(tmp_path)


def test_the_shipped_bundle_records_its_proof_and_stays_small(shipped: KindModel, tmp_path: Path) -> None:
    proof = shipped.policy.certificate["wrong_of_undoubted"]
    assert proof["rows"] > 2000
    assert proof["at_most"] < 0.01
    assert set(shipped.policy.certificate["kinds"]) == set(shipped.kinds)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 130_000
    shutil.copytree(SHIPPED, tmp_path / "copy")
    assert load_kinds(tmp_path / "copy").digest == shipped.digest
