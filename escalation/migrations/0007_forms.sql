-- Forms say who they were shown to, by a key of this queue, so that they outlive the session they were shown in.
CREATE TABLE form_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    secret TEXT NOT NULL
)

ALTER TABLE sessions DROP COLUMN csrf

CREATE INDEX items_by_parent ON items (parent_id, parent_start) WHERE parent_id IS NOT NULL
