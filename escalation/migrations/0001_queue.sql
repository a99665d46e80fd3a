-- Times are microseconds since 1970, UTC; money is in billionths of the currency; lists and objects are JSON text.
CREATE TABLE items (
    item_key TEXT PRIMARY KEY,
    run_date TEXT NOT NULL,
    document_type TEXT NOT NULL,
    document_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    bundle TEXT NOT NULL,
    run_id TEXT NOT NULL,
    text TEXT,
    label TEXT NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    candidates TEXT NOT NULL,
    route_reason TEXT NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    familiarity DOUBLE PRECISION NOT NULL,
    tier TEXT NOT NULL,
    n_tokens INTEGER NOT NULL,
    truncated BOOLEAN NOT NULL,
    parent_id TEXT,
    parent_start INTEGER,
    parent_end INTEGER,
    received_at BIGINT,
    metadata TEXT,
    source_uri TEXT NOT NULL,
    source_offset BIGINT NOT NULL,
    loaded_at BIGINT NOT NULL,
    priority DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    state_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    lease_owner TEXT,
    lease_token TEXT,
    lease_until BIGINT,
    call_id TEXT,
    vote_label TEXT,
    vote_confidence DOUBLE PRECISION,
    settled_label TEXT,
    settled_by TEXT,
    settled_at BIGINT
)

CREATE INDEX items_by_turn ON items (state, priority DESC, item_key)

CREATE INDEX items_by_lease ON items (lease_until) WHERE lease_until IS NOT NULL

CREATE INDEX items_by_partition ON items (run_date, document_type)

CREATE INDEX items_by_document ON items (document_id)

CREATE INDEX items_by_content ON items (content_hash)

CREATE TABLE calls (
    call_id TEXT PRIMARY KEY,
    item_key TEXT REFERENCES items (item_key),
    purpose TEXT NOT NULL,
    prompt_hash TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    backend TEXT NOT NULL,
    options TEXT NOT NULL,
    status TEXT NOT NULL,
    worker TEXT NOT NULL,
    batch_id TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    spend_day TEXT NOT NULL,
    reserved_nanos BIGINT,
    cost_nanos BIGINT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    http_status INTEGER,
    error TEXT,
    answer TEXT,
    scores TEXT,
    words TEXT
)

-- Nobody asks while the same is being asked, or was answered.
CREATE UNIQUE INDEX calls_asked_once ON calls (prompt_hash, backend) WHERE status IN ('reserved', 'answered')

CREATE INDEX calls_under_way ON calls (status) WHERE status = 'reserved'

CREATE INDEX calls_by_item ON calls (item_key)

CREATE INDEX calls_by_batch ON calls (batch_id) WHERE batch_id IS NOT NULL

CREATE TABLE egress (
    call_id TEXT PRIMARY KEY REFERENCES calls (call_id),
    at BIGINT NOT NULL,
    endpoint TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    body_bytes INTEGER NOT NULL,
    masking TEXT NOT NULL,
    masked_counts TEXT NOT NULL
)

CREATE TABLE spend (
    day TEXT PRIMARY KEY,
    nanos BIGINT NOT NULL
)

CREATE TABLE loads (
    run_date TEXT NOT NULL,
    document_type TEXT NOT NULL,
    run_id TEXT NOT NULL,
    loaded_at BIGINT NOT NULL,
    n_escalated INTEGER NOT NULL,
    n_new INTEGER NOT NULL,
    n_withdrawn INTEGER NOT NULL,
    PRIMARY KEY (run_date, document_type)
)

CREATE TABLE qualifications (
    backend TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    bundle TEXT NOT NULL,
    at BIGINT NOT NULL,
    data_sha256 TEXT NOT NULL,
    n INTEGER NOT NULL,
    small_correct INTEGER NOT NULL,
    combined_correct INTEGER NOT NULL,
    gain DOUBLE PRECISION NOT NULL,
    gain_low DOUBLE PRECISION NOT NULL,
    gain_high DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    min_confidence DOUBLE PRECISION,
    coverage DOUBLE PRECISION NOT NULL,
    max_error DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (backend, prompt_version, bundle, at)
)

CREATE TABLE batches (
    batch_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    backend TEXT NOT NULL,
    n_calls INTEGER NOT NULL,
    files TEXT NOT NULL
)

CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    item_key TEXT,
    details TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
)

CREATE INDEX events_by_item ON events (item_key) WHERE item_key IS NOT NULL

CREATE TABLE chain_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
)

INSERT INTO chain_head (id, seq, hash) VALUES (1, 0, '')
