from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from escalation.audits.demotions import find_demotions, vote
from escalation.audits.upkeep import settle_audits
from escalation.clock import now_micros, utc_day
from escalation.database import default_url, reading, transaction
from escalation.outcomes.resolutions import duckdb_sql, publish_resolutions
from escalation.people.rules import Person, RefusalCode
from escalation.review.case import read_case
from escalation.review.upkeep import run_upkeep
from escalation.tables import audit_items, items
from schemas.codes import DemotionVerdict
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import opened
from tests.support.review_cases import ADA, ANNA, BEN, CARO, hire, label, refusal, review_row, says
from tests.support.review_pages import logged_in, send
from tests.support.small_runs import (
    classify_arguments,
    documents,
    docyard,
    published_hashes,
    read_published,
    write_jsonl,
)
from warehouse.folder import FolderWarehouse
from warehouse.register import demoted_labels, read_register, verify_register

LABELS = ("account", "billing", "delivery", "technical")
BROKEN = "billing"


def audit(warehouse: Path, *more: object) -> dict[str, Any]:
    """Six answers of each label are drawn, whatever their share."""
    config = warehouse / "drain.toml"
    config.write_text("[audits]\nper_run = 0\nper_label = 6\n", encoding="utf-8")
    result = docyard("queue", "audit", "--config", config, "--warehouse", warehouse, "--json", *more)
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def audits_of(engine: sa.Engine) -> list[sa.RowMapping]:
    joined = sa.select(items).join(audit_items, audit_items.c.item_key == items.c.item_key)
    with reading(engine) as connection:
        return list(connection.execute(joined.order_by(audit_items.c.turn)).mappings())


def judge_audits(engine: sa.Engine, warehouse: Path) -> None:
    """Anna says what the model said, but for one label, whose answers are all wrong; the upkeep sees to the rest."""
    run_upkeep(engine, ReviewConfig(), now_micros())
    for row in audits_of(engine):
        if row["state"] == "in_review":
            right = LABELS[0] if row["label"] == BROKEN else row["label"]
            says(engine, ANNA, row["item_key"], label(right), now_micros())
    settle_audits(engine, FolderWarehouse(warehouse), now_micros())


def votes(engine: sa.Engine, warehouse: Path, person: Person, verdict: DemotionVerdict) -> None:
    (demotion,) = [each for each in find_demotions(read_register(FolderWarehouse(warehouse))) if each.revoked is None]
    with transaction(engine) as connection:
        vote(connection, person, demotion, verdict, "the audits are right", now_micros())
    settle_audits(engine, FolderWarehouse(warehouse), now_micros())


def statuses(warehouse: Path) -> dict[str | None, str]:
    return {row["label"]: row["status"] for row in audit(warehouse)["audits"]}


@pytest.fixture
def audited(warehouse: Path) -> Iterator[tuple[Path, sa.Engine]]:
    """A warehouse whose audits are judged: one label is always wrong."""
    audit(warehouse)
    with opened(default_url(warehouse)) as engine:
        hire(engine)
        judge_audits(engine, warehouse)
        yield warehouse, engine


def test_a_run_is_drawn_from_once_and_its_answers_go_to_people_with_their_texts(warehouse: Path) -> None:
    (draw,) = audit(warehouse)["draws"]
    assert audit(warehouse)["draws"] == []
    accepted = read_published(warehouse, "classifications").query("route == 'accepted'").set_index("document_id")
    sources = {document["id"]: document["text"] for document in documents(60)}
    with opened(default_url(warehouse)) as engine:
        rows = audits_of(engine)
    assert draw["drawn"] == len(rows) == 24
    assert Counter(row["label"] for row in rows) == dict.fromkeys(LABELS, 6)
    assert {row["document_id"] for row in rows} <= set(accepted.index)
    assert all((row["state"], row["code"], row["text"]) == ("in_review", "audit", sources[row["document_id"]])
               for row in rows)  # fmt: skip
    assert docyard("queue", "requeue", "audit", "--warehouse", warehouse).exit_code == 2  # never to an LLM


def test_whoever_judges_an_audit_is_shown_neither_label_nor_confidence(warehouse: Path) -> None:
    audit(warehouse)
    with opened(default_url(warehouse)) as engine:
        hire(engine, with_password=True)
        run_upkeep(engine, ReviewConfig(), now_micros())
        row = audits_of(engine)[0]
        client, key = logged_in(engine, "anna", clock=now_micros), row["item_key"]
        send(client, f"/items/{key}/claim")
        page, listed, why = (client.get(path).text for path in (f"/items/{key}", "/", f"/items/{key}/why"))
        assert "It is shown once the item is settled" in why
        assert row["text"].split()[0] in page
        assert all(f'value="label:{label}"' in page for label in LABELS)
        for shown in (page, listed):
            assert f"{row['confidence']:.1%}" not in shown
            assert "suggested</span>" not in shown
            assert "<meter" not in shown
        with reading(engine) as connection:
            case = read_case(connection, ANNA, key, now_micros())
        hidden = ("label", "confidence", "candidates")
        assert [case.item[name] for name in hidden] == ["", 0.0, "[]"]
        assert (review_row(engine, key)["suggestion"], review_row(engine, key)["confidence"]) == ("", 0.0)
        other = next(label for label in LABELS if label != row["label"])
        judged = send(client, f"/items/{key}/judge", choice=f"label:{other}", reason="text_says_so", version="1.first")
        assert judged.status_code == 303  # no comment is asked for, which would betray that the model said otherwise
        assert f"{row['confidence']:.1%}" in client.get(f"/items/{key}").text


def test_an_audit_counts_only_with_all_that_were_drawn_before_it(warehouse: Path) -> None:
    audit(warehouse)
    with opened(default_url(warehouse)) as engine:
        hire(engine)
        run_upkeep(engine, ReviewConfig(), now_micros())
        rows = [row for row in audits_of(engine) if row["label"] == BROKEN]
        for row in rows[1:]:
            says(engine, ANNA, row["item_key"], label("account"), now_micros())
        counted = {row["label"]: row["audited"] for row in audit(warehouse)["audits"]}
        assert counted[BROKEN] == 0
        says(engine, ANNA, rows[0]["item_key"], label(BROKEN), now_micros())
    (found,) = [row for row in audit(warehouse)["audits"] if row["label"] == BROKEN]
    assert (found["audited"], found["wrong"]) == (6, 5)


def test_a_broken_label_is_demoted_once_and_the_next_run_escalates_it(
    audited: tuple[Path, sa.Engine], tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    warehouse, _ = audited
    assert statuses(warehouse) == {None: "open", BROKEN: "demoted", **dict.fromkeys(("account", "delivery"), "open"),
                                   "technical": "open"}  # fmt: skip
    (entry,) = read_register(FolderWarehouse(warehouse))
    assert (entry.action, entry.by, entry.details["wrong"]) == ("demote", "docyard audits", 6)
    source = write_jsonl(tmp_path / "next.jsonl", documents(30, "n"))
    arguments = classify_arguments(source, tiny_bundle_unchanged, warehouse, "2026-02-01")
    assert docyard(*arguments).exit_code == 0
    found = read_published(warehouse, "classifications", "2026-02-01").query("label == @BROKEN")
    assert set(found["route_reason"]) == {"demoted"}
    assert set(read_published(warehouse, "escalations", "2026-02-01").query("label == @BROKEN")["document_id"]) == set(
        found["document_id"]
    )


def test_two_people_confirm_and_touched_answers_are_corrected_by_superseding(
    audited: tuple[Path, sa.Engine], tmp_path: Path
) -> None:
    warehouse, engine = audited
    before = published_hashes(warehouse)
    votes(engine, warehouse, ANNA, DemotionVerdict.CONFIRM)
    with refusal(RefusalCode.SAME_PERSON):
        votes(engine, warehouse, ANNA, DemotionVerdict.CONFIRM)
    with refusal(RefusalCode.ROLE):
        votes(engine, warehouse, ADA, DemotionVerdict.CONFIRM)
    assert audit(warehouse)["corrections"] == []
    votes(engine, warehouse, BEN, DemotionVerdict.CONFIRM)
    entry = read_register(FolderWarehouse(warehouse))[-1]
    assert (entry.action, entry.by, entry.details["entry"]) == ("confirm", "anna and ben", 1)

    touched = tmp_path / "touched.parquet"
    (loaded,) = audit(warehouse, "--touched", touched)["corrections"]
    assert loaded["loaded"] == 4  # ten were accepted, six are audited
    assert audit(warehouse)["corrections"] == []
    listed = pq.read_table(touched).to_pandas()
    assert Counter(listed["state"]) == {"settled": 6, "pending": 4}
    with reading(engine) as connection:
        corrections = connection.execute(sa.select(items).where(items.c.origin == "correction")).mappings().all()
    assert {(row["route_reason"], row["code"]) for row in corrections} == {("demoted", "loaded")}

    assert docyard("queue", "to-people", "--warehouse", warehouse).exit_code == 0
    run_upkeep(engine, ReviewConfig(), now_micros())
    for row in corrections:
        says(engine, CARO, row["item_key"], label("delivery", "read again"), now_micros())
    publish_resolutions(engine, FolderWarehouse(warehouse), now_micros())
    with duckdb.connect() as database:
        database.execute(duckdb_sql(FolderWarehouse(warehouse)))
        query = f"SELECT label, decided_by, count(*) FROM decisions WHERE model_label = '{BROKEN}' GROUP BY ALL"
        assert set(database.execute(query).fetchall()) == {("account", "person", 6), ("delivery", "person", 4)}
    assert published_hashes(warehouse) == before


def test_a_revoked_demotion_lifts_and_the_label_is_counted_anew(audited: tuple[Path, sa.Engine]) -> None:
    warehouse, engine = audited
    votes(engine, warehouse, ANNA, DemotionVerdict.REVOKE)
    votes(engine, warehouse, BEN, DemotionVerdict.CONFIRM)
    assert demoted_labels(read_register(FolderWarehouse(warehouse)), "tiny")
    votes(engine, warehouse, CARO, DemotionVerdict.REVOKE)
    assert not demoted_labels(read_register(FolderWarehouse(warehouse)), "tiny")
    (row,) = [row for row in audit(warehouse)["audits"] if row["label"] == BROKEN]
    assert (row["audited"], row["status"]) == (0, "open")
    assert len(read_register(FolderWarehouse(warehouse))) == 2


def test_verdicts_that_a_kill_kept_from_the_register_are_recorded_by_the_next_call_once(
    audited: tuple[Path, sa.Engine],
) -> None:
    warehouse, engine = audited
    (demotion,) = find_demotions(read_register(FolderWarehouse(warehouse)))
    for person in (ANNA, BEN):
        with transaction(engine) as connection:
            vote(connection, person, demotion, DemotionVerdict.CONFIRM, "read again", now_micros())
    with refusal(RefusalCode.NOT_OPEN), transaction(engine) as connection:
        vote(connection, CARO, demotion, DemotionVerdict.REVOKE, "too late", now_micros())
    for _ in range(2):
        audit(warehouse)
        assert [entry.action for entry in read_register(FolderWarehouse(warehouse))] == ["demote", "confirm"]
    assert verify_register(FolderWarehouse(warehouse))


def test_the_table_of_audits_holds_the_bounds_of_the_day(audited: tuple[Path, sa.Engine]) -> None:
    warehouse, _ = audited
    table = pd.read_parquet(warehouse / "audits")
    whole, label_row = table[table["label"].isna()].iloc[0], table[table["label"] == BROKEN].iloc[0]
    assert (whole["audited"], whole["status"]) == (0, "open")  # nothing was drawn among all
    assert (label_row["audited"], label_row["wrong"], label_row["status"]) == (6, 6, "demoted")
    assert label_row["lower"] > label_row["max_error"] == 0.02
    assert label_row["upper"] == 1.0
    assert str(table["as_of"].iloc[0]) == utc_day(now_micros())
    assert f"{BROKEN}: 6 of 6 wrong" in docyard("queue", "report", "--warehouse", warehouse).stdout


def test_a_changed_source_is_named_and_nothing_of_its_run_is_drawn(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source, warehouse = write_jsonl(tmp_path / "a.jsonl", documents(20)), tmp_path / "warehouse"
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, warehouse)).exit_code == 0
    write_jsonl(source, [{"id": f"d{i}", "text": "other words"} for i in range(20)])
    result = docyard("queue", "audit", "--warehouse", warehouse)
    assert result.exit_code == 3
    assert "a.jsonl" in result.stderr
    assert "no longer there as they were classified" in result.stderr
    with opened(default_url(warehouse)) as engine:
        assert audits_of(engine) == []
