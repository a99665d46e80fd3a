"""The page that says why: marked words of the deployed model, the nearest labelled examples, and what they are not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.review.reasons import NoReasonError, Reasons
from escalation.review.upkeep import prepare
from escalation.tables import items
from models.bundle import load_bundle
from schemas.errors import InputError
from schemas.examples_config import ExamplesConfig
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import new_sqlite, opened
from tests.support.review_cases import ANNA, actions, in_review, label, says, staffed
from tests.support.review_pages import logged_in
from tests.support.small_runs import write_jsonl

pytestmark = pytest.mark.databases("sqlite")

TEXT = "why is the <b>courier</b> not on time"
ROWS = [
    {"text": "the courier lost the package", "label": "delivery"},
    {"text": "refund the fee on my card", "label": "billing"},
    {"text": TEXT.upper(), "label": "delivery"},
]


@pytest.fixture
def config(tmp_path: Path, tiny_bundle_unchanged: Path) -> ReviewConfig:
    path = write_jsonl(tmp_path / "labelled.jsonl", ROWS)
    bundle = str(tiny_bundle_unchanged)
    return ReviewConfig(bundles=(bundle,), examples=(ExamplesConfig(bundle, str(path)),))


@pytest.fixture
def office(queue: sa.Engine, config: ReviewConfig) -> sa.Engine:
    """Two items of the tiny bundle, one of a bundle that is not here, and one that anna settled."""
    reference = load_bundle(Path(config.bundles[0])).reference
    columns = {"bundle": reference, "text": TEXT, "label": "delivery"}
    rows = [
        in_review("a", **columns),
        in_review("b", **columns | {"document_id": "id-a"}),
        in_review("c", text="my parcel is late"),
        in_review("d", **columns | {"text": "the courier is late", "content_hash": "d"}),
    ]
    staffed(queue, *rows, config=config)
    says(queue, ANNA, "d", label("delivery"))
    says(queue, ANNA, "b", label("delivery"))
    return queue


def test_the_word_that_moved_the_label_is_marked_and_said_not_to_be_a_proof(
    office: sa.Engine, config: ReviewConfig
) -> None:
    client = logged_in(office, "ben", config)
    assert "/items/a/why" in client.get("/items/a").text
    page = client.get("/items/a/why").text
    assert '<mark class="for-3">courier</mark>' in page
    assert "&lt;b&gt;" in page
    assert "neither a proof nor the cause" in page
    assert client.get("/items/a/why").text == page


def test_the_nearest_examples_are_of_the_file_and_of_people_and_never_the_document(
    office: sa.Engine, config: ReviewConfig
) -> None:
    page = logged_in(office, "ben", config).get("/items/a/why").text
    shown = re.findall(r'<p class="excerpt" dir="auto">(.*?)</p>', page)
    assert set(shown) == {"the courier is late", "the courier lost the package", "refund the fee on my card"}
    assert shown[-1] == "refund the fee on my card"
    assert '/items/d">settled by people' in page
    assert "/items/b" not in page  # the same document
    assert "no reason for its label" in page
    assert actions(office, "d")[-1] == "viewed"


def test_an_erased_decision_is_no_example_any_longer(office: sa.Engine, config: ReviewConfig) -> None:
    client = logged_in(office, "ben", config)
    assert "the courier is late" in client.get("/items/a/why").text
    with transaction(office) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "d").values(text=None))
    assert "the courier is late" not in client.get("/items/a/why").text


def test_the_page_says_what_is_not_there(office: sa.Engine, config: ReviewConfig) -> None:
    client = logged_in(office, "ben", config)
    page = client.get("/items/c/why").text
    assert "tickets@0123456789ab, which gave this answer, is not among those" in page
    assert "the courier lost the package" in page  # examples go by the kind of document
    bare = logged_in(office, "ben", ReviewConfig())
    assert "No labelled examples are configured" in bare.get("/items/a/why").text
    with transaction(office) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "a").values(text=None))
    assert "The text was erased." in client.get("/items/a/why").text
    assert "/items/a/why" not in client.get("/items/a").text
    assert client.get("/items/nothing/why").status_code == 404


def test_an_audit_that_is_judged_blind_is_explained_only_once_it_is_settled(
    office: sa.Engine, config: ReviewConfig
) -> None:
    with transaction(office) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "a").values(origin="audit"))
    client = logged_in(office, "ben", config)
    assert "/items/a/why" not in client.get("/items/a").text
    page = client.get("/items/a/why").text
    assert "It is shown once the item is settled." in page
    assert "delivery" not in page
    says(office, ANNA, "a", label("delivery"))
    assert '<mark class="for-3">courier</mark>' in client.get("/items/a/why").text


def test_an_explanation_is_worked_out_once(config: ReviewConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons, reference = Reasons(config), load_bundle(Path(config.bundles[0])).reference
    first = reasons.explanation(reference, TEXT, "delivery")
    monkeypatch.setattr("escalation.review.reasons.explain", None)
    assert reasons.explanation(reference, TEXT, "delivery") is first
    with pytest.raises(TypeError):
        reasons.explanation(reference, TEXT, "billing")


def test_a_text_without_words_is_not_explained(config: ReviewConfig) -> None:
    reasons, reference = Reasons(config), load_bundle(Path(config.bundles[0])).reference
    with pytest.raises(NoReasonError, match="cannot be explained"):
        reasons.explanation(reference, "...", "delivery")


def test_a_server_does_not_begin_with_examples_that_it_cannot_read(config: ReviewConfig, tmp_path: Path) -> None:
    broken = replace(config, examples=(replace(config.examples[0], path=str(tmp_path / "gone.csv")),))
    with opened(new_sqlite(tmp_path)) as engine, pytest.raises(InputError, match=r"gone\.csv: no such file"):
        prepare(engine, broken)
