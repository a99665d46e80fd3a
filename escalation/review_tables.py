"""The review's tables for SQLAlchemy, in the queue's database. The queue's migrations make them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

metadata = MetaData()

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
