-- Accepted and settled documents by day, type and label, with the label's share of them.
SELECT
    run_date,
    document_type,
    label,
    count(*) AS documents,
    count(*) / sum(count(*)) OVER (PARTITION BY run_date, document_type) AS share
FROM {{ ref("decisions") }}
WHERE label IS NOT NULL
GROUP BY run_date, document_type, label
