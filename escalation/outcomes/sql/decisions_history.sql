-- What held of every classified document, and on which days.
--
-- Needs `classifications` and `resolutions`, tables or views. A resolution counts where it is about the text that was
-- classified (content_hash). A person supersedes the LLM, the LLM supersedes the model, and a later word of the same
-- standing supersedes an earlier one; an LLM never supersedes a person.
--
-- As of the end of a day D: WHERE valid_from <= D AND (valid_until IS NULL OR valid_until > D).
CREATE VIEW decisions_history AS
WITH said AS (
    SELECT
        document_type,
        document_id,
        CAST(run_date AS DATE) AS run_date,
        content_hash,
        CASE WHEN route = 'accepted' THEN label END AS label,
        CASE WHEN route = 'accepted' THEN 'model' ELSE 'nobody' END AS decided_by,
        CASE WHEN route = 'accepted' THEN bundle END AS decider,
        CAST(NULL AS VARCHAR(64)) AS reason,
        label AS model_label,
        confidence AS model_confidence,
        CAST(run_date AS DATE) AS valid_from,
        0 AS standing,
        0 AS turn
    FROM classifications
    UNION ALL
    SELECT
        c.document_type,
        c.document_id,
        CAST(c.run_date AS DATE) AS run_date,
        c.content_hash,
        r.label,
        r.resolved_by AS decided_by,
        r.resolver AS decider,
        r.reason,
        c.label AS model_label,
        c.confidence AS model_confidence,
        CAST(r.resolved_date AS DATE) AS valid_from,
        CASE WHEN r.resolved_by = 'person' THEN 2 ELSE 1 END AS standing,
        ROW_NUMBER() OVER (
            PARTITION BY c.document_type, c.document_id, c.run_date ORDER BY r.resolved_at, r.item_key
        ) AS turn
    FROM resolutions AS r
    INNER JOIN classifications AS c
        ON c.document_type = r.document_type
        AND c.document_id = r.document_id
        AND CAST(c.run_date AS DATE) = CAST(r.run_date AS DATE)
        AND c.content_hash = r.content_hash
),
ranked AS (
    SELECT
        said.*,
        MAX(standing) OVER (
            PARTITION BY document_type, document_id, run_date
            ORDER BY turn
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS highest_standing
    FROM said
),
kept AS (
    SELECT * FROM ranked WHERE standing = highest_standing
)
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
    valid_from,
    LEAD(valid_from) OVER (PARTITION BY document_type, document_id, run_date ORDER BY turn) AS valid_until
FROM kept
