"""The queue's tables for SQLAlchemy. The migrations make them; a test holds the two together."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

metadata = MetaData()

items = Table(
    "items",
    metadata,
    Column("item_key", Text, primary_key=True),
    Column("run_date", Text, nullable=False),
    Column("document_type", Text, nullable=False),
    Column("document_id", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("text", Text),  # null once it was erased
    Column("label", Text, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("candidates", Text, nullable=False),  # [[label, confidence], …], best first
    Column("route_reason", Text, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("familiarity", Double, nullable=False),
    Column("tier", Text, nullable=False),
    Column("n_tokens", Integer, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("parent_id", Text),
    Column("parent_start", Integer),
    Column("parent_end", Integer),
    Column("received_at", BigInteger),
    Column("metadata", Text),
    Column("source_uri", Text, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    Column("priority", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("state_at", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
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
)

calls = Table(
    "calls",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("item_key", Text, sa.ForeignKey("items.item_key")),  # null in a qualification
    Column("purpose", Text, nullable=False),  # drain, batch, qualify
    Column("prompt_hash", Text, nullable=False),
    Column("prompt_version", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("options", Text, nullable=False),  # {letter: label}, "" for none of the candidates
    Column("status", Text, nullable=False),
    Column("worker", Text, nullable=False),
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
)

egress = Table(
    "egress",
    metadata,
    Column("call_id", Text, sa.ForeignKey("calls.call_id"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("body_sha256", Text, nullable=False),
    Column("body_bytes", Integer, nullable=False),
    Column("masking", Text, nullable=False),
    Column("masked_counts", Text, nullable=False),  # {kind: how many}
)

spend = Table(
    "spend",
    metadata,
    Column("day", Text, primary_key=True),
    Column("nanos", BigInteger, nullable=False),
)

loads = Table(
    "loads",
    metadata,
    Column("run_date", Text, primary_key=True),
    Column("document_type", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    Column("n_escalated", Integer, nullable=False),
    Column("n_new", Integer, nullable=False),
    Column("n_withdrawn", Integer, nullable=False),
)

qualifications = Table(
    "qualifications",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("prompt_version", Text, primary_key=True),
    Column("bundle", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("data_sha256", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("small_correct", Integer, nullable=False),
    Column("combined_correct", Integer, nullable=False),
    Column("gain", Double, nullable=False),
    Column("gain_low", Double, nullable=False),
    Column("gain_high", Double, nullable=False),
    Column("weight", Double, nullable=False),
    Column("min_confidence", Double),  # null: it settles nothing
    Column("coverage", Double, nullable=False),
    Column("max_error", Double, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("backend", Text, nullable=False),
    Column("n_calls", Integer, nullable=False),
    Column("files", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("item_key", Text),
    Column("details", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

chain_head = Table(
    "chain_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("password_hash", Text),  # null where a proxy vouches for the person
    Column("active", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

form_key = Table(
    "form_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("secret", Text, nullable=False),  # makes the tokens of forms
)

log_in_failures = Table(
    "log_in_failures",
    metadata,
    Column("failure_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("name_sha256", Text, nullable=False),  # people type passwords into the wrong field
    Column("client", Text, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("document_type", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("origin", Text, nullable=False),  # model, or adopted
)

reviews = Table(
    "reviews",
    metadata,
    Column("item_key", Text, primary_key=True),
    Column("cycle", Integer, nullable=False),  # from 1; more where an item came back
    Column("document_type", Text, nullable=False),
    Column("code", Text, nullable=False),  # the reason the item reached people
    Column("suggestion", Text, nullable=False),  # of the combined vote, else of the small model
    Column("confidence", Double, nullable=False),  # of that suggestion
    Column("stage", Text, nullable=False),
    Column("four_eyes", Text, nullable=False),  # label, sample, or ""
    Column("urgency", Double, nullable=False),  # the item's priority, and much more once it is overdue
    Column("opened_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("overdue_at", BigInteger),
    Column("notified_at", BigInteger),
    Column("deferred_until", BigInteger, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", BigInteger),
    Column("first_by", Text),
    Column("second_by", Text),
    Column("closed_at", BigInteger),
)

judgements = Table(
    "judgements",
    metadata,
    Column("judgement_id", Text, primary_key=True),
    Column("item_key", Text, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("suggestion", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("comment", Text),  # null where there is none, or once it was erased
    Column("comment_key", Text),  # hashes the comment in the audit trail; erased with it
    Column("source", Text, nullable=False),  # page, or the annotation it was imported from
    Column("at", BigInteger, nullable=False),
)

reopenings = Table(
    "reopenings",
    metadata,
    Column("item_key", Text, primary_key=True),
    Column("cycle", Integer, primary_key=True),  # that was over
    Column("person", Text, nullable=False),
    Column("comment", Text),  # null once it was erased
    Column("comment_key", Text),
    Column("settled_label", Text, nullable=False),  # the label that held until the item is settled again
    Column("settled_by", Text, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

reused_decisions = Table(
    "reused_decisions",
    metadata,
    Column("item_key", Text, primary_key=True),
    Column("cycle", Integer, primary_key=True),  # of the item that was settled so
    Column("rests_on", Text, nullable=False),  # the item that people judged
    Column("rests_on_cycle", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)
