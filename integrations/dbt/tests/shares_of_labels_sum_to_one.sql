SELECT run_date, document_type, sum(share) AS total
FROM {{ ref("label_shares") }}
GROUP BY ALL
HAVING abs(total - 1) > 1e-9
