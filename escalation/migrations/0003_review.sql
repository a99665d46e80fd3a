-- People, their sessions, and what they say of the items that reached them.
CREATE TABLE people (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password_hash TEXT,
    active BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
)

CREATE TABLE sessions (
    token_sha256 TEXT PRIMARY KEY,
    name TEXT NOT NULL REFERENCES people (name),
    csrf TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
)

CREATE TABLE log_in_failures (
    failure_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    name_sha256 TEXT NOT NULL,
    client TEXT NOT NULL
)

CREATE INDEX log_in_failures_by_name ON log_in_failures (name_sha256, at)

CREATE INDEX log_in_failures_by_client ON log_in_failures (client, at)

CREATE TABLE labels (
    document_type TEXT NOT NULL,
    label TEXT NOT NULL,
    origin TEXT NOT NULL,
    PRIMARY KEY (document_type, label)
)

CREATE TABLE reviews (
    item_key TEXT PRIMARY KEY REFERENCES items (item_key),
    cycle INTEGER NOT NULL,
    document_type TEXT NOT NULL,
    code TEXT NOT NULL,
    suggestion TEXT NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    stage TEXT NOT NULL,
    four_eyes TEXT NOT NULL,
    urgency DOUBLE PRECISION NOT NULL,
    opened_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    overdue_at BIGINT,
    notified_at BIGINT,
    deferred_until BIGINT NOT NULL,
    claimed_by TEXT,
    claimed_until BIGINT,
    first_by TEXT,
    second_by TEXT,
    closed_at BIGINT
)

CREATE INDEX reviews_by_urgency ON reviews (urgency DESC, item_key) WHERE closed_at IS NULL

CREATE INDEX reviews_by_age ON reviews (opened_at, item_key) WHERE closed_at IS NULL

CREATE INDEX reviews_by_confidence ON reviews (confidence, item_key) WHERE closed_at IS NULL

CREATE INDEX reviews_by_kind ON reviews (document_type, code, stage, overdue_at) WHERE closed_at IS NULL

CREATE INDEX reviews_by_suggestion ON reviews (suggestion) WHERE closed_at IS NULL

CREATE INDEX reviews_by_stage ON reviews (stage, urgency DESC, item_key) WHERE closed_at IS NULL

CREATE INDEX reviews_late ON reviews (urgency DESC, item_key) WHERE closed_at IS NULL AND overdue_at IS NOT NULL

CREATE INDEX reviews_put_off ON reviews (urgency DESC, item_key) WHERE closed_at IS NULL AND deferred_until > 0

CREATE INDEX reviews_by_due ON reviews (due_at) WHERE closed_at IS NULL AND overdue_at IS NULL

CREATE INDEX reviews_by_notice ON reviews (overdue_at) WHERE overdue_at IS NOT NULL AND notified_at IS NULL

CREATE INDEX reviews_by_claim ON reviews (claimed_by) WHERE claimed_by IS NOT NULL

CREATE INDEX reviews_by_end ON reviews (closed_at DESC, item_key) WHERE closed_at IS NOT NULL

-- The two rules of four eyes hold here even against a defect above: one judgement a stage, one a person.
CREATE TABLE judgements (
    judgement_id TEXT PRIMARY KEY,
    item_key TEXT NOT NULL REFERENCES items (item_key),
    cycle INTEGER NOT NULL,
    stage TEXT NOT NULL,
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    suggestion TEXT NOT NULL,
    reason TEXT NOT NULL,
    comment TEXT,
    comment_key TEXT,
    source TEXT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (item_key, cycle, stage),
    UNIQUE (item_key, cycle, person)
)

CREATE UNIQUE INDEX judgements_taken_once ON judgements (source) WHERE source <> 'page'

CREATE INDEX items_settled_alike ON items (document_type, label, settled_at) WHERE state = 'settled'

CREATE INDEX items_by_settling ON items (settled_at, item_key) WHERE state = 'settled'
