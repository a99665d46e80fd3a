-- Documents by day, type and outcome, and what became of the escalated ones since.
WITH classified AS (
    SELECT
        run_date,
        document_type,
        count(*) FILTER (WHERE route = 'accepted') AS accepted,
        count(*) FILTER (WHERE route = 'escalated') AS escalated
    FROM {{ source("docyard", "classifications") }}
    GROUP BY ALL
),

rejected AS (
    SELECT
        run_date,
        document_type,
        count(*) AS rejected
    FROM {{ source("docyard", "rejections") }}
    GROUP BY ALL
),

waiting AS (
    SELECT
        run_date,
        document_type,
        count(*) AS open
    FROM {{ ref("worklist") }}
    GROUP BY ALL
)

SELECT
    run_date,
    document_type,
    coalesce(accepted, 0) AS accepted,
    coalesce(escalated, 0) AS escalated,
    coalesce(rejected, 0) AS rejected,
    coalesce(open, 0) AS open,
    coalesce(accepted, 0) / (coalesce(accepted, 0) + coalesce(escalated, 0) + coalesce(rejected, 0)) AS accepted_share
FROM classified
FULL JOIN rejected USING (run_date, document_type)
LEFT JOIN waiting USING (run_date, document_type)
