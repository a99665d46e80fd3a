"""The queue's tables, with their indexes and the rules that the database itself keeps, for SQLite and PostgreSQL.

Times are microseconds since 1970, UTC; money is in billionths of the currency; lists and objects are JSON text.
Whoever changes a table raises VERSION.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Double, ForeignKey, Integer, Table, Text
from sqlalchemy.sql.elements import KeyedColumnElement

VERSION = 5

metadata = sa.MetaData()


def _required(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]


def _index(
    name: str, *columns: KeyedColumnElement[Any] | sa.UnaryExpression[Any], where: str = "", unique: bool = False
) -> None:
    """An index of the columns' table; `where` makes it partial."""
    only = sa.text(where) if where else None
    sa.Index(name, *columns, unique=unique, sqlite_where=only, postgresql_where=only)


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    info={"row": "the version of the tables"},
)

items = Table(
    "items",
    metadata,
    Column("item_key", Text, primary_key=True),
    *_required(Text, "run_date", "document_type", "document_id", "content_hash", "bundle", "run_id"),
    Column("origin", Text, nullable=False),  # escalation, audit, correction
    Column("text", Text),  # null once it was erased
    Column("label", Text, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("candidates", Text, nullable=False),  # [[label, confidence], …], best first
    Column("route_reason", Text, nullable=False),
    *_required(Double, "threshold", "familiarity"),
    Column("tier", Text, nullable=False),
    Column("n_tokens", Integer, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("parent_id", Text),
    Column("parent_start", Integer),
    Column("parent_end", Integer),
    Column("received_at", BigInteger),
    Column("metadata", Text),
    Column("source_uri", Text, nullable=False),
    Column("text_source", Text, nullable=False),
    Column("media_type", Text),  # of the document's bytes; null where the input gave the text
    Column("content_sha256", Text),  # of the document's bytes
    Column("container_id", Text),  # the mail, archive or packet that it came in
    Column("pages", Integer),  # of the file that it is in; null where it has none
    Column("first_page", Integer),  # that the text stands on, from 1
    Column("last_page", Integer),
    Column("ocr_confidence", Double),
    Column("proposed_cuts", Text),  # [[page, probability], …], where another document may begin; null where nowhere
    *_required(BigInteger, "source_offset", "loaded_at"),
    Column("priority", Double, nullable=False),
    *_required(Text, "state", "code"),
    *_required(BigInteger, "state_at", "not_before"),
    Column("attempts", Integer, nullable=False),  # calls that gave no valid answer
    Column("refusals", Integer, nullable=False),  # those of them that gave an invalid one
    Column("losses", Integer, nullable=False),  # workers that vanished while they held it
    Column("lease_owner", Text),
    Column("lease_token", Text),
    Column("lease_until", BigInteger),
    Column("call_id", Text),  # the call whose answer it rests on
    Column("vote_label", Text),
    Column("vote_confidence", Double),
    Column("settled_label", Text),
    Column("settled_by", Text),
    Column("settled_at", BigInteger),
    info={"row": "a document in the queue: what was published of it, its state, its lease, what was voted and decided"},
)

_index("items_by_turn", items.c.state, items.c.priority.desc(), items.c.item_key)
_index("items_by_lease", items.c.lease_until, where="lease_until IS NOT NULL")
_index("items_by_partition", items.c.run_date, items.c.document_type)
_index("items_by_document", items.c.document_id)
_index("items_by_content", items.c.content_hash)
_index("items_by_parent", items.c.parent_id, items.c.parent_start, where="parent_id IS NOT NULL")
_index("items_settled_alike", items.c.document_type, items.c.label, items.c.settled_at, where="state = 'settled'")
_index("items_by_settling", items.c.settled_at, items.c.item_key, where="state = 'settled'")
# The items whose decision can be reused, and those that bar its reuse because they are judged anew.
_index(
    "items_decided_by_people",
    *(items.c.document_type, items.c.document_id, items.c.content_hash),
    where="code IN ('person_decided', 'reopened')",
)

audit_draws = Table(
    "audit_draws",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("document_type", Text, primary_key=True),
    *_required(Text, "run_date", "bundle"),
    *_required(BigInteger, "n_accepted", "n_drawn"),
    Column("n_labels", Integer, nullable=False),  # of the bundle: the bounds hold for all of them together
    Column("max_error", Double),  # certified; null where the bundle has no certificate
    Column("confidence", Double, nullable=False),
    Column("drawn_at", BigInteger, nullable=False),
    info={"row": "a partition of a run, from which accepted answers were drawn for audits"},
)

audit_items = Table(
    "audit_items",
    metadata,
    Column("item_key", Text, ForeignKey("items.item_key"), primary_key=True),
    *_required(Text, "run_id", "document_type"),
    Column("turn", Text, nullable=False),  # the place in the draw, a hash
    Column("at_random", Boolean, nullable=False),  # drawn among all accepted answers, not only among those of its label
    Column("inclusion", Double, nullable=False),  # probability of being drawn, given its label
    info={"row": "an accepted answer that was drawn for an audit"},
)

demotion_votes = Table(
    "demotion_votes",
    metadata,
    Column("number", Integer, primary_key=True),  # of the demotion in the warehouse's register
    Column("person", Text, primary_key=True),
    *_required(Text, "verdict", "reason"),
    Column("at", BigInteger, nullable=False),
    info={"row": "one person's verdict on the demotion of a label"},
)

calls = Table(
    "calls",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("item_key", Text, ForeignKey("items.item_key")),  # null in a qualification
    Column("purpose", Text, nullable=False),  # drain, batch, qualify
    *_required(Text, "prompt_hash", "prompt_version", "backend"),
    Column("options", Text, nullable=False),  # {letter: label}, "" for none of the candidates
    *_required(Text, "status", "worker"),
    Column("batch_id", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("spend_day", Text, nullable=False),
    Column("reserved_nanos", BigInteger),  # null where the price is unknown
    Column("cost_nanos", BigInteger),  # as reserved until it is known better
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("http_status", Integer),
    Column("error", Text),
    Column("answer", Text),  # a label, or "" for none of the candidates
    Column("scores", Text),  # {label: probability}, "" for none of the candidates
    Column("words", Text),  # the answer's own, cut; null once erased
    Column("setup", Text),  # a hash of what all requests of a backend have in common, the key included
    info={"row": "a call to an LLM, written before it is made"},
)

# Nobody asks while the same is being asked, or was answered.
_index(
    "calls_asked_once", calls.c.prompt_hash, calls.c.backend, where="status IN ('reserved', 'answered')", unique=True
)
_index("calls_under_way", calls.c.status, where="status = 'reserved'")
_index("calls_by_item", calls.c.item_key)
_index("calls_by_batch", calls.c.batch_id, where="batch_id IS NOT NULL")

egress = Table(
    "egress",
    metadata,
    Column("call_id", Text, ForeignKey("calls.call_id"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    *_required(Text, "endpoint", "body_sha256"),
    Column("body_bytes", Integer, nullable=False),
    Column("masking", Text, nullable=False),
    Column("masked_counts", Text, nullable=False),  # {kind: how many}
    Column("examples", Text, nullable=False),  # [hash of the text, …] of the labelled examples in it
    info={"row": "a request that left the machine"},
)

spend = Table(
    "spend",
    metadata,
    Column("day", Text, primary_key=True),
    Column("nanos", BigInteger, nullable=False),
    info={"row": "a UTC day, and what its calls have cost, reservations included"},
)

loads = Table(
    "loads",
    metadata,
    Column("run_date", Text, primary_key=True),
    Column("document_type", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    *_required(Integer, "n_escalated", "n_new", "n_withdrawn"),
    info={"row": "a partition, and the run it was last loaded from"},
)

qualifications = Table(
    "qualifications",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("prompt_version", Text, primary_key=True),
    Column("bundle", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("data_sha256", Text, nullable=False),
    *_required(Integer, "n", "small_correct", "combined_correct"),
    *_required(Double, "gain", "gain_low", "gain_high", "weight"),
    Column("min_confidence", Double),  # null: it settles nothing
    *_required(Double, "coverage", "max_error"),
    info={"row": "what a backend's vote has shown"},
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("backend", Text, nullable=False),
    Column("n_calls", Integer, nullable=False),
    Column("files", Text, nullable=False),
    info={"row": "an export"},
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    *_required(Text, "actor", "action"),
    Column("item_key", Text),
    *_required(Text, "details", "prev_hash", "hash"),
    info={"row": "an event of the audit trail"},
)

_index("events_by_item", events.c.item_key, where="item_key IS NOT NULL")

# Against accidents. Whoever may change the schema can drop these rules; the hash chain is what finds that out.
_APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER events_keep_their_words BEFORE UPDATE ON events"
        " BEGIN SELECT RAISE(ABORT, 'events are never changed'); END",
        "CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'events are never changed or deleted'; END $$",
        "CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_events()",
    ),
}
for _dialect, _statements in _APPEND_ONLY.items():
    for _statement in _statements:
        _rule = sa.DDL(_statement)  # type: ignore[no-untyped-call]
        sa.event.listen(events, "after_create", _rule.execute_if(dialect=_dialect))

chain_head = Table(
    "chain_head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    info={"row": "the one row with the end of the trail"},
)

_empty = sa.DDL("INSERT INTO chain_head (id, seq, hash) VALUES (1, 0, '')")  # type: ignore[no-untyped-call]
sa.event.listen(chain_head, "after_create", _empty)

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("password_hash", Text),  # null where a proxy vouches for the person
    Column("active", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    info={"row": "an account; never deleted"},
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("name", Text, ForeignKey("people.name"), nullable=False),
    *_required(BigInteger, "began_at", "seen_at"),
    info={"row": "a person who is logged in"},
)

form_key = Table(
    "form_key",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("secret", Text, nullable=False),  # makes the tokens of forms
    info={"row": "the one key with which forms are bound to the person they were shown to"},
)

log_in_failures = Table(
    "log_in_failures",
    metadata,
    Column("failure_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("name_sha256", Text, nullable=False),  # people type passwords into the wrong field
    Column("client", Text, nullable=False),
    info={"row": "a failed log-in that still counts"},
)

_index("log_in_failures_by_name", log_in_failures.c.name_sha256, log_in_failures.c.at)
_index("log_in_failures_by_client", log_in_failures.c.client, log_in_failures.c.at)

labels = Table(
    "labels",
    metadata,
    Column("document_type", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("origin", Text, nullable=False),  # model, or adopted
    info={"row": "a label that people may give, from a model or adopted"},
)

reviews = Table(
    "reviews",
    metadata,
    Column("item_key", Text, ForeignKey("items.item_key"), primary_key=True),
    Column("cycle", Integer, nullable=False),  # from 1; more where an item came back
    Column("document_type", Text, nullable=False),
    Column("code", Text, nullable=False),  # the reason the item reached people
    Column("suggestion", Text, nullable=False),  # of the combined vote, else of the small model
    Column("confidence", Double, nullable=False),  # of that suggestion
    Column("stage", Text, nullable=False),
    Column("four_eyes", Text, nullable=False),  # label, sample, or ""
    Column("urgency", Double, nullable=False),  # the item's priority, and much more once it is overdue
    *_required(BigInteger, "opened_at", "due_at"),
    Column("overdue_at", BigInteger),
    Column("notified_at", BigInteger),
    Column("deferred_until", BigInteger, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", BigInteger),
    Column("first_by", Text),
    Column("second_by", Text),
    Column("closed_at", BigInteger),
    info={"row": "an item with people: its stage, its claim, its due time"},
)

_urgent_first = reviews.c.urgency.desc(), reviews.c.item_key
_index("reviews_by_urgency", *_urgent_first, where="closed_at IS NULL")
_index("reviews_by_age", reviews.c.opened_at, reviews.c.item_key, where="closed_at IS NULL")
_index("reviews_by_confidence", reviews.c.confidence, reviews.c.item_key, where="closed_at IS NULL")
_index(
    "reviews_by_kind",
    *(reviews.c.document_type, reviews.c.code, reviews.c.stage, reviews.c.overdue_at),
    where="closed_at IS NULL",
)
_index("reviews_by_suggestion", reviews.c.suggestion, where="closed_at IS NULL")
_index("reviews_by_stage", reviews.c.stage, *_urgent_first, where="closed_at IS NULL")
_index("reviews_late", *_urgent_first, where="closed_at IS NULL AND overdue_at IS NOT NULL")
_index("reviews_put_off", *_urgent_first, where="closed_at IS NULL AND deferred_until > 0")
_index("reviews_by_due", reviews.c.due_at, where="closed_at IS NULL AND overdue_at IS NULL")
_index("reviews_by_notice", reviews.c.overdue_at, where="overdue_at IS NOT NULL AND notified_at IS NULL")
_index("reviews_by_claim", reviews.c.claimed_by, where="claimed_by IS NOT NULL")
_index("reviews_by_end", reviews.c.closed_at.desc(), reviews.c.item_key, where="closed_at IS NOT NULL")

judgements = Table(
    "judgements",
    metadata,
    Column("judgement_id", Text, primary_key=True),
    Column("item_key", Text, ForeignKey("items.item_key"), nullable=False),
    Column("cycle", Integer, nullable=False),
    *_required(Text, "stage", "person", "kind", "label", "suggestion", "reason"),
    Column("comment", Text),  # null where there is none, or once it was erased
    Column("comment_key", Text),  # hashes the comment in the audit trail; erased with it
    Column("source", Text, nullable=False),  # page, or the annotation it was imported from
    Column("at", BigInteger, nullable=False),
    # The rules of four eyes hold here even against a defect above: one judgement per stage, one per person.
    sa.UniqueConstraint("item_key", "cycle", "stage"),
    sa.UniqueConstraint("item_key", "cycle", "person"),
    info={"row": "what one person said of an item"},
)

_index("judgements_taken_once", judgements.c.source, where="source <> 'page'", unique=True)

reopenings = Table(
    "reopenings",
    metadata,
    Column("item_key", Text, ForeignKey("items.item_key"), primary_key=True),
    Column("cycle", Integer, primary_key=True),  # that was over
    Column("person", Text, nullable=False),
    Column("comment", Text),  # null once it was erased
    Column("comment_key", Text),
    Column("settled_label", Text, nullable=False),  # the label that held until the item is settled again
    Column("settled_by", Text, nullable=False),
    *_required(BigInteger, "settled_at", "at"),
    info={"row": "a settled item that was sent back: what it was settled as, and why not"},
)

reused_decisions = Table(
    "reused_decisions",
    metadata,
    Column("item_key", Text, ForeignKey("items.item_key"), primary_key=True),
    Column("cycle", Integer, primary_key=True),  # of the item that was settled so
    Column("rests_on", Text, ForeignKey("items.item_key"), nullable=False),  # the item that people judged
    Column("rests_on_cycle", Integer, nullable=False),
    *_required(Text, "label", "decided_by"),
    *_required(BigInteger, "decided_at", "at"),
    info={"row": "an item that was settled by an earlier decision"},
)

_index("reused_decisions_by_source", reused_decisions.c.rests_on)

taxonomy = Table(
    "taxonomy",
    metadata,
    Column("document_type", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),  # from 1; 0 is the labels of the bundles
    *_required(Text, "label", "description"),  # the description may be ""
    *_required(Text, "proposed_by", "adopted_by"),  # two people
    Column("adopted_at", BigInteger, nullable=False),
    info={"row": "a version of a document type's labels: the category with which it began, and who adopted it"},
)

_index("taxonomy_by_label", taxonomy.c.document_type, taxonomy.c.label, unique=True)

categories = Table(
    "categories",
    metadata,
    Column("category_id", Text, primary_key=True),
    *_required(Text, "document_type", "name", "description"),
    Column("words", Text, nullable=False),  # [word, …], the most distinctive first
    Column("examples", Text, nullable=False),  # [item_key, …], the most typical first
    Column("volume", Integer, nullable=False),  # members
    Column("cohesion", Double, nullable=False),  # their mean cosine with their centre
    Column("status", Text, nullable=False),
    Column("revision", Integer, nullable=False),  # more with each change: an approval is of one revision
    *_required(BigInteger, "proposed_at", "changed_at"),
    Column("edited_by", Text),  # who gave it its name and description; null where the clustering did
    Column("first_by", Text),  # the first of the two who approve
    Column("first_role", Text),
    Column("decided_by", Text),  # the second, or who rejected it
    Column("decided_at", BigInteger),
    Column("taxonomy_version", Integer),  # with which it was adopted
    info={"row": "a category proposed from a cluster of items, and what people decided of it"},
)

_index("categories_by_status", categories.c.document_type, categories.c.status)

category_members = Table(
    "category_members",
    metadata,
    Column("category_id", Text, ForeignKey("categories.category_id"), primary_key=True),
    Column("item_key", Text, ForeignKey("items.item_key"), primary_key=True),
    Column("similarity", Double, nullable=False),  # cosine with the centre
    Column("settled_label", Text),  # where it was settled as none of these; else null
    Column("rerun", Text),  # how it was asked about again once the category was adopted; null until then
    Column("rerun_at", BigInteger),
    info={"row": "an item of a category's cluster"},
)

_index("category_members_by_item", category_members.c.item_key)
_index("category_members_to_rerun", category_members.c.category_id, where="rerun IS NULL")
