SELECT escalated.document_type, escalated.document_id, escalated.run_date
FROM {{ source("docyard", "escalations") }} AS escalated
LEFT JOIN {{ ref("decisions") }} AS decided USING (document_type, document_id, run_date)
LEFT JOIN {{ ref("worklist") }} AS waiting USING (document_type, document_id, run_date)
WHERE (decided.label IS NULL) != (waiting.document_id IS NOT NULL)
