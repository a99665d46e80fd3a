SELECT document_type, document_id, run_date
FROM {{ ref("decisions") }}
GROUP BY ALL
HAVING count(*) > 1
