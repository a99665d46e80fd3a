-- What holds now of every classified document: one row each. Needs `decisions_history`.
--
-- `decided_by` is `model`, `llm`, `person`, or `nobody` where the document was escalated and waits.
CREATE VIEW decisions AS
SELECT
    document_type,
    document_id,
    run_date,
    content_hash,
    label,
    decided_by,
    decider,
    reason,
    model_label,
    model_confidence,
    valid_from AS decided_on
FROM decisions_history
WHERE valid_until IS NULL
