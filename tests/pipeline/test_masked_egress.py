"""Only masked text and labels leave for an LLM: from a drain, in a batch, in a qualification; or nothing leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import reading
from escalation.llm.batches import export_batch
from escalation.llm.calls import DrainContext
from escalation.llm.prompt import build_prompt
from escalation.masking.masker import Masker
from escalation.report import estimate
from escalation.tables import egress
from schemas.drain_config import MaskingConfig
from tests.support.scripted_llm import scripted_llm
from tests.support.small_drains import codes_of, drain, drain_config, put_items, rows_of

pytestmark = pytest.mark.databases("sqlite")

SECRETS = {
    "document_id": "anna.tanaka-4111111111111111",
    "metadata": '{"from": "anna.tanaka@example.org"}',
    "source_uri": "letters/anna.tanaka@example.org.txt",
    "parent_id": "anna.tanaka's letter",
}
TEXT = "ref 2026 5165 6363 4350 8603 of anna.tanaka%40example.org"


def assert_masked(sent: bytes) -> None:
    assert b"ref 2026 [CARD_1] of [EMAIL_1]" in sent
    for part in (b"anna", b"tanaka", b"letters/", b"8603", b"4111", b"5165"):
        assert part not in sent


def test_nothing_of_an_item_leaves_but_its_masked_text_and_its_candidates(queue: sa.Engine) -> None:
    with scripted_llm() as llm:
        put_items(queue, 1, text=TEXT, **SECRETS)
        drain(queue, drain_config(llm.url))
    assert_masked(llm.requests()[0].body)
    assert rows_of(queue, egress)[0]["masked_counts"] == '{"card": 1, "email": 1}'


def test_no_file_of_a_batch_holds_or_is_named_after_more_than_that(queue: sa.Engine, tmp_path: Path) -> None:
    config = drain_config("https://llm.example/v1")
    put_items(queue, 1, text=TEXT, **SECRETS)
    done = export_batch(DrainContext.configured(queue, config, "batch"), tmp_path / "out")
    assert done.requests == 1
    for path in done.files:
        assert_masked(path.read_bytes() + path.name.encode())


def test_a_number_on_the_border_of_what_is_sent_is_masked_whole() -> None:
    llm = drain_config("https://llm.example/v1").llm
    for most in range(20, 60):
        masked = Masker(MaskingConfig()).mask("padding " * 3 + "4111 1111 1111 1111 behind it", most)
        body = build_prompt(llm, ["a", "b"], masked.text, "seed").body
        assert b"4111" not in body
        assert b"1111" not in body


def test_where_names_cannot_be_recognised_nothing_leaves_and_people_decide(
    queue: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_names.py").write_text("def find(text):\n    raise RuntimeError(text)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with scripted_llm() as llm:
        put_items(queue, 2, text=TEXT)
        config = drain_config(llm.url, masking=MaskingConfig(names="broken_names:find"))
        with reading(queue) as connection:
            planned = estimate(connection, config)
        drain(queue, config)
        assert llm.log == []
    assert (planned["items"], planned["not_asked"]) == (0, 2)
    assert set(codes_of(queue).values()) == {"cannot_be_sent"}
