-- What was settled and is to be judged again: the decision that held until then, and why it should not.
CREATE TABLE reopenings (
    item_key TEXT NOT NULL REFERENCES items (item_key),
    cycle INTEGER NOT NULL,
    person TEXT NOT NULL,
    comment TEXT,
    comment_key TEXT,
    settled_label TEXT NOT NULL,
    settled_by TEXT NOT NULL,
    settled_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (item_key, cycle)
)
