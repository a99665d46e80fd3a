-- What holds of every classified document. A person supersedes the LLM, the LLM the model, a later word of the same
-- standing an earlier one; a resolution counts only for the text that was classified.
WITH last_words AS (
    SELECT *
    FROM {{ resolutions() }}
    QUALIFY row_number() OVER (
        PARTITION BY document_type, document_id, run_date, content_hash
        ORDER BY resolved_by = 'person' DESC, resolved_at DESC, item_key DESC
    ) = 1
)

SELECT
    said.document_type,
    said.document_id,
    said.run_date,
    said.content_hash,
    CASE WHEN settled.label IS NOT NULL THEN settled.label WHEN said.route = 'accepted' THEN said.label END AS label,
    coalesce(settled.resolved_by, CASE WHEN said.route = 'accepted' THEN 'model' ELSE 'nobody' END) AS decided_by,
    coalesce(settled.resolver, CASE WHEN said.route = 'accepted' THEN said.bundle END) AS decider,
    settled.reason,
    said.label AS model_label,
    said.confidence AS model_confidence,
    coalesce(settled.resolved_date, said.run_date) AS decided_on
FROM {{ source("docyard", "classifications") }} AS said
LEFT JOIN last_words AS settled
    ON said.document_type = settled.document_type
    AND said.document_id = settled.document_id
    AND said.run_date = settled.run_date
    AND said.content_hash = settled.content_hash
