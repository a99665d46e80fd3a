from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.items import reclaim_expired
from escalation.llm.backends import backend_name
from escalation.llm.batches import ImportedBatch, export_batch, import_batch, name_finished
from escalation.llm.budget import Price
from escalation.llm.calls import DrainContext
from escalation.tables import calls, items, spend
from schemas.drain_config import DrainConfig
from schemas.errors import ConfigError, EndpointError, InputError
from tests.support.scripted_llm import Request, ScriptedLlm, scripted_llm
from tests.support.small_drains import codes_of, drain, drain_config, put_items, qualify, rows_of, with_cap

pytestmark = pytest.mark.databases("sqlite")

CONFIG = drain_config("https://llm.example/v1")


def context_of(queue: sa.Engine, config: DrainConfig = CONFIG) -> DrainContext:
    return DrainContext.configured(queue, config, "batch")


def export(queue: sa.Engine, folder: Path, config: DrainConfig = CONFIG, **bounds: Any) -> list[dict[str, Any]]:
    done = export_batch(context_of(queue, config), folder, **bounds)
    lines = [json.loads(line) for path in done.files for line in path.read_bytes().splitlines()]
    assert len(lines) == done.requests
    return lines


def answer(line: dict[str, Any]) -> dict[str, Any]:
    request = Request(json.dumps(line["body"]).encode(), {})
    body = ScriptedLlm().completion(request)
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.databases("sqlite", "postgresql")
def test_a_batch_goes_out_and_comes_back(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 5)
    qualify(queue, backend_name(CONFIG.llm))
    lines = export(queue, tmp_path / "out")
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "out", *(tmp_path / "out").iterdir())} == {0}
    assert set(codes_of(queue).values()) == {"in_batch"}
    for line in lines:
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert len(line["custom_id"]) == 64
        assert line["body"]["model"] == CONFIG.llm.model
    found = import_batch(context_of(queue), [write(tmp_path / "in.jsonl", [answer(line) for line in lines])])
    assert found == ImportedBatch(answered=5)
    assert set(codes_of(queue).values()) == {"llm_vote"}
    with reading(queue) as connection:
        assert verify_chain(connection) is None


def test_answers_may_come_shuffled_in_parts_with_errors_and_twice(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 8)
    lines = export(queue, tmp_path / "out")
    answers = [answer(line) for line in lines]
    answers[0] = {"custom_id": lines[0]["custom_id"], "response": None, "error": {"code": "batch_expired"}}
    answers[1]["response"]["status_code"] = 400
    answers[2]["response"]["body"]["choices"][0]["message"]["content"] = "Z"
    random.Random(3).shuffle(answers)
    first = write(tmp_path / "1.jsonl", [*answers[:4], "not JSON\n", {"custom_id": "0" * 64, "error": {"code": "x"}}])
    second = write(tmp_path / "2.jsonl", answers[2:])
    import_batch(context_of(queue), [first])
    before = rows_of(queue, calls)
    again = import_batch(context_of(queue), [first])
    assert (again.known, again.unknown, again.unreadable) == (4, 1, 1)
    assert rows_of(queue, calls) == before
    import_batch(context_of(queue), [second])
    assert import_batch(context_of(queue), [first, second]) == ImportedBatch(known=10, unknown=1, unreadable=1)
    codes = sorted(codes_of(queue).values())
    assert codes == ["backend_unqualified"] * 5 + ["request_rejected", "retry_invalid_answer", "retry_server_error"]
    ledger = sum(row["nanos"] for row in rows_of(queue, spend))
    assert ledger == sum(row["cost_nanos"] for row in rows_of(queue, calls))


def test_a_batch_costs_half_and_keeps_the_cap(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 20)
    lines = export(queue, tmp_path, with_cap(CONFIG, 0.006))
    assert 0 < len(lines) < 20
    assert sorted(set(codes_of(queue).values())) == ["in_batch", "over_budget"]
    [day] = rows_of(queue, spend)
    assert day["nanos"] <= 6_000_000
    [first, *_] = rows_of(queue, calls)
    full = Price.configured(CONFIG)
    assert full is not None
    body = len(json.dumps(lines[0]["body"], ensure_ascii=False))
    assert first["reserved_nanos"] == pytest.approx(full.highest(body, 1) / 2, rel=0.02)


def test_files_keep_the_bounds_of_the_interface(
    queue: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_items(queue, 15)
    monkeypatch.setattr("escalation.llm.batches.MAX_REQUESTS", 4)
    export(queue, tmp_path / "few", max_items=9)
    assert [len(path.read_bytes().splitlines()) for path in sorted((tmp_path / "few").iterdir())] == [4, 4, 1]
    monkeypatch.setattr("escalation.llm.batches.MAX_BYTES", 3000)
    export(queue, tmp_path / "small")
    sizes = [path.stat().st_size for path in (tmp_path / "small").iterdir() if path.suffix == ".jsonl"]
    assert len(sizes) > 1
    assert max(sizes) <= 3000


def test_items_with_the_same_prompt_share_one_line(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 3, text="the same", content_hash="the same")
    lines = export(queue, tmp_path / "out")
    assert len(lines) == 1
    import_batch(context_of(queue), [write(tmp_path / "in.jsonl", [answer(lines[0])])])
    with scripted_llm() as llm:
        # Another place under the same name of the backend: nobody is asked there.
        assert llm.url
        drain(queue, CONFIG)
        assert llm.log == []
    assert set(codes_of(queue).values()) == {"backend_unqualified"}


def test_an_export_that_was_killed_before_its_files_got_their_names_is_finished_by_the_next(
    queue: sa.Engine, tmp_path: Path
) -> None:
    put_items(queue, 2)
    done = export_batch(context_of(queue), tmp_path)
    [path] = done.files
    content = path.read_bytes()
    path.rename(path.with_name(f".{path.name}.part"))
    name_finished(queue, tmp_path)
    assert path.read_bytes() == content


def test_an_item_is_free_again_when_its_batch_does_not_come_back_and_a_late_answer_is_kept(
    queue: sa.Engine, tmp_path: Path
) -> None:
    put_items(queue, 1)
    context = context_of(queue)
    lines = export(queue, tmp_path / "out")
    day_later = context.clock() + 27 * 3600 * 1_000_000
    with transaction(queue) as connection:
        reclaim_expired(connection, day_later, max_losses=1)
    assert set(codes_of(queue).values()) == {"lease_expired"}
    found = import_batch(context, [write(tmp_path / "in.jsonl", [answer(lines[0])])])
    assert found.answered == 1
    assert [row["status"] for row in rows_of(queue, calls)] == ["answered"]
    with transaction(queue) as connection:
        connection.execute(sa.update(items).values(not_before=0))
    drain(queue, CONFIG)  # reaches no endpoint: the answer is here
    assert set(codes_of(queue).values()) == {"backend_unqualified"}


def test_the_id_of_a_line_is_the_hash_of_its_prompt(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 1)
    [path] = export_batch(context_of(queue), tmp_path).files
    line = path.read_bytes().rstrip(b"\n")
    body = line.split(b', "body": ', 1)[1][:-1]
    assert json.loads(line)["custom_id"] == hashlib.sha256(b"1\n" + body).hexdigest()


def test_what_cannot_be_a_batch_is_refused(queue: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no batches"):
        export_batch(context_of(queue, DrainConfig()), tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        import_batch(context_of(queue), [tmp_path / "missing.jsonl"])


def test_the_request_file_and_an_empty_file_are_refused(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 2)
    [requests] = export_batch(context_of(queue), tmp_path).files
    with pytest.raises(InputError, match=r"jsonl:1: is a request of a batch, not an answer"):
        import_batch(context_of(queue), [requests])
    with pytest.raises(InputError, match="is empty"):
        import_batch(context_of(queue), [write(tmp_path / "empty.jsonl", ["\n"])])
    assert set(codes_of(queue).values()) == {"in_batch"}


def test_lines_of_another_queue_and_of_a_file_that_was_cut_off_are_complained_of(
    queue: sa.Engine, tmp_path: Path
) -> None:
    put_items(queue, 2)
    lines = export(queue, tmp_path / "out")
    cut = json.dumps(answer(lines[1]))[:-20]
    found = import_batch(context_of(queue), [write(tmp_path / "cut.jsonl", [answer(lines[0]), cut])])
    assert (found.answered, found.unreadable) == (1, 1)
    assert "get the whole file" in found.complaint()
    others = [{**answer(lines[0]), "custom_id": name} for name in ("0" * 64, "request-1", "\x00")]
    found = import_batch(context_of(queue), [write(tmp_path / "other.jsonl", others)])
    assert found == ImportedBatch(unknown=3)
    assert "belong to no request of this queue" in found.complaint()
    again = import_batch(context_of(queue), [write(tmp_path / "whole.jsonl", [answer(line) for line in lines])])
    assert (again, again.complaint()) == (ImportedBatch(answered=1, known=1), "")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"answer": ' + "9" * 5000 + "}"])
def test_an_answer_that_breaks_readers_leaves_the_lines_after_it_to_be_imported(
    queue: sa.Engine, tmp_path: Path, content: str
) -> None:
    config = replace(CONFIG, llm=replace(CONFIG.llm, answer="schema"))
    put_items(queue, 3)
    answers = [answer(line) for line in export(queue, tmp_path / "out", config)]
    answers[0]["response"]["body"]["choices"][0]["message"]["content"] = content
    found = import_batch(context_of(queue, config), [write(tmp_path / "in.jsonl", answers)])
    assert found == ImportedBatch(answered=2, refused=1)
    assert sorted(codes_of(queue).values()) == ["backend_unqualified"] * 2 + ["retry_invalid_answer"]


@pytest.mark.parametrize("status", ["1e400", "1" + "0" * 400, "-1", "true", '"200"', "null", "[]"])
def test_a_status_that_is_none_leaves_the_lines_after_it_to_be_imported(
    queue: sa.Engine, tmp_path: Path, status: str
) -> None:
    put_items(queue, 3)
    answers = [answer(line) for line in export(queue, tmp_path / "out")]
    broken = json.dumps(answers[0]).replace('"status_code": 200', f'"status_code": {status}') + "\n"
    found = import_batch(context_of(queue), [write(tmp_path / "in.jsonl", [broken, *answers[1:]])])
    assert found == ImportedBatch(answered=2, failed=1)
    assert sorted(codes_of(queue).values()) == ["backend_unqualified"] * 2 + ["retry_server_error"]


def test_what_was_refused_before_a_file_that_cannot_be_read_does_not_stay_leased(
    queue: sa.Engine, tmp_path: Path
) -> None:
    put_items(queue, 2)
    answers = [answer(line) for line in export(queue, tmp_path / "out")]
    answers[1]["response"] = {"status_code": 400, "body": {"error": {"message": "no"}}}
    with pytest.raises(InputError, match="cannot be read"):
        import_batch(context_of(queue), [write(tmp_path / "in.jsonl", answers), tmp_path / "missing.jsonl"])
    assert sorted(codes_of(queue).values()) == ["backend_unqualified", "request_rejected"]


def test_a_batch_whose_every_request_is_rejected_gives_its_items_back_and_says_why(
    queue: sa.Engine, tmp_path: Path
) -> None:
    put_items(queue, 3)
    said = {"status_code": 400, "body": {"error": {"message": "use max_completion_tokens"}}}
    errors = [{"custom_id": line["custom_id"], "response": said, "error": None} for line in export(queue, tmp_path)]
    with pytest.raises(EndpointError, match=r"first 3 calls.*llm.max_tokens_field.*use max_completion_tokens"):
        import_batch(context_of(queue), [write(tmp_path / "in.jsonl", errors)])
    assert set(codes_of(queue).values()) == {"handed_back"}
    assert {row["attempts"] for row in rows_of(queue)} == {0}
    assert {row["words"] for row in rows_of(queue, calls)} == {"use max_completion_tokens"}


def test_a_quota_that_runs_out_in_a_batch_is_nobodys_document(queue: sa.Engine, tmp_path: Path) -> None:
    put_items(queue, 3)
    answers = [answer(line) for line in export(queue, tmp_path)]
    answers[0]["response"] = {"status_code": 429, "body": {"error": {"code": "insufficient_quota"}}}
    with pytest.raises(EndpointError, match="quota"):
        import_batch(context_of(queue), [write(tmp_path / "in.jsonl", answers)])
    assert sorted(codes_of(queue).values()) == ["backend_unqualified"] * 2 + ["handed_back"]
