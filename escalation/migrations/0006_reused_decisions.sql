-- What people settled of a document settles the same document again: which item rests on which decision.
CREATE TABLE reused_decisions (
    item_key TEXT NOT NULL REFERENCES items (item_key),
    cycle INTEGER NOT NULL,
    rests_on TEXT NOT NULL REFERENCES items (item_key),
    rests_on_cycle INTEGER NOT NULL,
    label TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (item_key, cycle)
)

CREATE INDEX reused_decisions_by_source ON reused_decisions (rests_on)

-- The items whose decision can be reused, and those that bar its reuse because they are judged anew.
CREATE INDEX items_decided_by_people ON items (document_type, document_id, content_hash)
WHERE code IN ('person_decided', 'reopened')
