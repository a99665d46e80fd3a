-- Against accidents. Whoever may change the schema can drop these; the hash chain is what finds that out.
CREATE TRIGGER events_keep_their_words BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END

CREATE TRIGGER events_stay BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END
