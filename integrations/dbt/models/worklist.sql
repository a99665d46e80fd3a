-- What was escalated and is not settled, without its text.
SELECT
    waiting.document_type,
    waiting.document_id,
    waiting.run_date,
    waiting.content_hash,
    waiting.route_reason,
    waiting.label AS model_label,
    waiting.confidence AS model_confidence,
    waiting.received_at,
    waiting.source_uri,
    current_date - waiting.run_date AS days_open
FROM {{ source("docyard", "escalations") }} AS waiting
INNER JOIN {{ ref("decisions") }} AS decided
    ON waiting.document_type = decided.document_type
    AND waiting.document_id = decided.document_id
    AND waiting.run_date = decided.run_date
WHERE decided.decided_by = 'nobody'
